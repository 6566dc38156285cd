-- Takes all charges or none, or puts the call in line.
--
-- args     {charges, mode, ttl, request, priority, dry_run, ticket, fair_key, weight, reservation}
-- payload  {outcome, data, states}

local WAIT = 1

local function is_full()
  local waiting = redis.call('HLEN', root .. ':waiters')
  return waiting >= env.max_waiters and waiting
end

function op()
  local list, mode, ttl, request, priority = args[1], args[2], args[3], args[4], args[5]
  local dry_run = args[6]
  if request and not dry_run then
    requests.recall(request)
  end
  local wants, never, slotted = charges.locate_all(list)
  local payload
  if never then
    payload = charges.never(list, wants, priority)
  elseif dry_run then
    local wait, states = charges.preview(list, wants, priority)
    return {wait and DENIED or GRANTED, wait or false, states}
  else
    if ttl ~= NONE or slotted then
      reservations.check_bound()
    end
    local full = mode == WAIT and is_full()
    if full and charges.preview(list, wants, priority) then
      fail('TOO_MANY_WAITERS', NONE, full)
    end
    local hopeless
    wants, hopeless = charges.place_all(list, wants)
    if hopeless then
      local _, states = charges.refusal(wants, priority)
      payload = {NEVER, false, states}
    elseif mode == WAIT then
      local w = {
        ticket = args[7], daemon = me, priority = priority, ttl = ttl, request = request,
        fair = args[8] ~= '' and 'key|' .. args[8] or 'daemon|' .. me, weight = args[9],
        reservation = args[10], wants = wants,
      }
      charges.wake(wants)
      local data, states = line.go_at_once(w)
      if not states then
        leases.needed(wants, true)
        requests.start(request, w.ticket)
        line.enqueue(w)
        return {QUEUED, false, {}}
      end
      payload = {GRANTED, data, states}
    elseif charges.all_open(wants, priority) then
      local data, states = charges.grant(wants, ttl, args[10])
      payload = {GRANTED, data, states}
    else
      leases.needed(wants, false)
      local wait, states = charges.refusal(wants, priority)
      payload = {DENIED, wait, states}
    end
  end
  if request and not dry_run then
    requests.finish(request, payload)
  end
  return payload
end

