-- How large a slice may be: max-min fair between the daemons whose demand was heard of lately.
--
-- A daemon's demand stands in <root>:demand:<place> as {units per second, heard until, turn, short until}.
-- What there is to share over one horizon is the level and what the horizon brings. Where it does not cover
-- all demands, a daemon has its turn again only when its last slice has lasted for the time that its share
-- takes to bring it, so that whoever asks first or more often gets no more. Before its turn, and while there
-- is too little, it is refused.
--
-- This decides who gets units, never how many there are: that is `leases`'.

-- For how long a demand counts.
local HEARD_FOR = 1000000
-- Who is to ask again so soon need not be told.
local SOON = 50000
-- What a daemon's share over one horizon must come to; below it every call is decided in the store.
local WORTH = 8

-- Units that the limit's rate brings in a time.
local function brought(b, time)
  if b.spec[1] == 3 then
    return (muldiv(b.spec[2], time, math.max(b.til - b.from, 1)))
  end
  return (muldiv(b.spec[2], time, b.spec[3]))
end

local function per(demand, time)
  return (muldiv(demand, time, 1000000))
end

-- What one taker gets of `capacity` when it wants all of it, and no other gets less than it wants unless it
-- gets as much as anybody.
local function part(capacity, others)
  local takers = #others + 1
  for _, want in ipairs(others) do
    local equal = divide(capacity, takers)
    if want >= equal then
      return equal
    end
    capacity, takers = capacity - want, takers - 1
  end
  return capacity
end

-- The demands of the other daemons over one horizon, in order, and their sum. Forgets old ones.
local function others_over(entry, horizon)
  local list, sum = {}, 0
  local key = leases.demand_key(entry)
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if all[i] ~= me then
      local d = cmsgpack.unpack(all[i + 1])
      if d[2] <= now then
        redis.call('HDEL', key, all[i])
      else
        list[#list + 1] = per(d[1], horizon)
        sum = sum + list[#list]
      end
    end
  end
  table.sort(list)
  return list, sum
end

local function turn_of(entry)
  local record = redis.call('HGET', leases.demand_key(entry), me)
  return record and cmsgpack.unpack(record)[3] or 0
end

local function hear(entry, demand, turn, short)
  local til = math.max(now, turn, short) + HEARD_FOR
  redis.call('HSET', leases.demand_key(entry), me, cmsgpack.pack({demand, til, turn, short}))
  entry.lease.heard, entry.dirty = math.max(entry.lease.heard, til), true
end

-- Lets those for whom there was too little ask again, because something has come back.
function shares.end_refusals(entry)
  local key = leases.demand_key(entry)
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local d = cmsgpack.unpack(all[i + 1])
    if d[4] > now + SOON then
      d[4] = 0
      redis.call('HSET', key, all[i], cmsgpack.pack(d))
      tell(all[i], {'refill', env.namespace, entry.limit.name, entry.key})
    end
  end
end

-- Decides on an ask: {wanted, need, demand, horizon}. Returns the units to grant, when to ask again (NONE:
-- at will), the share over one horizon, and whether the share is worth a slice.
function shares.decide(entry, ask, leased)
  local b = entry.b
  local others, sum = others_over(entry, ask.horizon)
  local coming, level = brought(b, ask.horizon), math.max(bucket.free(b), 0)
  local capacity = bucket.capacity(b.spec)
  if env.withheld then
    coming, capacity = withheld.rest_of(coming), capacity - withheld.of(b)
  end
  local steady = part(coming, others)
  if not leased and steady < WORTH then
    hear(entry, ask.demand, 0, 0)
    return 0, NONE, steady, false
  end
  local pot = math.min(level + coming, WHOLE)
  local share = math.max(part(pot, others), 1)
  local demand = math.max(per(ask.demand, ask.horizon), ask.need)
  local scarce = demand + sum > pot
  local wanted = math.min(ask.wanted, demand, scarce and share or WHOLE, capacity)
  local turn = scarce and turn_of(entry) or 0
  if ask.need > wanted then
    hear(entry, ask.demand, turn, 0)
    return 0, NONE, share, true
  elseif turn > now then
    hear(entry, ask.demand, turn, 0)
    return 0, turn, share, true
  end
  local units = math.min(wanted, level)
  if units < ask.need or 2 * units < wanted then
    -- Less than a rate refills below its open slices is not to be waited for.
    local size = math.max(math.min(wanted, capacity - leases.open(entry)), ask.need)
    local short = math.max(bucket.ready_at(b, size, now), now + 1)
    hear(entry, ask.demand, 0, short)
    return 0, short, share, true
  end
  turn = scarce and now + math.max((muldiv(units, ask.horizon, share)), 1) or 0
  hear(entry, ask.demand, turn, 0)
  return units, scarce and turn or NONE, share, true
end
