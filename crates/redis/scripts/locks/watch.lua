-- Tells the store how many watches a daemon has of which locks.
--
-- args     {{{lock, watches}, ...}, watches of the daemon in all}
-- Payload  true
--
-- May be repeated. Atomic, because the bound is on the watches of all daemons together.

function op()
  local mine, others = args[2], 0
  local counts = redis.call('HGETALL', WATCHES)
  for i = 1, #counts, 2 do
    if not lives(counts[i]) then
      redis.call('HDEL', WATCHES, counts[i])
    elseif counts[i] ~= here then
      others = others + tonumber(counts[i + 1])
    end
  end
  local before = tonumber(redis.call('HGET', WATCHES, here) or '0')
  if mine > before and others + mine > env.max_watchers then
    fail('TOO_MANY_WATCHES', others + mine - 1)
  end
  if mine > 0 then
    ensure()
    redis.call('HSET', WATCHES, here, mine)
  else
    redis.call('HDEL', WATCHES, here)
  end
  for _, one in ipairs(args[1]) do
    local watches = root .. ':d:' .. one[1]
    if one[2] > 0 then
      redis.call('HSET', watches, here, one[2])
    else
      redis.call('HDEL', watches, here)
    end
    for _, host in ipairs(redis.call('HKEYS', watches)) do
      if not lives(host) then
        redis.call('HDEL', watches, host)
      end
    end
  end
  return true
end
