-- Looks at lines in which the caller waits, and fetches what has ended.
--
-- args     {bucket ids}; "hold|<ticket>" is a call that begins to hold all of its buckets
-- payload  false: the results and looks are the answer

function op()
  local entries, holding = {}, {}
  for _, id in ipairs(args[1]) do
    local ticket = id:match('^hold|(.*)$')
    if ticket then
      holding[#holding + 1] = line.waiter(ticket) or nil
    else
      local length, names = id:match('^(%d+):(.*)$')
      local limit = store.limit(names:sub(1, tonumber(length)))
      if limit then
        entries[#entries + 1] = store.entry(limit, names:sub(tonumber(length) + 1))
      end
    end
  end
  for _, w in ipairs(holding) do
    if not w.gone then
      line.review(w)
    end
  end
  line.serve(entries)
  local ended = root .. ':ended:' .. me
  for _, result in ipairs(redis.call('HVALS', ended)) do
    results[#results + 1] = cmsgpack.unpack(result)
  end
  redis.call('DEL', ended)
  return false
end

