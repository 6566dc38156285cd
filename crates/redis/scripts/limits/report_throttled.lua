-- Pauses a bucket because the provider refused; never shortens a pause.
--
-- args     {env, limit, key, retry_after, remaining or false, spec or false, request}
-- payload  until when it is paused

function op()
  requests.recall(args[7])
  local known = store.limit(args[2])
  if known then
    leases.require_none(known, args[3])
  end
  -- Found as a charge would find it: declared, kept inline, or brought by the report.
  local list = {{args[2], args[3], 1, args[6], false}}
  local entry = charges.place_all(list, charges.locate_all(list))[1].entry
  entry.paused, entry.dirty = math.max(entry.paused, now + args[4]), true
  if args[5] then
    bucket.lower_to(entry.b, args[5], now)
  end
  local payload = entry.paused
  line.serve({entry})
  requests.finish(args[7], payload)
  return payload
end

