-- Takes what a daemon has admitted on its own while it could not reach the store, into debt if need be, once.
--
-- <root>:merged  hash: batch -> when it was merged; forgotten by sweeps after `REMEMBERED`
--
-- args     {batch, {{limit, key, amount, spec}, ...}}
-- payload  whether it was merged before

function op()
  local merged = root .. ':merged'
  if redis.call('HEXISTS', merged, args[1]) == 1 then
    return true
  end
  local entries = {}
  for i, spent in ipairs(args[2]) do
    local limit = store.limit(spent[1])
    if not limit and redis.call('HLEN', root .. ':limits') < env.max_limits then
      limit = store.make_limit(spent[1], spent[4], INLINE)
    end
    entries[i] = limit and store.entry(limit, spent[2]) or false
    if entries[i] then
      store.make(entries[i])
    end
  end
  for i, spent in ipairs(args[2]) do
    local entry = entries[i]
    if entry and not bucket.holds_slots(entry.b) then
      -- More than a capacity has come back since: an hour apart must not return as an hour of silence.
      bucket.take(entry.b, math.min(spent[3], bucket.capacity(entry.b.spec)), now)
      entry.dirty = true
    end
  end
  redis.call('HSET', merged, args[1], whole(now))
  return false
end

