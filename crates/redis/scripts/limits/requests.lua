-- Remembered request ids: a repeat within the window gets the first answer, on any daemon.
--
-- <root>:requests   hash: rpc|id -> {digest, at, payload, ticket, listeners}; `at` is 0 while it runs; `ticket`
--                   is TOLD_AGAIN once a repeat was given the answer
-- <root>:answered   zset: rpc|id by when it was answered
--
-- At the bound new ids are refused, none is forgotten early. Errors are not remembered.

local TOLD_AGAIN = 'told again'

local function requests_key()
  return root .. ':requests'
end

local function answered_key()
  return root .. ':answered'
end

local function request_name(request)
  return request[1] .. '|' .. request[2]
end

local function forget_old()
  local old = redis.call('ZRANGEBYSCORE', answered_key(), '-inf', whole(now - env.request_window),
    'LIMIT', 0, 32)
  for _, name in ipairs(old) do
    redis.call('HDEL', requests_key(), name)
    redis.call('ZREM', answered_key(), name)
  end
  return #old
end

requests.forget_old = forget_old

-- When the reservation of a remembered grant ends; NONE when it no longer stands or never was.
local function stands_until(payload)
  if type(payload) ~= 'table' or payload[1] ~= GRANTED or not payload[2] then
    return NONE
  end
  return reservations.open_until(payload[2][1])
end

-- Ends the call when the id is known, by its first answer or by telling that it runs. Refuses another body
-- and a new id above the bound.
function requests.recall(request)
  if not request then
    return
  end
  local name = request_name(request)
  local record = redis.call('HGET', requests_key(), name)
  local known = record and cmsgpack.unpack(record)
  if known and known[2] ~= 0 and known[2] + env.request_window <= now then
    redis.call('HDEL', requests_key(), name)
    redis.call('ZREM', answered_key(), name)
    known = nil
  end
  if known and known[2] == 0 and redis.call('HEXISTS', root .. ':waiters', known[4]) == 0 then
    redis.call('HDEL', requests_key(), name)
    known = nil
  end
  if not known then
    if redis.call('HLEN', requests_key()) >= env.max_request_ids and forget_old() == 0 then
      local oldest = redis.call('ZRANGE', answered_key(), 0, 0, 'WITHSCORES')
      local wait = oldest[2] and tonumber(oldest[2]) + env.request_window - now or env.request_window
      fail('TOO_MANY_REQUEST_IDS', NONE, {redis.call('HLEN', requests_key()), math.max(wait, 1)})
    end
    return
  end
  if known[1] ~= request[3] then
    fail('REQUEST_ID_REUSED')
  end
  if known[2] ~= 0 then
    if known[4] ~= TOLD_AGAIN then
      known[4] = TOLD_AGAIN
      redis.call('HSET', requests_key(), name, cmsgpack.pack(known))
    end
    error({replay = {known[2], known[3], stands_until(known[3])}})
  end
  for _, daemon in ipairs(known[5]) do
    if daemon == me then
      error({running = true})
    end
  end
  known[5][#known[5] + 1] = me
  redis.call('HSET', requests_key(), name, cmsgpack.pack(known))
  error({running = true})
end

-- Notes that a request runs, waiting under `ticket`.
function requests.start(request, ticket)
  if request then
    redis.call('HSET', requests_key(), request_name(request),
      cmsgpack.pack({request[3], 0, false, ticket, {}}))
  end
end

-- The call that waits under a request id; false when none does.
function requests.waiter(rpc, id)
  local record = redis.call('HGET', requests_key(), rpc .. '|' .. id)
  local known = record and cmsgpack.unpack(record)
  return known and known[2] == 0 and line.waiter(known[4])
end

local function tell_listeners(request)
  local record = redis.call('HGET', requests_key(), request_name(request))
  for _, daemon in ipairs(record and cmsgpack.unpack(record)[5] or {}) do
    tell(daemon, {'done', env.namespace, request[1], request[2]})
  end
end

-- Notes the answer of a request.
function requests.finish(request, payload)
  if request then
    tell_listeners(request)
    redis.call('HSET', requests_key(), request_name(request),
      cmsgpack.pack({request[3], now, payload, '', {}}))
    redis.call('ZADD', answered_key(), whole(now), request_name(request))
  end
end

-- Whether a repeat was given the answer, so that a grant stands although its first caller is gone.
function requests.was_told_again(request)
  local record = request and redis.call('HGET', requests_key(), request_name(request))
  return record and cmsgpack.unpack(record)[4] == TOLD_AGAIN
end

-- Forgets a request that did nothing.
function requests.forget(request)
  if request then
    tell_listeners(request)
    redis.call('HDEL', requests_key(), request_name(request))
    redis.call('ZREM', answered_key(), request_name(request))
  end
end

