-- Failures that are remembered for a while.

local function forget_failure(key)
  if redis.call('HDEL', FAILED, key) == 1 then
    redis.call('ZREM', FAILED_BY, key)
  end
end

-- {until, code, message} of the failure remembered for a key.
local function remembered(key)
  local packed = redis.call('HGET', FAILED, key)
  if not packed then
    return nil
  end
  local failure = cmsgpack.unpack(packed)
  if now >= failure[1] then
    forget_failure(key)
    return nil
  end
  return failure
end

local function forget_old_failures(most)
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', FAILED_BY, '-inf', whole(now), 'LIMIT', 0, most)) do
    forget_failure(key)
  end
end

-- Remembers a failure where there is room.
local function remember(key, span, code, message)
  forget_failure(key)
  forget_old_failures(64)
  if span > 0 and redis.call('ZCARD', FAILED_BY) < env.max_failures then
    redis.call('HSET', FAILED, key, cmsgpack.pack({now + span, code, message}))
    redis.call('ZADD', FAILED_BY, whole(now + span), key)
  end
end
