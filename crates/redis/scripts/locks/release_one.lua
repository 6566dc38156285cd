-- Ends a lease over one exclusive lock, of a session that this daemon has the care of, and hands the lock on to a call of
-- the same kind. See `one`; other leases are left to `release`, and a line in which another call is the first to `serve`.
--
-- Payload  true

-- The lock of a lease that has been ended here and whose line is left to `serve`.
local handing_on

do
  local number, claim = unpack(args)
  local text = whole(number)
  local record = redis.call('HGET', LEASES, text)
  local its_claim, session, _, _, _, _, _, host, _, locks = unpack(record and cmsgpack.unpack(record) or {})
  local name = its_claim == claim and session ~= 0 and host == here and #locks == 1 and locks[1][2] == EXCLUSIVE
    and locks[1][1]
  if name and begun() and redis.call('EXISTS', WATCHES) == 0 then
    local holders, line = root .. ':o:' .. name, root .. ':q:' .. name
    redis.call('HDEL', LEASES, text)
    redis.call('HDEL', host_key(here), claim)
    redis.call('SREM', root .. ':sl:' .. whole(session), text)
    note_end(number, claim, RELEASED)
    tell(here, {'ended', number, RELEASED, '', ''})
    redis.call('ZREM', holders, text)
    local is_free = redis.call('EXISTS', holders) == 0
    local first = redis.call('ZRANGE', line, 0, 0)[1]
    local waits = is_free and first and redis.call('HGET', WAITERS, first)
    local waiter = waits and cmsgpack.unpack(waits)
    if waiter and waiter[2] ~= 0 and not waiter[7] and #waiter[9] == 0 and #waiter[10] == 1
      and waiter[10][1][2] == EXCLUSIVE and lives(waiter[8]) then
      redis.call('HDEL', WAITERS, first)
      redis.call('ZREM', line, first)
      redis.call('ZREM', root .. ':x:' .. name, first)
      redis.call('SREM', root .. ':sw:' .. whole(waiter[2]), first)
      local granted = hold_one(waiter, name)
      local ends = tonumber(redis.call('ZSCORE', ENDS, whole(waiter[2])) or '0')
      tell(waiter[8], {'granted', waiter[1], {granted, waiter, math.max(ends - now, 1)}})
      return answer(true)
    end
    if is_free then
      redis.call('HDEL', HELD, name)
    end
    if not first then
      if is_free then
        redis.call('ZREM', NAMES, name)
      end
      return answer(true)
    end
    handing_on = name
  end
end
