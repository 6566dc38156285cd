-- Leaves cleanly: the daemon is no member any more, and its scripts are refused from now on.
--
-- KEYS[1]  the guard    KEYS[2]  the members    KEYS[3]  the dead; see `beat.lua`
-- ARGV[1..3]  the guard's
--
-- Result   'left'
--
-- Its record is kept among the dead for a while: who comes back to a store that has lost its members must be
-- able to tell this one from those that may still spend their shares.
--
-- Atomic, because the record and the stamp must go together.

local record = cjson.decode(redis.call('HGET', KEYS[2], ARGV[2]))
record.at, record.left = whole(store_time()), '1'
redis.call('HDEL', KEYS[1], 'm:' .. ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[3], ARGV[2], cjson.encode(record))
return 'left'
