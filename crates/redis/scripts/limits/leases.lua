-- Slices: units handed out ahead to a daemon, which spends them without asking and gives back what is left.
--
-- <root>:slices:<place>  hash: slice -> {daemon, units, at, close_at}
-- <root>:demand:<place>  hash: daemon -> {units per second, ...}; see `shares`
-- <root>:leased:<life>   set: keys that have one of these
--
-- An entry's `lease` is false, or what every call must know: {open, close_at, open_til, recall, heard, told}:
-- units in open slices, when the first and the last of them are closed, until when no slice is granted,
-- until when some demand counts, and who waits for the last slice to be gone.
--
-- Rules, which together mean that nothing is ever admitted above a limit:
--   * a slice is debited when granted, and the level of a rate is refilled up to burst - open only; what a
--     window lends counts as used when the slice is closed, the latest that it can be used;
--   * its holder alone gives back, by the slice's name, once, and spends no more of it from then on;
--   * a slice whose holder is silent is closed as spent: never before its holder has stopped by itself
--     (the holder counts from when it asked, the store from when it granted, and waits a margin longer).

-- For how long no slice is granted after someone needed what is in slices.
local LULL = 1000000
-- What comes back by itself so soon is worth no recall: slices would take longer to come.
local AT_ONCE = 50000

local function slices_key(entry)
  return root .. ':slices:' .. entry.place
end

function leases.demand_key(entry)
  return root .. ':demand:' .. entry.place
end

local function leased_key(limit)
  return root .. ':leased:' .. limit.life
end

function leases.unpack(record)
  return record and {
    open = record[1], close_at = record[2], open_til = record[3], recall = record[4], heard = record[5],
    told = record[6],
  }
end

function leases.pack(lease)
  return lease and {
    lease.open, lease.close_at, lease.open_til, lease.recall, lease.heard, lease.told,
  }
end

function leases.open(entry)
  return entry.lease and entry.lease.open or 0
end

