-- Reservations: charges that can be settled, extended, and end by themselves.
--
-- <root>:reservations  hash: id -> {settled, until, forget, taken, usage, answer}
-- <root>:forgets       zset: id by when it is forgotten
--
-- A reservation is open until it is settled or its time is over. Its slots are freed then (each slot
-- bucket sees to that when it is looked at); its other charges stay as reserved. It is remembered for
-- `settle_window` longer, so that a repeated settle gets its answer and late debt still counts.
-- `taken` lists {limit, life, key, amount, slots, at, hold}. Mirrors `core/src/limits/machine/reservations.rs`.

-- Charges of one bucket that a reservation remembers apart: more than a window has sub-windows.
local MAX_TAKEN_OF_A_BUCKET = 64
local MAX_TAKEN = 33 * MAX_TAKEN_OF_A_BUCKET

local function reservations_key()
  return root .. ':reservations'
end

local function forgets_key()
  return root .. ':forgets'
end

local function unpack_taken(list)
  local taken = {}
  for i, t in ipairs(list) do
    taken[i] = {
      limit = t[1], life = t[2], key = t[3], amount = t[4], slots = t[5], at = t[6], hold = t[7],
    }
  end
  return taken
end

local function write(id, r)
  local taken = {}
  for i, t in ipairs(r.taken) do
    taken[i] = {t.limit, t.life, t.key, t.amount, t.slots, t.at, t.hold}
  end
  redis.call('HSET', reservations_key(), id, cmsgpack.pack({
    r.settled, r.til, r.forget, taken, r.usage, r.answer,
  }))
  redis.call('ZADD', forgets_key(), whole(r.forget), id)
end

local function read(id)
  local record = redis.call('HGET', reservations_key(), id)
  if not record then
    return nil
  end
  local r = cmsgpack.unpack(record)
  if r[3] <= now then
    return nil
  end
  return {
    settled = r[1], til = r[2], forget = r[3], taken = unpack_taken(r[4]), usage = r[5], answer = r[6],
    open = not r[1] and now < r[2],
  }
end

local function remove(id)
  redis.call('HDEL', reservations_key(), id)
  redis.call('ZREM', forgets_key(), id)
end

-- Forgets reservations whose time is over, a few at a time. Returns how many.
function reservations.forget_old(most)
  local old = redis.call('ZRANGEBYSCORE', forgets_key(), '-inf', whole(now), 'LIMIT', 0, most)
  for _, id in ipairs(old) do
    local r = cmsgpack.unpack(redis.call('HGET', reservations_key(), id))
    remove(id)
    if not r[1] then
      store.pin(unpack_taken(r[4]), -1)
    end
  end
  return #old
end

-- When an open reservation ends; NONE when it is not open.
function reservations.open_until(id)
  local r = read(id)
  return r and r.open and r.til or NONE
end

-- Refuses another reservation above the bound. Each waiting call may come to make one.
function reservations.check_bound()
  local function count()
    return redis.call('HLEN', reservations_key()) + redis.call('HLEN', root .. ':waiters')
  end
  if count() >= env.max_reservations then
    reservations.forget_old(64)
    if count() >= env.max_reservations then
      fail('TOO_MANY_RESERVATIONS', NONE, redis.call('HLEN', reservations_key()))
    end
  end
end

-- Makes a reservation of what was taken.
function reservations.open(id, til, taken)
  write(id, {
    settled = false, til = til, forget = til + env.settle_window, taken = taken, usage = false,
    answer = false,
  })
  store.pin(taken, 1)
end

function reservations.has_room()
  return redis.call('HLEN', reservations_key()) < env.max_reservations
end

-- Takes in a reservation that its daemon remembers, unless the store does, and the slots that it holds.
function reservations.reassert(id, til, taken)
  local r = read(id)
  if r and not r.open then
    return
  elseif r then
    r.til, r.forget, taken = til, til + env.settle_window, r.taken
    write(id, r)
  else
    reservations.open(id, til, taken)
  end
  for _, t in ipairs(taken) do
    local limit = t.slots and store.limit_of(t)
    local entry = limit and store.entry(limit, t.key)
    if entry and entry.b and bucket.holds_slots(entry.b) then
      if not r then
        slots.take(entry.b, t.amount, now, t.hold, til)
        entry.dirty = true
      end
      slots.renew(entry.b, t.hold, til)
    end
  end
end

-- Settling.

function reservations.known(id)
  return read(id) or fail('RESERVATION_NOT_FOUND')
end

