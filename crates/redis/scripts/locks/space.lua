-- Namespaces in use: those with locks, sessions or memories.

local function escaped(name)
  return (name:gsub('[:%%]', function(char)
    return string.format('%%%02X', char:byte())
  end))
end

-- Drops a namespace in which nothing is kept; tells whether it was one.
local function drop_if_idle(name)
  local other = env.base .. escaped(name)
  for _, kind in ipairs({':l', ':w', ':s', ':dt'}) do
    if redis.call('EXISTS', other .. kind) == 1 then
      return false
    end
  end
  for _, kind in ipairs({':rz', ':xz'}) do
    local last = redis.call('ZREVRANGE', other .. kind, 0, 0, 'WITHSCORES')
    if last[2] and tonumber(last[2]) + env.window > now then
      return false
    end
  end
  redis.call('UNLINK', other .. ':r', other .. ':rz', other .. ':x', other .. ':xz', other .. ':e', other .. ':hosts')
  redis.call('SREM', spaces, name)
  return true
end

-- Makes the namespace known; fails at the bound, unless another can be dropped.
local function ensure()
  if redis.call('SISMEMBER', spaces, env.namespace) == 1 then
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
  redis.call('SADD', spaces, env.namespace)
end
