-- One exclusive lock, held within a session: what is wanted most. `acquire_one` and `release_one` carry it out before the
-- functions are made that all else needs, which takes longer than they do.
--
-- They write what `acquire` and `release` would, and leave to these whatever is not as usual, before they write.

-- Makes a lease hold its one lock, which nobody else does; its number.
local function hold_one(lease, name)
  local number = mint(KEYS[1], env.floor)
  local text = whole(number)
  local claim, session = lease[1], lease[2]
  -- Since when, renewals, locks.
  lease[6], lease[9], lease[10] = now, 0, {{name, EXCLUSIVE, number}}
  redis.call('HSET', HELD, name, EXCLUSIVE .. '|' .. text)
  redis.call('ZADD', root .. ':o:' .. name, text, text)
  redis.call('HSET', LEASES, text, cmsgpack.pack(lease))
  redis.call('HSET', host_key(lease[8]), claim, 'l' .. text)
  redis.call('SADD', root .. ':sl:' .. whole(session), text)
  return number
end
