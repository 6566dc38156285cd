-- Pauses a bucket because the provider refused; never shortens a pause.
--
-- args     {limit, key, retry_after, remaining or false, spec or false, request}
-- payload  until when it is paused

function op()
  requests.recall(args[6])
  local known = store.limit(args[1])
  if known then
    leases.require_none(known, args[2])
  end
  -- Found as a charge would find it: declared, kept inline, or brought by the report.
  local list = {{args[1], args[2], 1, args[5], false}}
  local entry = charges.place_all(list, charges.locate_all(list))[1].entry
  entry.paused, entry.dirty = math.max(entry.paused, now + args[3]), true
  if args[4] then
    bucket.lower_to(entry.b, args[4], now)
  end
  local payload = entry.paused
  line.serve({entry})
  requests.finish(args[6], payload)
  return payload
end

