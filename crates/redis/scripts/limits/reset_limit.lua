-- Makes buckets full, ends pauses, frees slots. Where there are more than `EAGER` keys, those in whose line
-- nobody waits are filled when they are next looked at, as of now, and all are counted.
--
-- args     {name, key or false, request}
-- payload  how many buckets

local EAGER = 10000

local function keys_to_fill(limit, key)
  if key then
    return {key}
  end
  if store.bucket_count(limit) <= EAGER then
    return redis.call('HKEYS', root .. ':buckets:' .. limit.life)
  end
  if #limit.changes >= MAX_CHANGES then
    fail('TOO_MANY_CHANGES')
  end
  limit.version, limit.dirty = limit.version + 1, true
  limit.changes[#limit.changes + 1] =
    {limit.version, now, REFILL_ALL, limit.spec, limit.overrides}
  return redis.call('HKEYS', root .. ':lines:' .. limit.life)
end

function op()
  requests.recall(args[3])
  local limit = looking.limit(args[1])
  leases.require_none(limit, args[2])
  local many = not args[2] and store.bucket_count(limit)
  local filled = {}
  for _, key in ipairs(keys_to_fill(limit, args[2])) do
    local entry = store.entry(limit, key)
    if not store.is_idle_and_full(entry) then
      filled[#filled + 1] = entry
    end
  end
  for _, entry in ipairs(filled) do
    store.refill(entry, now)
  end
  local payload = many and many > EAGER and many or #filled
  line.serve(filled)
  requests.finish(args[3], payload)
  return payload
end

