-- Looking at limits and buckets without changing them.

function looking.bucket_state(limit, key)
  local spec = store.spec_for(limit, key)
  local entry = store.entry(limit, key)
  local b = entry.b or (env.lost and losses.unknown(entry, spec)) or bucket.full(spec, now)
  if not same(b.spec, spec) then
    b = store.under(entry, spec, KEEP_AMOUNT, now)
  end
  local l = line.of(entry)
  return {
    limit.name, key, b.spec, limit.source, bucket.free(b), bucket.capacity(b.spec),
    math.max(bucket.ready_at(b, bucket.capacity(b.spec), now) - now, 0),
    entry.paused > now and entry.paused - now or NONE, l and l.claims or 0,
    limit.sharing, entry.lease and entry.lease.open_til > 0 and leases.count(entry) or 0, leases.open(entry),
    store.over(entry),
  }
end

function looking.limit_state(limit)
  local overrides = {}
  if limit.overrides ~= 0 then
    local all = redis.call('HGETALL',
      root .. ':overrides:' .. limit.life .. ':' .. whole(limit.overrides))
    for i = 1, #all, 2 do
      overrides[#overrides + 1] = {all[i], cmsgpack.unpack(all[i + 1])}
    end
    table.sort(overrides, function(one, other) return one[1] < other[1] end)
  end
  return {limit.name, limit.spec, overrides, limit.source, store.bucket_count(limit),
    limit.sharing}
end

function looking.limit(name)
  return store.limit(name) or fail('LIMIT_NOT_FOUND')
end

