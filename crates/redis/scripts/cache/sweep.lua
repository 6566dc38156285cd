-- Forgets what is over, a part of it at a time.
--
-- args     {most}: how many things of each kind are looked at
-- Payload  {entries, bytes, leases, waiters, more 0|1}
--
-- Entries that Redis has thrown out for want of memory are found by going through the index bit by bit. Atomic,
-- because an entry kept meanwhile must not be taken for the one that is gone.

-- An open flight is taken within a second where anybody waits; after this nobody does.
local FORGOTTEN = 60000000

local function op()
  local most = args[1]
  end_due(most)
  for _, key in ipairs(redis.call('ZRANGE', OPEN, 0, most - 1)) do
    local flight = load(key)
    if flight and flight.lease == 0 and now - flight.since > FORGOTTEN then
      drop_flight(key, flight)
    elseif not flight then
      redis.call('ZREM', OPEN, key)
    end
  end
  forget_old_failures(most)
  local old = redis.call('ZRANGEBYSCORE', INDEX, '-inf', whole(now), 'LIMIT', 0, most)
  for _, key in ipairs(old) do
    drop_entry(key)
  end
  local page = redis.call('ZSCAN', INDEX, redis.call('HGET', META, 'cursor') or '0', 'COUNT', most)
  for i = 1, #page[2], 2 do
    if redis.call('EXISTS', value_key(page[2][i])) == 0 then
      drop_entry(page[2][i])
    end
  end
  if known() then
    redis.call('HSET', META, 'cursor', page[1])
  end
  local more = #old == most and 1 or 0
  return {redis.call('ZCARD', INDEX), meta('bytes'), redis.call('HLEN', LEASES), meta('waiters'), more}
end
