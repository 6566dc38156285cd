-- Looks at lines in which the caller waits, and fetches what has ended.
--
-- args     {bucket ids}; "hold|<ticket>" is a call that begins to hold all of its buckets, or is to be looked at
--          for its own sake
-- payload  {tickets}: those calls that are not in line; the results and looks are the rest of the answer

function op()
  local entries, holding, not_in_line = {}, {}, {}
  for _, id in ipairs(args[1]) do
    local ticket = id:match('^hold|(.*)$')
    if ticket then
      local w = line.waiter(ticket)
      if w then
        holding[#holding + 1] = w
      else
        not_in_line[#not_in_line + 1] = ticket
      end
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
  return not_in_line
end

