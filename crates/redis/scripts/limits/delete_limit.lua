-- Forgets a limit with all its buckets.
--
-- args     {name, request}
-- payload  whether there was one

function op()
  requests.recall(args[2])
  local limit = store.limit(args[1])
  if limit then
    leases.require_none(limit, false)
    -- Declared while it goes, so that it does not vanish with its last bucket.
    limit.source = SET_LIMIT
    -- All leave before anyone is served, so that none is granted what is going.
    local freed = {}
    if redis.call('EXISTS', root .. ':lines:' .. limit.life) == 1 then
      for _, w in ipairs(line.waiting(function(want) return want.limit == limit.name end)) do
        for _, entry in ipairs(line.leave(w)) do
          freed[#freed + 1] = entry
        end
        line.finish(w, DELETED, limit.name, {})
      end
    end
    store.remove_limit(limit)
    line.serve(freed)
  end
  local payload = limit and true or false
  requests.finish(args[2], payload)
  return payload
end

