-- For each key an entry, a lease, or a place in line.
--
-- args     {keys, versions known (0 none, -1 damaged), {ttl, deadline, stale}, refresh 0|1, wait, first ticket}
-- Payload  for each key {hit = {version, value}} where `value` counts the values sent, 0: the known one is meant;
--          {refresh = {version, value, lease}}, {lease = lease}, {wait = {flight, round, us until its lease ends}},
--          "busy", "deferred" (the values sent are enough), {failed = {code, message, us left}} or {error = {code, bound}};
--          a lease is {number, us to live, us to its deadline}
--
-- Atomic, because two callers that miss a key must not both be given the lease, and because whoever joins a
-- line must be in it before its flight can land.

local keys, versions, options, refresh, wait, ticket = unpack(args)

local sent = 0

-- Whether an entry may be answered: it is known, or there is room for its value.
local function fits(header, version)
  return version == header[VERSION] or sent == 0 or sent + header[SIZE] <= env.max_sent
end

local function hit(key, header, version, lease)
  local index = 0
  if version ~= header[VERSION] then
    values[#values + 1] = redis.call('GET', value_key(key))
    index = #values
    sent = sent + math.max(1, header[SIZE])
  end
  if lease then
    return {refresh = {header[VERSION], index, lease}}
  end
  return {hit = {header[VERSION], index}}
end

local function join(key, flight, number)
  if meta('waiters') >= env.max_waiters then
    return {error = {'TOO_MANY_WAITERS', env.max_waiters}}
  end
  local arrival = redis.call('HINCRBY', META, 'arrivals', 1)
  redis.call('HINCRBY', META, 'waiters', 1)
  redis.call('ZADD', line_key(key), arrival, who .. '|' .. number)
  redis.call('HINCRBY', flight_key(key), 'w:' .. who, 1)
  local left = (flight.lease == 0 or flight.size > 0) and 0 or due_of(flight) - now
  return {wait = {flight.id, flight.round, left}}
end

local function begin(key, version, number)
  if version == -1 then
    drop_entry(key)
  end
  local found, fresh = find(key)
  if found and not fits(found, version) then
    return 'deferred'
  end
  if found and ((fresh and refresh == 0) or (not fresh and options[3] == REVALIDATE)) then
    local due = not fresh or (found[REFRESH] >= 0 and now >= found[REFRESH])
    local lease
    if due and not load(key) and not remembered(key) and room_for_lease() then
      lease = grant(key, nil, options)
    end
    return hit(key, found, version, lease)
  end
  local failure = remembered(key)
  if failure then
    if found and (fresh or options[3] ~= NEVER) then
      return hit(key, found, version)
    end
    return {failed = {failure[2], failure[3], failure[1] - now}}
  end
  local flight = load(key)
  if not flight or (flight.lease == 0 and now >= flight.since + ANYBODY) then
    if not room_for_lease() then
      return {error = {'TOO_MANY_LEASES', env.max_leases}}
    end
    return {lease = grant(key, flight, options)}
  elseif wait == NO_WAIT then
    return 'busy'
  end
  return join(key, flight, number)
end

local function op()
  ensure()
  local answers = {}
  for i, key in ipairs(keys) do
    answers[i] = begin(key, versions[i], ticket + i - 1)
  end
  return answers
end
