-- The namespaces that have state.
--
-- KEYS[2]  set of all namespaces
-- Result   their names

return redis.call('SMEMBERS', KEYS[2])
