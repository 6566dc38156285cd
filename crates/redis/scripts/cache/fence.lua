-- Fences: the highest token seen of each lock, of so many locks; see `fences.rs` of the machine.

-- Fails with STALE_FENCE, and the lowest token that passes, for a lower token than one seen. `brought` is {lock, token} or
-- false.
local function check_fence(brought)
  if not brought then
    return
  end
  local seen = redis.call('ZSCORE', FENCES, brought[1]) or redis.call('HGET', META, 'fenced')
  local least = tonumber(seen or '0')
  if brought[2] < least then
    fail('STALE_FENCE', least)
  end
end

-- Takes note of a token that passes.
local function note_fence(brought)
  if not brought then
    return
  end
  redis.call('ZADD', FENCES, whole(brought[2]), brought[1])
  local over = redis.call('ZCARD', FENCES) - env.max_fences
  if over > 0 then
    local popped = redis.call('ZPOPMIN', FENCES, over)
    redis.call('HSET', META, 'fenced', popped[#popped])
  end
end
