-- Carries the operation out and answers; stands behind every locks script.

local done, payload = pcall(op)
if done then
  return answer(payload)
end
if type(payload) == 'table' and payload.fail then
  return cmsgpack.pack({error = payload.fail})
end
return redis.error_reply(type(payload) == 'table' and payload.err or 'SCRIPT ' .. tostring(payload))