-- The slices of an entry by when they are closed.
local function slices_of(entry)
  if not entry.slices then
    entry.slices = {}
    local all = redis.call('HGETALL', slices_key(entry))
    for i = 1, #all, 2 do
      local s = cmsgpack.unpack(all[i + 1])
      entry.slices[#entry.slices + 1] =
        {id = all[i], daemon = s[1], units = s[2], at = s[3], close_at = s[4]}
    end
    table.sort(entry.slices, function(one, other) return one.close_at < other.close_at end)
  end
  return entry.slices
end

-- How many slices are open.
function leases.count(entry)
  return #slices_of(entry)
end

-- Makes the entry's record, and its bucket, tell what its slices are.
local function sum_up(entry)
  local lease, all = entry.lease, slices_of(entry)
  lease.open = 0
  for _, slice in ipairs(all) do
    lease.open = lease.open + slice.units
  end
  lease.close_at = #all > 0 and all[1].close_at or 0
  lease.open_til = #all > 0 and all[#all].close_at or 0
  entry.b.open, entry.b.open_til = lease.open, lease.open_til
  entry.dirty = true
  if lease.open == 0 then
    lease.recall = math.min(lease.recall, now + LULL)
    for _, daemon in ipairs(lease.told) do
      tell(daemon, {'returned', env.namespace, entry.limit.name, entry.key})
    end
    lease.told = {}
  end
end

local function put(entry, slice)
  redis.call('HSET', slices_key(entry), slice.id,
    cmsgpack.pack({slice.daemon, slice.units, slice.at, slice.close_at}))
end

local function drop(entry, index)
  local slice = table.remove(slices_of(entry), index)
  redis.call('HDEL', slices_key(entry), slice.id)
  sum_up(entry)
  return slice
end

-- Closes, as spent, the slices whose time is over. What a rate has refilled until then it has refilled below
-- them: their units do not become room for time that is past.
function leases.close_due(entry)
  while #slices_of(entry) > 0 and entry.slices[1].close_at <= now do
    if entry.b.spec[1] == 1 then
      bucket.advance(entry.b, entry.slices[1].close_at)
    end
    drop(entry, 1)
  end
end

-- Begins to keep an entry's leases.
function leases.begin(entry)
  if not entry.lease then
    entry.lease = {open = 0, close_at = 0, open_til = 0, recall = 0, heard = 0, told = {}}
    redis.call('SADD', leased_key(entry.limit), entry.key)
  end
end

-- Hands out units of an entry until `close_at`.
function leases.grant(entry, id, units, close_at)
  local slice = {id = id, daemon = me, units = units, at = now, close_at = close_at}
  bucket.lend(entry.b, units, now, close_at)
  local all, place = slices_of(entry), 1
  while all[place] and all[place].close_at <= close_at do
    place = place + 1
  end
  table.insert(all, place, slice)
  put(entry, slice)
  sum_up(entry)
end

-- Whether the caller may have no other slice of an entry: it has this one, or as many as it may have.
function leases.has_enough(entry, id, most)
  local count = 0
  for _, slice in ipairs(slices_of(entry)) do
    if slice.id == id then
      return true
    end
    count = count + (slice.daemon == me and 1 or 0)
  end
  return count >= most
end

-- What its holder says of a slice: `left` units of it (NONE: all) are unspent, and with `done` it spends no
-- more of them, so that they come back. A slice that is closed is none. Returns whether units came back.
function leases.report(entry, id, left, done)
  for index, slice in ipairs(entry.lease and slices_of(entry) or {}) do
    if slice.id == id and slice.daemon == me then
      left = left == NONE and slice.units or math.max(math.min(left, slice.units), 0)
      if done then
        drop(entry, index)
        return left > 0 and store.give_back(entry, left, {at = slice.at, hold = ''}) > 0
      elseif left < slice.units then
        slice.units = left
        put(entry, slice)
        sum_up(entry)
      end
      return false
    end
  end
  return false
end

-- Asks the holders for their slices, and grants none for a while. Written at once, because a call may end
-- with nothing else changed.
function leases.recall(entry)
  local lease, told = entry.lease, {}
  local news = lease.recall <= now
  lease.recall = math.max(lease.open_til, now) + LULL
  for _, slice in ipairs(news and slices_of(entry) or {}) do
    if not told[slice.daemon] then
      told[slice.daemon] = true
      tell(slice.daemon, {'recall', env.namespace, entry.limit.name, entry.key})
    end
  end
  store.write_entry(entry)
end

-- Whether a call is short of what slices hold, and of nothing that comes by itself at once.
local function could_use(entry, amount)
  local available = bucket.free(entry.b)
  return available < amount and amount <= available + entry.lease.open
    and bucket.ready_at(entry.b, amount, now) > now + AT_ONCE
end

-- A call is short here: recalls what slices hold when only that could serve it, or when it stands in line.
function leases.needed(wants, stands_in_line)
  for _, want in ipairs(wants) do
    local entry = want.entry
    if entry.lease and (stands_in_line or could_use(entry, want.amount)) then
      leases.recall(entry)
    end
  end
end

-- Nobody stands in line here any more.
function leases.line_ended(entry)
  entry.lease.recall = math.max(entry.lease.recall, now + LULL)
end

-- Ends the call, which is to come again, unless no slice is open: of one key, or of all (`key` false).
function leases.require_none(limit, key)
  local til = 0
  for _, one in ipairs(key and {key} or redis.call('SMEMBERS', leased_key(limit))) do
    local entry = store.entry(limit, one)
    if leases.open(entry) > 0 then
      local lease = entry.lease
      til = math.max(til, lease.open_til)
      local waits = false
      for _, daemon in ipairs(lease.told) do
        waits = waits or daemon == me
      end
      if not waits then
        lease.told[#lease.told + 1] = me
      end
      leases.recall(entry)
    end
  end
  if til > 0 then
    error({recalling = til})
  end
end

-- Something has come back to an entry: whoever was refused may ask again.
function leases.freed(entry)
  if entry.lease.heard > now then
    shares.end_refusals(entry)
  end
end

-- Forgets what nobody needs any more.
function leases.tidy(entry)
  local lease = entry.lease
  if lease.open_til == 0 and lease.recall <= now and lease.heard <= now then
    leases.forget(entry)
    entry.dirty = true
  end
end

function leases.forget(entry)
  entry.lease, entry.slices = false, nil
  redis.call('SREM', leased_key(entry.limit), entry.key)
  redis.call('UNLINK', slices_key(entry), leases.demand_key(entry))
end

-- Forgets those of a whole limit.
function leases.forget_limit(limit)
  local life = limit.life
  local keys = redis.call('SMEMBERS', leased_key(limit))
  for _, key in ipairs(keys) do
    redis.call('UNLINK', root .. ':slices:' .. life .. '|' .. key, root .. ':demand:' .. life .. '|' .. key)
  end
  if #keys > 0 then
    redis.call('UNLINK', leased_key(limit))
  end
end
