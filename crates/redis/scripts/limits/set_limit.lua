-- Declares or changes a limit, however many buckets it has.
--
-- args     {name, spec, {{key, spec}, ...}, policy, source, request, sharing}
-- payload  {{name, spec, overrides, source, buckets, sharing}, created}

function op()
  local name, spec, overrides, policy, source = args[1], args[2], args[3], args[4], args[5]
  requests.recall(args[6])
  local found = store.limit(name)
  if found then
    leases.require_none(found, false)
  end
  local limit = found or store.make_limit(name, spec, source)
  local live = found and store.bucket_count(limit) > 0
  if live and #limit.changes >= MAX_CHANGES then
    fail('TOO_MANY_CHANGES')
  end
  if found and policy == KEEP_AMOUNT and source == limit.source and same(spec, limit.spec)
    and #overrides == 0 and limit.overrides == 0 then
    -- Nothing changes: every daemon declares what its configuration says, at each of its starts.
    local payload = {looking.limit_state(limit), false}
    requests.finish(args[6], payload)
    return payload
  end
  local waited = {}
  for _, key in ipairs(redis.call('HKEYS', root .. ':lines:' .. limit.life)) do
    waited[#waited + 1] = store.entry(limit, key)
  end
  limit.version = found and limit.version + 1 or limit.version
  limit.spec, limit.source, limit.sharing, limit.dirty = spec, source, args[7] or AUTO, true
  local former = limit.overrides
  limit.overrides = #overrides > 0 and limit.version or 0
  for _, one in ipairs(overrides) do
    redis.call('HSET', root .. ':overrides:' .. limit.life .. ':' .. whole(limit.version),
      one[1], cmsgpack.pack(one[2]))
  end
  if live then
    limit.changes[#limit.changes + 1] = {limit.version, now, policy, spec, limit.overrides}
  elseif former ~= 0 then
    redis.call('UNLINK', root .. ':overrides:' .. limit.life .. ':' .. whole(former))
  end
  if #waited > 0 then
    strict = false
    for _, entry in ipairs(waited) do
      store.catch_up(entry)
    end
    charges.end_hopeless(function(entry) return entry.limit == limit end)
    line.serve(waited)
  end
  -- Written now, that what is told below counts it.
  store.commit()
  local payload = {looking.limit_state(limit), not found}
  requests.finish(args[6], payload)
  return payload
end

