-- A page of a limit's live buckets, by key in byte order. Idle full ones are passed over; sweeps see to it
-- that there are few.
--
-- args     {limit, size, after or false}
-- payload  {{bucket state, ...}, more}

function op()
  local limit, size = looking.limit(args[1]), args[2]
  local from, live = args[3] and '(' .. args[3] or '-', {}
  while #live <= size do
    local keys = redis.call('ZRANGEBYLEX', root .. ':keys:' .. limit.life, from, '+',
      'LIMIT', 0, size + 1)
    if #keys == 0 then
      break
    end
    for _, key in ipairs(keys) do
      if #live <= size and not store.is_idle_and_full(store.entry(limit, key)) then
        live[#live + 1] = key
      end
    end
    from = '(' .. keys[#keys]
  end
  local page = {}
  for i = 1, math.min(size, #live) do
    page[i] = looking.bucket_state(limit, live[i])
  end
  return {page, #live > size}
end

