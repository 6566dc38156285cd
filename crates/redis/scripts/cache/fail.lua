-- Ends a lease without a value.
--
-- args     {lease, 0 giving up | 1 failing, code, message, us for which the failure is remembered}
-- Payload  {ended = why} | "done", after it the entry that its holder may serve instead, if there is one
--
-- Atomic, because no caller may be given a new lease between the failure and its being remembered, and no call in line
-- may be forgotten.

local function op()
  local lease, failing, code, message, span = unpack(args)
  local key, flight = held(lease)
  if not key then
    if (flight[2] == BROKEN and failing == 1)
      or (flight[2] == LOST and flight[3] == GIVEN_UP and failing == 0) then
      return 'done'
    end
    return {ended = flight[2] == LOST and flight[3] or UNKNOWN}
  end
  if failing == 0 then
    restart(key, flight, GIVEN_UP)
    return 'done'
  end
  remember(key, span, code, message)
  end_lease(flight, BROKEN)
  if flight.stale ~= NEVER and find(key) then
    values[1] = redis.call('GET', value_key(key))
  end
  land(key, flight, sealed(FAILURE, {code, message, now + span}))
  return 'done'
end
