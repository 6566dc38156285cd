-- Hides the entries of a tag or of the namespace; a clear of the namespace voids its leases as well.
--
-- args     {tag or false}
-- Payload  the clear's number
--
-- Costs the same whatever it hides: entries and leases older than the number are void when they are looked at.
-- Atomic, because the number must lie above every version and lease given out before, and below every later one.

local function clear_tag(tag, number)
  redis.call('HSET', CLEARS, 'tagged', whole(number))
  redis.call('HSET', TAGS, tag, whole(number))
  redis.call('ZADD', TAGS_BY, whole(number), tag)
  local over = redis.call('ZCARD', TAGS_BY) - env.max_tags
  if over > 0 then
    local popped = redis.call('ZPOPMIN', TAGS_BY, over)
    for i = 1, #popped, 2 do
      redis.call('HDEL', TAGS, popped[i])
    end
    redis.call('HSET', CLEARS, 'forgotten', popped[#popped])
  end
end

local function op()
  ensure()
  local number = mint(KEYS[1], 0)
  if args[1] then
    clear_tag(args[1], number)
    return number
  end
  redis.call('HSET', CLEARS, 'all', whole(number), 'forgotten', 0, 'tagged', 0)
  redis.call('UNLINK', TAGS, TAGS_BY, FAILED, FAILED_BY)
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    local daemon = field:match('^m:(.*)$')
    if daemon then
      publish(daemon, {'cleared', env.namespace})
    end
  end
  return number
end
