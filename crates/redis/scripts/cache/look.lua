-- What has become of a flight; takes its lease where it is open and this daemon's turn.
--
-- args     {key, flight, ticket of the daemon's first call in line, that call's {ttl, deadline, stale},
--          offset of the first byte that is wanted or -1}
-- Payload  "gone": begin again | "landed": see its end | {open = {round, why, us until it is our turn}}
--          | {taken = {round, why, lease}}: for that call | {flying = {round, why, us until its lease ends, bytes}},
--          after it the bytes from the offset on, 1 MiB at most
--
-- Atomic, because a lease that has ended must go to one call alone, and because bytes belong to their round.

local PART = 1048576

-- Daemons in line ahead of a call of this one.
local function ahead(key, member)
  local daemons, count = {}, 0
  for _, other in ipairs(redis.call('ZRANGE', line_key(key), 0, -1)) do
    local daemon = other:match('^(.*)|')
    if daemon == who then
      return count
    elseif not daemons[daemon] then
      daemons[daemon], count = true, count + 1
    end
  end
  return count
end

local function op()
  local key, id, ticket, options, offset = unpack(args)
  local flight = load(key)
  if not flight or flight.id ~= id then
    return redis.call('EXISTS', landed_key(id)) == 1 and 'landed' or 'gone'
  end
  local member = who .. '|' .. ticket
  if not redis.call('ZSCORE', line_key(key), member) then
    return 'gone'
  end
  if flight.lease == 0 then
    local turn = flight.since + ahead(key, member) * TURN
    if now < turn then
      return {open = {flight.round, flight.reason, turn - now}}
    end
    leave(key, ticket)
    return {taken = {flight.round, flight.reason, grant(key, flight, options)}}
  end
  if offset >= 0 and offset < flight.size then
    values[1] = redis.call('GETRANGE', parts_key(key), offset, offset + PART - 1)
  end
  return {flying = {flight.round, flight.reason, due_of(flight) - now, flight.size}}
end
