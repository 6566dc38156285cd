-- Leaves cleanly: the daemon is no member any more, and its scripts are refused from now on.
--
-- KEYS[1]  the guard    KEYS[2]  the members    KEYS[3]  the dead; see `beat.lua`
-- ARGV[1..3]  the guard's
--
-- Result   'left'
--
-- Its record is kept among the dead for a while, without a share: who comes back to a store that has lost its
-- members must be able to tell this one from those that may still spend theirs.
--
-- Atomic, because the record and the stamp must go together.

local record = redis.call('HGET', KEYS[2], ARGV[2])
redis.call('HDEL', KEYS[1], 'm:' .. ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[2])
if record then
  record = cjson.decode(record)
  record.at, record.left, record.place, record.apart = whole(store_time()), '1', '', '0'
  redis.call('HSET', KEYS[3], ARGV[2], cjson.encode(record))
end
return 'left'
