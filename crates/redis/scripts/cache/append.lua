-- Adds a part to the value of a lease.
--
-- args     {lease, bytes that have come as far as the caller knows, CRC-32 of all with the part}
-- ARGV[6]  the part, without what has come before
-- Payload  {ended = why} | {have = {bytes, crc}}: not added, the caller knew wrong | {added = bytes}
-- Fails    PART (the value's bound), TOO_MANY_BYTES
--
-- Atomic, because bytes, their count and their checksum must change together while the lease is held.

local function op()
  local lease, have, crc = unpack(args)
  local part = ARGV[6]
  local key, flight = held(lease)
  if not key then
    return {ended = flight[2] == LOST and flight[3] or UNKNOWN}
  elseif have ~= flight.size then
    return {have = {flight.size, flight.crc}}
  elseif have + #part > env.max_value then
    fail('PART', env.max_value)
  elseif #part == 0 then
    return {added = have}
  elseif meta('fill_bytes') + #part > env.max_fill then
    fail('TOO_MANY_BYTES', env.max_fill)
  end
  redis.call('APPEND', parts_key(key), part)
  redis.call('HSET', flight_key(key), 'size', have + #part, 'crc', crc)
  redis.call('HINCRBY', META, 'fill_bytes', #part)
  tell(key, flight)
  return {added = have + #part}
end
