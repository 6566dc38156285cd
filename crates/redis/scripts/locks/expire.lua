-- Ends leases that their host has found over.
--
-- args     {{lease, renewals through others that it knows of}, ...}
-- Payload  {{lease, renewals}, ...}: those that were renewed and are to be timed anew
--
-- Atomic, because a lease that is renewed through another daemon must not be ended.

function op()
  local kept, names = {}, {}
  for _, one in ipairs(args) do
    local lease = find_lease(one[1])
    if lease and lease[HOST] == here and lease[KEPT] ~= one[2] then
      kept[#kept + 1] = {one[1], lease[KEPT]}
    elseif lease and lease[HOST] == here then
      end_lease(one[1], lease, names, EXPIRED)
    end
  end
  serve(names)
  return kept
end
