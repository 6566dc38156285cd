-- Looks at lines in which the caller waits, and fetches what has ended.
--
-- args     {ids}: of buckets; "hold|<ticket>", a call that begins to hold all of its buckets; "call|<ticket>", a
--          call of which the caller may have missed something: its end, or when to look
-- payload  {tickets}: those of "call|" that are not in line; the results and looks are the rest of the answer

function op()
  local entries, calls, doubted, not_in_line = {}, {}, {}, {}
  for _, id in ipairs(args[1]) do
    local why, ticket = id:match('^(%a+)|(.*)$')
    if ticket then
      local w = line.waiter(ticket)
      if w then
        calls[#calls + 1] = w
        doubted[w] = doubted[w] or why == 'call'
      elseif why == 'call' then
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
  for _, w in ipairs(calls) do
    if not w.gone then
      line.review(w)
    end
    if doubted[w] and not w.gone then
      line.tell_anew(w)
    end
  end
  line.serve(entries)
  local ended = root .. ':ended:' .. me
  for _, result in ipairs(redis.call('HVALS', ended)) do
    results[#results + 1] = cmsgpack.unpack(result)
  end
  if redis.call('DEL', ended) == 1 then
    redis.call('HDEL', root .. ':enders', me)
  end
  return not_in_line
end

