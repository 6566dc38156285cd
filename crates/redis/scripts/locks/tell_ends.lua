-- Tells until when leases and sessions last that their host has renewed, for those who look.
--
-- args     {number, us left, number, us left, ...}
-- Payload  true
--
-- Nothing ends by these times. Atomic, being one command in the end.

function op()
  local ends = {}
  for i = 1, #args, 2 do
    ends[#ends + 1] = whole(now + args[i + 1])
    ends[#ends + 1] = whole(args[i])
  end
  redis.call('ZADD', ENDS, 'XX', unpack(ends))
  return true
end
