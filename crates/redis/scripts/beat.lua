-- One beat of a daemon's heart; answers with everybody's.
--
-- KEYS[1]  the guard    KEYS[2]  the members: a hash, daemon id -> its session record as JSON of strings
-- KEYS[3]  the dead: such records of members that were declared dead, for as long as their shares are withheld,
--          and of those that left, for as long as a lost one would count
-- ARGV[1..3]  the guard's
-- ARGV[4]  place: "index count" of the daemon among the members, '' when it knows none
-- ARGV[5]  '1' when the daemon spends its share of limits by itself, else '0'
-- ARGV[6]  for how long, in us, shares are withheld after the last beat    ARGV[7]  the same or longer: for how long
--          a member counts that the store has lost
--
-- Result   {store time in us, highest token minted, member, member, ...}, where a member is
--          {daemon, incarnation, generation, beat, version, protocol, address, store time of its beat, place,
--          apart, '1' when it is dead, 'left' when it has left, else '0'}
--
-- Atomic, because the beat must count for the incarnation that the guard has checked.

local record = cjson.decode(redis.call('HGET', KEYS[2], ARGV[2]))
local now = store_time()
record.beat = whole(tonumber(record.beat) + 1)
record.at = whole(now)
record.place, record.apart = ARGV[4], ARGV[5]
redis.call('HSET', KEYS[2], ARGV[2], cjson.encode(record))

local result = {now, tonumber(redis.call('HGET', KEYS[1], 'minted'))}
local function tell(daemon, m, dead)
  result[#result + 1] = {
    daemon, m.incarnation, m.generation, m.beat, m.version, m.protocol, m.address, m.at, m.place, m.apart, dead,
  }
end
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  tell(all[i], cjson.decode(all[i + 1]), '0')
end
local dead = redis.call('HGETALL', KEYS[3])
for i = 1, #dead, 2 do
  local m = cjson.decode(dead[i + 1])
  if now >= tonumber(m.at) + (m.left and ARGV[7] or ARGV[6]) then
    redis.call('HDEL', KEYS[3], dead[i])
  else
    tell(dead[i], m, m.left and 'left' or '1')
  end
end
return result