-- What each bucket was charged and what was really used, in order of first charge. Slots are used as
-- reserved, whatever the caller says.
local function shares_of(taken, usage)
  local shares, by_bucket = {}, {}
  local function name(limit, key)
    return #limit .. ':' .. limit .. key
  end
  for _, t in ipairs(taken) do
    local share = by_bucket[name(t.limit, t.key)]
    if not share then
      share = {taken = {}, reserved = 0}
      by_bucket[name(t.limit, t.key)] = share
      shares[#shares + 1] = share
    end
    share.taken[#share.taken + 1] = t
    share.reserved = share.reserved + t.amount
  end
  for _, share in ipairs(shares) do
    share.actual = usage == true and not share.taken[1].slots and 0 or share.reserved
  end
  local named = {}
  for i, actual in ipairs(usage == true and {} or usage) do
    local bucket_name = name(actual[1], actual[2])
    if named[bucket_name] then
      fail('INVALID_FIELD', i - 1, 1)
    end
    named[bucket_name] = true
    local share = by_bucket[bucket_name]
    if not share then
      fail('INVALID_FIELD', i - 1, 2)
    end
    if not share.taken[1].slots then
      share.actual = actual[3]
    end
  end
  return shares
end

-- The entry of a settled charge; a dropped bucket was full, so only debt makes it anew.
local function entry_to_settle(taken, owes)
  local limit = store.limit_of(taken)
  local entry = limit and store.entry(limit, taken.key)
  if entry and owes then
    store.make(entry)
  end
  return entry and entry.b and entry or nil
end

local function remaining_of(taken)
  local limit = store.limit_of(taken)
  if not limit then
    return 0
  end
  local entry, spec = store.entry(limit, taken.key), store.spec_for(limit, taken.key)
  if not entry.b then
    return bucket.capacity(spec)
  end
  return bucket.free(same(entry.b.spec, spec) and entry.b
    or store.under(entry, spec, KEEP_AMOUNT, now))
end

local function settle_share(share, open, freed)
  local last = share.taken[#share.taken]
  local owed, refunded = share.actual - share.reserved, 0
  local entry = entry_to_settle(last, owed > 0)
  if entry then
    entry.dirty = true
    if bucket.holds_slots(entry.b) then
      for _, t in ipairs(share.taken) do
        refunded = refunded + (t.life == last.life and slots.release(entry.b, t.hold) or 0)
      end
    elseif owed > 0 then
      bucket.take(entry.b, owed, now)
    elseif open then
      for i = #share.taken, 1, -1 do
        local t = share.taken[i]
        if t.life == last.life then
          refunded = refunded + store.give_back(entry, math.min(t.amount, -owed - refunded), t)
        end
      end
    end
    freed[#freed + 1] = entry
  end
  return {last.limit, last.key, share.reserved, share.actual, refunded, remaining_of(last)}
end

-- Ends a reservation. Returns how each of its buckets ended.
function reservations.settle(id, usage)
  local r = reservations.known(id)
  local shares = shares_of(r.taken, usage)
  local actual, owes, refunds = {}, false, false
  for i, share in ipairs(shares) do
    actual[i] = share.actual
    owes = owes or share.actual > share.reserved
    refunds = refunds or share.actual < share.reserved
  end
  if r.settled then
    if not same(r.usage, actual) then
      fail('RESERVATION_SETTLED', NONE, 1)
    end
    return r.answer
  end
  if not r.open and not owes and refunds then
    fail('RESERVATION_EXPIRED')
  end
  -- Looked up first: whatever can fail has failed before anything changes.
  for _, share in ipairs(shares) do
    remaining_of(share.taken[#share.taken])
  end
  local freed, charges = {}, {}
  for i, share in ipairs(shares) do
    charges[i] = settle_share(share, r.open, freed)
  end
  if r.open then
    r.forget = now + env.settle_window
  end
  r.settled, r.usage, r.answer = true, actual, charges
  write(id, r)
  store.pin(r.taken, -1)
  line.serve(freed)
  return charges
end

-- Extending.

local function same_bucket(one, other)
  return one.life == other.life and one.slots == other.slots and one.key == other.key
    and one.limit == other.limit
end

-- Adds further charges. Charges that come back together are counted as one, and so are the two oldest of
-- too many.
local function add_charges(r, more)
  for _, new in ipairs(more) do
    local same = {}
    for i, t in ipairs(r.taken) do
      if same_bucket(t, new) then
        same[#same + 1] = i
      end
    end
    local limit = store.limit_of(new)
    local entry = limit and store.entry(limit, new.key)
    local last = r.taken[same[#same]]
    if last and entry and entry.b and entry.filled <= last.at
      and bucket.counts_with_newest(entry.b, last.at) then
      last.amount = last.amount + new.amount
    else
      if #same >= MAX_TAKEN_OF_A_BUCKET then
        local merged = table.remove(r.taken, same[2])
        r.taken[same[1]].amount = r.taken[same[1]].amount + merged.amount
      else
        store.pin({new}, 1)
      end
      r.taken[#r.taken + 1] = new
    end
  end
end

-- Renews an open reservation and takes further charges into it.
function reservations.extend(id, r, ttl, wants)
  local til = math.max(r.til, now + ttl)
  for _, t in ipairs(r.taken) do
    local limit = t.slots and store.limit_of(t)
    local entry = limit and store.entry(limit, t.key)
    if entry and entry.b and bucket.holds_slots(entry.b) then
      slots.renew(entry.b, t.hold, til)
    end
  end
  local states, taken = charges.take_all(wants, id, til)
  r.til, r.forget = til, til + env.settle_window
  add_charges(r, taken)
  write(id, r)
  return {id, til - now}, states
end

function reservations.check_extension(id, charges)
  local r = reservations.known(id)
  if r.settled then
    fail('RESERVATION_SETTLED')
  elseif not r.open then
    fail('RESERVATION_EXPIRED')
  elseif #r.taken + #charges > MAX_TAKEN then
    fail('INVALID_FIELD', NONE, MAX_TAKEN)
  end
  return r
end

-- Forgets a reservation at once. Returns what is to be given back: nothing of a settled one.
function reservations.revoke(id)
  local r = read(id)
  if not r then
    return {}
  end
  remove(id)
  if r.settled then
    return {}
  end
  store.pin(r.taken, -1)
  return r.taken
end

