-- The roots of all namespaces in use.
--
-- KEYS[2]  set of all roots
-- Result   a list of them
--
-- Atomic, being one command.

return redis.call('SMEMBERS', KEYS[2])
