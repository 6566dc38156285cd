-- Declares a peer dead, provided that its heart has not moved since the caller looked.
--
-- KEYS[1]  the guard    KEYS[2]  the members    KEYS[3]  the dead; see `beat.lua`
-- ARGV[1..3]  the guard's
-- ARGV[4]  the peer's daemon id    ARGV[5]  its incarnation    ARGV[6]  the beat the caller saw
--
-- Result   'dead'    the peer is dead from now on: every script of its incarnation is refused
--          'gone'    there is no such incarnation any more
--          'moved'   its heart has beaten; nothing was done
--
-- Atomic, because a beat between the look and the verdict must void the verdict.

local record = redis.call('HGET', KEYS[2], ARGV[4])
if not record then
  return 'gone'
end
local found = record
record = cjson.decode(found)
if record.incarnation ~= ARGV[5] then
  return 'gone'
end
if record.beat ~= ARGV[6] then
  return 'moved'
end
redis.call('HDEL', KEYS[1], 'm:' .. ARGV[4])
redis.call('HDEL', KEYS[2], ARGV[4])
redis.call('HSET', KEYS[3], ARGV[4], found)
return 'dead'
