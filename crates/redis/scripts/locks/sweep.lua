-- Forgets what is over, and counts what there is.
--
-- args     {}
-- Payload  {locks, leases, sessions, waiters, request ids}
--
-- Atomic, so that the counts are those of one moment.

function op()
  for _ = 1, 8 do
    if forget_old_requests() == 0 then
      break
    end
  end
  for _ = 1, 16 do
    local old = redis.call('ZRANGEBYSCORE', ENDED_BY, '-inf', whole(now - env.window), 'LIMIT', 0, 256)
    if #old == 0 then
      break
    end
    redis.call('HDEL', ENDED, unpack(old))
    redis.call('ZREM', ENDED_BY, unpack(old))
  end
  local counts = redis.call('HGETALL', WATCHES)
  for i = 1, #counts, 2 do
    if not lives(counts[i]) then
      redis.call('HDEL', WATCHES, counts[i])
    end
  end
  return {
    redis.call('ZCARD', NAMES), redis.call('HLEN', LEASES), redis.call('HLEN', SESSIONS),
    redis.call('HLEN', WAITERS), redis.call('HLEN', REQUESTS),
  }
end
