-- Carries the operation out and answers; stands behind every locks script.

local done, payload = pcall(op)
if done then
  for daemon, messages in pairs(told) do
    redis.call('PUBLISH', env.mailbox .. daemon, cmsgpack.pack({'locks', env.namespace, messages}))
  end
  return cmsgpack.pack({ok = {payload, told_here}})
end
if type(payload) == 'table' and payload.fail then
  return cmsgpack.pack({error = payload.fail})
end
return redis.error_reply(type(payload) == 'table' and payload.err or 'SCRIPT ' .. tostring(payload))
