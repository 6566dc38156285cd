-- One beat of a daemon's heart; answers with everybody's.
--
-- KEYS[1]  the guard    KEYS[2]  the members: a hash, daemon id -> its session record as JSON of strings
-- ARGV[1..3]  the guard's
--
-- Result   {store time in us, highest token minted, member, member, ...}, where a member is
--          {daemon, incarnation, generation, beat, version, protocol, address, store time of its beat}
--
-- Atomic, because the beat must count for the incarnation that the guard has checked.

local record = cjson.decode(redis.call('HGET', KEYS[2], ARGV[2]))
local now = store_time()
record.beat = whole(tonumber(record.beat) + 1)
record.at = whole(now)
redis.call('HSET', KEYS[2], ARGV[2], cjson.encode(record))

local result = {now, tonumber(redis.call('HGET', KEYS[1], 'minted'))}
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local m = cjson.decode(all[i + 1])
  result[#result + 1] = {
    all[i], m.incarnation, m.generation, m.beat, m.version, m.protocol, m.address, m.at,
  }
end
return result
