-- Carries the operation out and answers; stands behind every script of the cache and of pipelines.

local done, payload = pcall(op)
if done then
  return {cmsgpack.pack({ok = {now, payload}}), unpack(values)}
end
if type(payload) == 'table' and payload.fail then
  return {cmsgpack.pack({error = payload.fail})}
end
return redis.error_reply(type(payload) == 'table' and payload.err or 'SCRIPT ' .. tostring(payload))
