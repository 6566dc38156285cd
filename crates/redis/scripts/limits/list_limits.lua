-- A page of limits, by name in byte order.
--
-- args     {env, size, after or false}
-- payload  {{{name, spec, overrides, source, buckets}, ...}, more}

function op()
  local size, from = args[2], args[3] and '(' .. args[3] or '-'
  local names = redis.call('ZRANGEBYLEX', root .. ':names', from, '+', 'LIMIT', 0, size + 1)
  local page = {}
  for i = 1, math.min(size, #names) do
    page[i] = looking.limit_state(store.limit(names[i]))
  end
  return {page, #names > size}
end

