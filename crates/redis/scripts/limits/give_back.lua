-- Takes back a grant whose caller is gone, so that no more is admitted than if the call had never come: of a rate,
-- less what was refilled since. One that a repeat of the call was told stands: it has a caller.
--
-- args     {reservation or false, {{limit, key, amount}, ...}, at, request}
-- payload  false

function op()
  local id, list, at = args[1], args[2], args[3]
  if requests.was_told_again(args[4]) then
    return false
  end
  local taken = {}
  if id then
    taken = reservations.revoke(id)
  else
    for _, charge in ipairs(list) do
      local limit = store.limit(charge[1])
      if limit and tonumber(limit.life) <= at then
        taken[#taken + 1] = {
          limit = charge[1], life = limit.life, key = charge[2], amount = charge[3], slots = false,
          at = at, hold = '',
        }
      end
    end
  end
  local freed = {}
  for i, t in ipairs(taken) do
    local limit = store.limit_of(t)
    freed[i] = limit and store.entry(limit, t.key) or false
  end
  requests.forget(args[4])
  local entries = {}
  for i, t in ipairs(taken) do
    if freed[i] and freed[i].b then
      store.take_back(freed[i], t)
      entries[#entries + 1] = freed[i]
    end
  end
  line.serve(entries)
  return false
end

