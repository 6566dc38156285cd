-- Leaves cleanly: the daemon is no member any more, and its scripts are refused from now on.
--
-- KEYS[1]  the guard    KEYS[2]  the members
-- ARGV[1..3]  the guard's
--
-- Result   'left'
--
-- Atomic, because the record and the stamp must go together.

redis.call('HDEL', KEYS[1], 'm:' .. ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[2])
return 'left'
