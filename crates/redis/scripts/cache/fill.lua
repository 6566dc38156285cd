-- Ends a lease with its value.
--
-- args     {lease, keep 0|1, bytes that have come as far as the caller knows, entry: see `header`; its checksum
--          and size are those of the whole value}
-- ARGV[6]  the content behind the parts
-- Payload  {ended = why} | {have = {bytes, crc}}: the caller knew wrong | {filled = {version, waiters, key}}
-- Fails    NEGATIVE, VALUE (its bound), STALE_FENCE (the lowest token that passes)
--
-- Atomic, because the value must take the lease's place, and be there for all in line, in one step; a delete, set or
-- clear comes before it or after it.

local function op()
  local lease, keeps, have, new = unpack(args)
  local key, flight = held(lease)
  if not key then
    if flight[2] == FILLED then
      return {filled = {flight[3], flight[4], flight[5]}}
    end
    return {ended = flight[2] == LOST and flight[3] or UNKNOWN}
  end
  local size = flight.size + #ARGV[6]
  if new[4] == 1 and flight.size > 0 then
    fail('NEGATIVE')
  elseif size > env.max_value then
    fail('VALUE', size)
  elseif have ~= flight.size then
    return {have = {flight.size, flight.crc}}
  end
  check_fence(new[10])
  note_fence(new[10])
  if hidden(lease, new[9]) then
    restart(key, flight, CLEARED)
    return {ended = CLEARED}
  end
  local version = mint(KEYS[1], 0)
  local head = header(new, version, lease)
  local content = ARGV[6]
  if have > 0 then
    content = (redis.call('GET', parts_key(key)) or '') .. content
  end
  local packed = sealed(FORMAT, head) .. content
  if keeps == 1 then
    keep(key, head, packed)
  end
  forget_failure(key)
  local waiters = redis.call('ZCARD', line_key(key))
  end_lease(flight, FILLED, version, waiters, key)
  land(key, flight, packed)
  return {filled = {version, waiters, key}}
end
