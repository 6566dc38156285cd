-- Renews a reservation and takes further charges into it, all or nothing, without waiting.
--
-- args     {reservation, ttl, charges, request}
-- payload  {outcome, data, states}

local INTERACTIVE = 0

local function extend(id, ttl, list)
  local r = reservations.check_extension(id, list)
  local wants, never = charges.locate_all(list)
  if never then
    return charges.never(list, wants, INTERACTIVE)
  end
  for _, t in ipairs(r.taken) do
    local limit = t.slots and store.limit_of(t)
    if limit then
      store.entry(limit, t.key)
    end
  end
  local hopeless
  wants, hopeless = charges.place_all(list, wants)
  if hopeless then
    local _, states = charges.refusal(wants, INTERACTIVE)
    return {NEVER, false, states}
  elseif not charges.all_open(wants, INTERACTIVE) then
    leases.needed(wants, false)
    local wait, states = charges.refusal(wants, INTERACTIVE)
    return {DENIED, wait, states}
  end
  local data, states = reservations.extend(id, r, ttl, wants)
  return {GRANTED, data, states}
end

function op()
  requests.recall(args[4])
  local payload = extend(args[1], args[2], args[3])
  requests.finish(args[4], payload)
  return payload
end

