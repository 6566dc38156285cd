-- Remembered request ids: a repeat within the window gets the first answer, on any daemon.
--
-- <root>:r    hash: rpc|id -> msgpack {digest, at, answer, ticket, told again}; `at` is 0 while it runs under `ticket`
-- <root>:rz   sorted set: rpc|id by when it was answered
--
-- A request is {rpc, id, digest} or false. An answer is {GRANTED, lease}, {HELD or TIMED_OUT, ready, position} or
-- {COUNT, leases}. At the bound new ids are refused, none is forgotten early. Errors are not remembered.

local GRANTED, HELD_BY, TIMED_OUT, COUNT = 0, 1, 2, 3

local function request_name(request)
  return request[1] .. '|' .. request[2]
end

local function forget_old_requests()
  local old = redis.call('ZRANGEBYSCORE', REQUESTS_BY, '-inf', whole(now - env.window), 'LIMIT', 0, 32)
  if #old > 0 then
    redis.call('HDEL', REQUESTS, unpack(old))
    redis.call('ZREM', REQUESTS_BY, unpack(old))
  end
  return #old
end

local function known_request(request)
  local record = request and redis.call('HGET', REQUESTS, request_name(request))
  return record and cmsgpack.unpack(record)
end

local function forget_request(request)
  if request then
    redis.call('HDEL', REQUESTS, request_name(request))
    redis.call('ZREM', REQUESTS_BY, request_name(request))
  end
end

-- What a request id is known for: nil, {ticket = ticket} or {answer = answer}. Refuses another body, and a new id
-- above the bound.
local function recall(request)
  if not request then
    return nil
  end
  local known = known_request(request)
  if known and known[2] ~= 0 and known[2] + env.window <= now then
    forget_request(request)
    known = nil
  elseif known and known[2] == 0 and redis.call('HEXISTS', WAITERS, whole(known[4])) == 0 then
    forget_request(request)
    known = nil
  end
  if not known then
    if redis.call('HLEN', REQUESTS) >= env.max_request_ids and forget_old_requests() == 0 then
      local oldest = redis.call('ZRANGE', REQUESTS_BY, 0, 0, 'WITHSCORES')
      local wait = oldest[2] and tonumber(oldest[2]) + env.window - now or env.window
      fail('TOO_MANY_REQUEST_IDS', math.max(wait, 1), whole(redis.call('HLEN', REQUESTS)))
    end
    return nil
  elseif known[1] ~= request[3] then
    fail('REQUEST_ID_REUSED', 0, request[2])
  elseif known[2] == 0 then
    return {ticket = known[4]}
  end
  if not known[5] then
    known[5] = true
    redis.call('HSET', REQUESTS, request_name(request), cmsgpack.pack(known))
  end
  return {answer = known[3]}
end

-- Notes that a request runs, waiting under a ticket.
local function start_request(request, ticket)
  if request then
    local record = {request[3], 0, false, ticket, false}
    redis.call('HSET', REQUESTS, request_name(request), cmsgpack.pack(record))
  end
end

-- Notes the answer of a request; `again` when others have been given it as well.
local function finish_request(request, answer, again)
  if request then
    local record = {request[3], now, answer, 0, again or false}
    redis.call('HSET', REQUESTS, request_name(request), cmsgpack.pack(record))
    redis.call('ZADD', REQUESTS_BY, whole(now), request_name(request))
  end
end

-- Whether a repeat was given the answer, so that a grant stands although its first caller is gone.
local function was_told_again(request)
  local known = known_request(request)
  return known and known[5]
end
