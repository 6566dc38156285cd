-- What has ended is remembered, so that who ends it again is answered as before.
--
-- <root>:x    hash: number -> msgpack {claim, how, reason, actor} of a lease or session that has ended
-- <root>:xz   sorted set: numbers by when they ended

local function note_end(number, claim, how, reason, actor)
  -- What is over is forgotten by sweeps; at the bound the oldest.
  if redis.call('ZCARD', ENDED_BY) >= env.max_request_ids then
    local oldest = redis.call('ZRANGE', ENDED_BY, 0, 0)
    redis.call('HDEL', ENDED, unpack(oldest))
    redis.call('ZREM', ENDED_BY, unpack(oldest))
  end
  redis.call('HSET', ENDED, whole(number), cmsgpack.pack({claim, how, reason or '', actor or ''}))
  redis.call('ZADD', ENDED_BY, whole(now), whole(number))
end
