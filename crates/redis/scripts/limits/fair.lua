-- Turns: how far each account (fair key, or the calls of a daemon that name none) has been served of one
-- bucket, in one class. Start-time fair queueing (Goyal, Vin, Cheng 1996) with tags that move with grants
-- only. Mirrors `core/src/limits/machine/shares.rs`, where the rules are told.
--
-- <root>:fair:<place>:<class>  hash: account -> {tag, waiting calls, weight}
-- <root>:gone:<place>:<class>  zset: accounts without a waiting call by their tag
--
-- The line's record holds, per class, the virtual time, the sum of the weights of the accounts that wait, and
-- how many these are.

local MAX_GONE = 65536
local CAPACITY_COST = 4294967296
local MIN_CAPACITY = 4096

local function fair_key(entry, priority)
  return root .. ':fair:' .. entry.place .. ':' .. priority
end

local function gone_key(entry, priority)
  return root .. ':gone:' .. entry.place .. ':' .. priority
end

-- What an amount costs at weight 1.
function fair.cost(entry, amount)
  local capacity = math.max(bucket.capacity(entry.b.spec), MIN_CAPACITY)
  local cost, rest = muldiv(amount, CAPACITY_COST, capacity)
  return math.min(rest > 0 and cost + 1 or cost, WHOLE)
end

-- What a cost adds to the tag of an account of that weight.
function fair.step(cost, weight)
  return math.max(1, (divide(cost, weight)))
end

local function read(entry, priority, account)
  local record = redis.call('HGET', fair_key(entry, priority), account)
  local r = record and cmsgpack.unpack(record) or {0, 0, 0}
  return {tag = r[1], calls = r[2], weight = r[3]}
end

local function write(entry, priority, account, share)
  redis.call('HSET', fair_key(entry, priority), account,
    cmsgpack.pack({share.tag, share.calls, share.weight}))
end

function fair.tag(entry, priority, account)
  return read(entry, priority, account).tag
end

function fair.time(entry, priority)
  local l = line.of(entry)
  return l and l.classes[priority + 1].time or 0
end

-- Notes that a call begins to wait. Returns the virtual time.
function fair.enter(entry, w)
  local class, share = line.of(entry).classes[w.priority + 1], read(entry, w.priority, w.fair)
  if share.calls == 0 then
    redis.call('ZREM', gone_key(entry, w.priority), w.fair)
    class.accounts = class.accounts + 1
  else
    class.weight = class.weight - share.weight
  end
  class.weight = class.weight + w.weight
  share.calls, share.weight = share.calls + 1, w.weight
  write(entry, w.priority, w.fair, share)
  return class.time
end

-- Keeps the tag of an account without a waiting call, if it tells more than the virtual time.
local function keep(entry, priority, account, tag)
  local fairs, gone = fair_key(entry, priority), gone_key(entry, priority)
  if tag <= fair.time(entry, priority) then
    redis.call('HDEL', fairs, account)
    redis.call('ZREM', gone, account)
    return
  end
  write(entry, priority, account, {tag = tag, calls = 0, weight = 0})
  redis.call('ZADD', gone, whole(tag), account)
  if redis.call('ZCARD', gone) > MAX_GONE then
    redis.call('HDEL', fairs, redis.call('ZPOPMIN', gone)[1])
  end
end

-- Notes that a call waits no longer.
function fair.leave(entry, w)
  local class, share = line.of(entry).classes[w.priority + 1], read(entry, w.priority, w.fair)
  share.calls = share.calls - 1
  if share.calls > 0 then
    write(entry, w.priority, w.fair, share)
    return
  end
  class.weight, class.accounts = class.weight - share.weight, class.accounts - 1
  if class.accounts == 0 then
    class.time, class.weight = 0, 0
    redis.call('DEL', fair_key(entry, w.priority), gone_key(entry, w.priority))
  else
    keep(entry, w.priority, w.fair, share.tag)
  end
end

-- Counts a grant, if anyone of its class waits: of a call that came at the virtual time `since`.
function fair.serve(entry, priority, account, weight, since, cost)
  local class = line.of(entry).classes[priority + 1]
  if class.accounts == 0 then
    return
  end
  local share = read(entry, priority, account)
  local start = math.max(share.tag, since)
  local tag, sum = math.min(start + fair.step(cost, weight), WHOLE), class.weight
  if share.calls > 0 then
    share.tag = tag
    write(entry, priority, account, share)
  else
    sum = sum + weight
    keep(entry, priority, account, tag)
  end
  local passed, rest = divide(cost, sum)
  passed = math.max(rest > 0 and passed + 1 or passed, 1)
  class.time = math.max(math.min(class.time + passed, WHOLE), start)
  local gone = gone_key(entry, priority)
  for _, past in ipairs(redis.call('ZRANGEBYSCORE', gone, '-inf', whole(class.time))) do
    redis.call('ZREM', gone, past)
    redis.call('HDEL', fair_key(entry, priority), past)
  end
end

