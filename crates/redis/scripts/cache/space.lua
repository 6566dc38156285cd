-- Namespaces: known by their `all`, the number of their last clear, which is minted when they are first
-- written to. So what an older life of the name has left behind stays hidden.

local function known()
  return redis.call('EXISTS', CLEARS) == 1
end

-- Drops a namespace in which nothing is kept and nothing happens; tells whether it was one.
local function drop_if_idle(other)
  redis.call('ZREMRANGEBYSCORE', other .. ':x', '-inf', now)
  redis.call('ZREMRANGEBYSCORE', other .. ':fz', '-inf', now)
  for _, kind in ipairs({':x', ':fz', ':due', ':l', ':n'}) do
    if redis.call('EXISTS', other .. kind) == 1 then
      return false
    end
  end
  if tonumber(redis.call('HGET', other .. ':m', 'waiters') or '0') > 0 then
    return false
  end
  for _, kind in ipairs({':c', ':m', ':t', ':tz', ':s', ':e', ':f', ':h'}) do
    redis.call('UNLINK', other .. kind)
  end
  redis.call('SREM', spaces, other)
  return true
end

-- Makes the namespace known; fails at the bound, unless another can be dropped.
local function ensure()
  if known() then
    return
  end
  if redis.call('SCARD', spaces) >= env.max_namespaces then
    local dropped = false
    for _, other in ipairs(redis.call('SRANDMEMBER', spaces, 64)) do
      dropped = dropped or drop_if_idle(other)
    end
    if not dropped then
      fail('TOO_MANY_NAMESPACES', env.max_namespaces)
    end
  end
  redis.call('HSET', CLEARS, 'all', whole(mint(KEYS[1], 0)))
  redis.call('SADD', spaces, root)
end
