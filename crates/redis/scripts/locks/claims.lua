-- What the caller's daemon has the care of, also in its earlier lives.
--
-- args     {}
-- Payload  {claim, what, claim, what, ...}; see <root>:h in `call`
--
-- Atomic, so that it is one moment.

function op()
  local all = {}
  for _, host in ipairs(redis.call('SMEMBERS', HOSTS)) do
    if host:sub(1, #me + 1) == me .. '|' then
      for _, part in ipairs(redis.call('HGETALL', host_key(host))) do
        all[#all + 1] = part
      end
    end
  end
  return all
end
