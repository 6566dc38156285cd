-- The order between fair keys: start-time fair queueing (Goyal, Vin, Cheng 1996), in whole numbers.
--
-- <root>:fair:<place>     hash: fair key -> {waiting calls, finish tag of the last of them, of the last grant}
-- <root>:served:<place>   zset: fair keys without waiting calls by the finish tag of their last grant
--
-- A call starts where its fair key's last one finishes, but not before the line's virtual time, which is the
-- start of the last call granted; it finishes `cost` later. Who starts first is served first. Mirrors
-- `core/src/limits/machine/queue.rs`.

-- Virtual time that a whole capacity costs a fair key of weight 1.
local FULL_COST = 4294967296
local MAX_FINISH_TAGS = 65536

local function fair_key(entry)
  return root .. ':fair:' .. entry.place
end

local function served_key(entry)
  return root .. ':served:' .. entry.place
end

local function read(entry, key)
  local record = redis.call('HGET', fair_key(entry), key)
  local f = record and cmsgpack.unpack(record) or {0, 0, 0}
  return {waiting = f[1], finish = f[2], granted = f[3]}
end

local function keep(entry, key, f)
  local l = line.of(entry)
  if f.waiting > 0 then
    redis.call('ZREM', served_key(entry), key)
  elseif f.granted > l.virtual then
    redis.call('ZADD', served_key(entry), whole(f.granted), key)
    if redis.call('ZCARD', served_key(entry)) > MAX_FINISH_TAGS then
      redis.call('HDEL', fair_key(entry), redis.call('ZPOPMIN', served_key(entry))[1])
    end
  else
    redis.call('ZREM', served_key(entry), key)
    redis.call('HDEL', fair_key(entry), key)
    return
  end
  redis.call('HSET', fair_key(entry), key, cmsgpack.pack({f.waiting, f.finish, f.granted}))
end

function fair.start(entry, w, want)
  local l, f = line.of(entry), read(entry, w.fair)
  local share, rest = muldiv(want.amount, FULL_COST, bucket.capacity(entry.b.spec))
  want.cost = math.max(1, (divide(rest > 0 and share + 1 or share, w.weight)))
  want.start = math.max(l.virtual, f.waiting > 0 and f.finish or f.granted)
  f.waiting, f.finish = f.waiting + 1, math.min(want.start + want.cost, WHOLE)
  keep(entry, w.fair, f)
end

-- What a call got nothing for is not counted against its fair key, as far as none of its calls is behind.
function fair.leave(entry, w, want, granted)
  local l, f = line.of(entry), read(entry, w.fair)
  local finish = math.min(want.start + want.cost, WHOLE)
  f.waiting = f.waiting - 1
  if granted then
    f.granted = math.max(f.granted, finish)
    l.virtual = math.max(l.virtual, want.start)
    for _, key in ipairs(redis.call('ZRANGEBYSCORE', served_key(entry), '-inf', whole(l.virtual))) do
      redis.call('ZREM', served_key(entry), key)
      redis.call('HDEL', fair_key(entry), key)
    end
  elseif f.finish == finish then
    f.finish = want.start
  end
  keep(entry, w.fair, f)
end

function fair.forget(entry)
  redis.call('DEL', fair_key(entry), served_key(entry))
end

