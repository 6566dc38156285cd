-- Keeps a lease for another TTL, never past its deadline.
--
-- args     {lease}
-- Payload  {ended = why} | {held = {number, us to live, us to its deadline}}
--
-- Atomic, because a lease whose end has come must not be kept.

local function op()
  local lease = args[1]
  local key, flight = held(lease)
  if not key then
    return {ended = flight[2] == LOST and flight[3] or UNKNOWN}
  end
  flight.expires = now + flight.ttl
  redis.call('HSET', flight_key(key), 'expires', whole(flight.expires), 'holder', who)
  redis.call('ZADD', DUE, whole(due_of(flight)), whole(lease))
  return {held = {lease, due_of(flight) - now, flight.deadline - now}}
end
