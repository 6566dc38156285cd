-- Takes what a daemon has admitted on its own while it could not reach the store, into debt if need be, once.
--
-- <root>:merged  hash: batch -> when it was merged; forgotten by sweeps after `REMEMBERED`, until when it keeps
--                the namespace
--
-- args     {batch, {{limit, key, amount, spec, held_for}, ...}}; held_for: how long slots are held
-- payload  units of it that were above the limits; 0 where it was merged before
--
-- A batch is named by the life of the daemon and a number of its own, so a name stands for one batch only. No
-- bound on buckets refuses a debt: what is lost of it would be admitted twice. Where no limit can be made, calls
-- cannot use it either.

-- The limit, made where there is none; false above the bound.
local function limit_of(name, spec)
  local limit = store.limit(name)
  if limit then
    return limit
  end
  local made, fresh = pcall(store.make_limit, name, spec, INLINE)
  return made and fresh
end

function op()
  local batch, merged = args[1], root .. ':merged'
  if redis.call('HEXISTS', merged, batch) == 1 then
    return 0
  end
  local taken, over = {}, 0
  for _, spent in ipairs(args[2]) do
    local limit = limit_of(spent[1], spent[4])
    local entry = limit and store.entry(limit, spent[2])
    if entry then
      store.make(entry)
      -- More than a capacity has come back since: an hour apart must not return as an hour of silence.
      local amount = math.min(spent[3], bucket.capacity(entry.b.spec))
      taken[#taken + 1] = {entry = entry, amount = amount, til = now + spent[5]}
    end
  end
  for _, it in ipairs(taken) do
    local above = it.amount - math.max(bucket.available(it.entry.b), 0)
    if above > 0 then
      over = over + above
      store.add_over(it.entry, above)
    end
    bucket.take(it.entry.b, it.amount, now, 'merged|' .. batch, it.til)
    it.entry.dirty = true
  end
  redis.call('SADD', spaces, env.namespace)
  redis.call('HSET', merged, batch, whole(now))
  return over
end
