-- Takes slices back: what is left of them can be had by others at once.
--
-- args     {{{limit, key, slice, left}, ...}}; left NONE: all of it, known to its holder or not
-- payload  false

function op()
  local served = {}
  for _, one in ipairs(args[1]) do
    local limit = store.limit(one[1])
    local entry = limit and store.entry(limit, one[2])
    if entry and entry.b and entry.lease then
      leases.report(entry, one[3], one[4], true)
      served[#served + 1] = entry
    end
  end
  line.serve(served)
  return false
end
