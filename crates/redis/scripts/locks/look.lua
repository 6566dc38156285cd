-- Looks that change nothing.
--
-- args     {"lock", lock, most shown, with waiters 0|1} | {"list", after or "", most locks, most shown}
--          | {"token", lock, token} | {"places", tickets}
-- Payload  {"lock" ..}: {state} | {"list" ..}: {state, ...} of one lock more than asked for, where there are more
--          | {token held or 0, us to the end of the longest lease under the token asked about or -1}
--          | {place or 0, ...}
--          where a state is {lock, mode, token, holders in all, {{owner, value, us held, us left}, ...},
--          waiters in all, {{mode, owner, us waited}, ...}}
--
-- Atomic, so that each answer is one moment.

local function owner_of(record)
  if record[SESSION] == 0 then
    return record[OWNER]
  end
  local session = redis.call('HGET', SESSIONS, whole(record[SESSION]))
  return session and cmsgpack.unpack(session)[3] or ''
end

local function waiters_of(name, most)
  local waiters = {}
  for _, ticket in ipairs(redis.call('ZRANGE', line_key(name), 0, most - 1)) do
    local waiter = find_waiter(ticket)
    local alone = redis.call('ZSCORE', writers_key(name), ticket)
    if waiter then
      waiters[#waiters + 1] = {alone and EXCLUSIVE or SHARED, owner_of(waiter), now - waiter[SINCE]}
    end
  end
  return waiters
end

local function state(name, most, most_waiters)
  local how, token = held(name)
  local holders = {}
  for _, number in ipairs(redis.call('ZRANGE', holders_key(name), 0, most - 1)) do
    local lease = find_lease(number)
    if lease then
      local left = ends(tonumber(number), lease) - now
      holders[#holders + 1] = {owner_of(lease), lease[VALUE], now - lease[SINCE], left}
    end
  end
  return {
    name, how or EXCLUSIVE, token or 0, redis.call('ZCARD', holders_key(name)), holders,
    redis.call('ZCARD', line_key(name)), waiters_of(name, most_waiters),
  }
end

local looks = {}

function looks.lock(name, most, waiters)
  return {state(name, most, waiters * most)}
end

function looks.list(after, most, shown)
  local from = after == '' and '-' or '(' .. after
  local states = {}
  for i, name in ipairs(redis.call('ZRANGEBYLEX', NAMES, from, '+', 'LIMIT', 0, most + 1)) do
    states[i] = state(name, shown, 0)
  end
  return states
end

function looks.token(name, asked)
  local how, token = held(name)
  local left = -1
  if how and token == asked then
    for _, number in ipairs(redis.call('ZRANGE', holders_key(name), 0, -1)) do
      local lease = find_lease(number)
      left = lease and math.max(left, ends(tonumber(number), lease) - now) or left
    end
  end
  return {how and token or 0, left}
end

function looks.places(tickets)
  local places = {}
  for i, ticket in ipairs(tickets) do
    local waiter = find_waiter(ticket)
    places[i] = waiter and place(waiter[LOCKS], ticket) or 0
  end
  return places
end

function op()
  return looks[args[1]](unpack(args, 2))
end
