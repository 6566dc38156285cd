-- Takes a lock from those who hold it under a token.
--
-- args     {lock, token, reason, actor, request}
-- Payload  how many leases have ended
--
-- Atomic, because the token must still be that of the holders.

function op()
  local name, expected, reason, actor, request = unpack(args)
  local known = recall(request)
  if known then
    return known.answer[2]
  end
  local how, token = held(name)
  if not how or token ~= expected then
    fail('TOKEN_MISMATCH', how and token or 0, name)
  end
  ensure()
  local numbers, names = redis.call('ZRANGE', holders_key(name), 0, -1), {}
  for _, number in ipairs(numbers) do
    local lease = find_lease(number)
    if lease then
      end_lease(number, lease, names, FORCED, reason, actor)
    end
  end
  -- Of a holder whose record was taken by hand nothing is left either.
  redis.call('DEL', holders_key(name))
  vacate(name, expected)
  names[#names + 1] = name
  finish_request(request, {COUNT, #numbers})
  serve(names)
  return #numbers
end
