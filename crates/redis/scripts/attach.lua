-- Attaches a connection: settles the generation, the daemon's incarnation and its stamp.
--
-- KEYS[1]  the guard                      KEYS[2]  the members    KEYS[3]  the dead; see `beat.lua`
-- ARGV[1]  run id of the server           ARGV[2]  its replication id, both read on this connection
-- ARGV[3]  daemon id                      ARGV[4]  boot: random, one per process
-- ARGV[5]  link: number of this connection within the process, rising
-- ARGV[6]  incarnation the daemon knows for itself, 0 for none
-- ARGV[7]  floor: the highest token the daemon has seen
-- ARGV[8]  version    ARGV[9]  protocol    ARGV[10]  advertise address
-- ARGV[11] '1' when the daemon spends its share of limits by itself, else '0'
--
-- Result   {generation, incarnation, 1 when this call began the generation else 0, store time in us, 1 when
--          data may have been lost before the generation else 0}
-- Refuses  STALE_LINK   a later connection of this process has attached already
--          SUPERSEDED   a younger process holds this daemon id
--
-- A new generation begins when none is recorded (first start, FLUSHALL), when the server or its history is
-- another one (restart, failover), or when the store has minted less than the caller has seen (an old dump).
-- Atomic, because two daemons that find a new history must agree on one generation, and because the stamp
-- must change in the same instant in which the older connection's commands begin to be refused.

local guard, members = KEYS[1], KEYS[2]
local run_id, repl_id, daemon, boot = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local link, known, floor = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

local record = redis.call('HGET', members, daemon)
record = record and cjson.decode(record)
local ours = record and record.boot == boot
if ours and tonumber(record.link) >= link then
  return redis.error_reply('STALE_LINK link ' .. record.link .. ' has attached')
end
if record and not ours and known > 0 and tonumber(record.incarnation) > known then
  return redis.error_reply('SUPERSEDED incarnation ' .. record.incarnation .. ' holds this daemon id')
end

local held = redis.call('HMGET', guard, 'generation', 'run_id', 'repl_id', 'minted')
local generation, began = held[1], 0
if not generation or held[2] ~= run_id or held[3] ~= repl_id or tonumber(held[4] or '0') < floor then
  generation, began = whole(mint(guard, floor)), 1
  redis.call('HSET', guard, 'generation', generation, 'run_id', run_id, 'repl_id', repl_id)
end
-- The very first one follows nothing: neither the store nor anybody who attaches has seen another.
if (began == 1 and held[1]) or (floor > 0 and floor < tonumber(generation)) then
  redis.call('HSET', guard, 'lost', generation)
end
local lost = redis.call('HGET', guard, 'lost') == generation and 1 or 0

local incarnation
if ours and tonumber(record.incarnation) >= known then
  incarnation = record.incarnation
else
  incarnation = whole(mint(guard, floor))
end

-- A process that was cut off spends the share that it last told of; one that has died spends nothing any more.
local last = record or redis.call('HGET', KEYS[3], daemon)
last = type(last) == 'string' and cjson.decode(last) or last
local place = last and last.boot == boot and last.place or ''
redis.call('HDEL', KEYS[3], daemon)

local now = store_time()
redis.call('HSET', guard, 'm:' .. daemon, incarnation .. '.' .. whole(link))
redis.call('HSET', members, daemon, cjson.encode({
  boot = boot,
  incarnation = incarnation,
  link = whole(link),
  generation = generation,
  beat = whole((record and tonumber(record.beat) or 0) + 1),
  version = ARGV[8],
  protocol = ARGV[9],
  address = ARGV[10],
  place = place,
  apart = ARGV[11],
  at = whole(now),
}))
return {tonumber(generation), tonumber(incarnation), began, now, lost}
