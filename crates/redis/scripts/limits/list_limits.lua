-- A page of limits, by name in byte order.
--
-- args     {size, after or false}
-- payload  {{{name, spec, overrides, source, buckets}, ...}, more}

function op()
  local size, from = args[1], args[2] and '(' .. args[2] or '-'
  local names = redis.call('ZRANGEBYLEX', root .. ':names', from, '+', 'LIMIT', 0, size + 1)
  local page = {}
  for i = 1, math.min(size, #names) do
    page[i] = looking.limit_state(store.limit(names[i]))
  end
  return {page, #names > size}
end

