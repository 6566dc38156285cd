-- Where the charges of a call go: their limits, their buckets, and what they would meet there. A charge is
-- {limit, key, amount, spec or false, require_spec}; what it wants is {limit, key, amount, replaced, entry, found, spec},
-- by names: whether it replaces the spec, the bucket and the limit once there are such, the spec that will be in force.
-- Mirrors `core/src/limits/machine/acquire.rs`.
-- Loops count instead of asking `ipairs`, which costs a call for each charge; for the same reason `take_all` and `grant`
-- reach past `store.entry_of` and `bucket` into what is at hand.

local function locate(charge, index)
  local limit = store.limit(charge[1])
  if not limit and not charge[4] then
    fail('LIMIT_NOT_FOUND', index)
  end
  local spec, replaced = limit and store.spec_for(limit, charge[2]) or charge[4], false
  if limit and charge[4] and not same(charge[4], spec) then
    if limit.source == INLINE then
      spec, replaced = charge[4], true
    elseif charge[5] then
      fail('SPEC_MISMATCH', index)
    end
  end
  return {
    limit = charge[1], key = charge[2], amount = charge[3], replaced = replaced, entry = false, found = limit,
    spec = spec,
  }
end

-- What every charge wants: its limit, as far as there is one, and the spec that will be in force for it. Tells also
-- whether some charge is above what its bucket can ever hold, and whether some bucket holds slots. Changes nothing.
function charges.locate_all(list)
  if #list > 1 then
    store.read_limits(list)
  end
  local wants, never, slotted = {}, false, false
  for i = 1, #list do
    local want = locate(list[i], i - 1)
    local kind = want.spec[1]
    never = never or want.amount > KINDS[kind].capacity(want.spec)
    slotted = slotted or kind == 4
    wants[i] = want
  end
  return wants, never, slotted
end

-- What the charges would meet now, without changing anything: how long until they could be admitted (nil:
-- now), and each charge.
function charges.preview(list, wants, priority)
  local longest, states = nil, {}
  for i = 1, #list do
    local want = wants[i]
    local spec, replaced, wait, b = want.spec, want.replaced, nil, nil
    local entry = want.found and store.entry(want.found, want.key)
    if entry and entry.b then
      local differs = not same(entry.b.spec, spec)
      replaced = replaced or (list[i][4] and differs)
      b = differs and store.under(entry, spec, KEEP_AMOUNT, now) or entry.b
      wait = charges.wait_at(b, entry, want.amount, priority)
    else
      b = entry and env.lost and losses.unknown(entry, spec) or bucket.full(spec, now)
      wait = entry and (env.lost or env.withheld) and charges.wait_at(b, entry, want.amount, priority)
    end
    if wait then
      longest = math.max(longest or 0, wait)
    end
    local source = want.found and want.found.source or INLINE
    states[i] = state_of(bucket.free(b), wait, spec, source, replaced and source == INLINE)
  end
  return longest, states
end

-- The answer of a call that is never admitted: it changes nothing, not even a spec.
function charges.never(list, wants, priority)
  local _, states = charges.preview(list, wants, priority)
  for _, state in ipairs(states) do
    state[5] = false
  end
  return {NEVER, false, states}
end

-- Ends the waiting calls that can never be admitted to an entry that `changed` picks.
function charges.end_hopeless(changed)
  local hopeless = line.waiting(function(want)
    local entry = store.entry_of(want)
    return changed(entry) and want.amount > bucket.capacity(entry.b.spec)
  end)
  for _, w in ipairs(hopeless) do
    if not w.gone then
      line.serve(line.leave(w))
      local _, states = charges.refusal(w.wants, w.priority)
      line.finish(w, NEVER, false, states)
    end
  end
end

-- Brings a bucket of an inline limit under the spec in force. Tells whether it had another.
local function follow_spec(entry)
  local spec = store.spec_for(entry.limit, entry.key)
  if same(entry.b.spec, spec) then
    return false
  end
  store.respec(entry, spec, KEEP_AMOUNT, now)
  if entry.waited == 1 then
    charges.end_hopeless(function(other) return other == entry end)
    line.serve({entry})
  end
  return true
end

-- Brings the buckets of inline limits under the specs in force. Tells whether some charge can never be admitted then.
local function follow_specs(list, wants)
  local hopeless = false
  for i = 1, #wants do
    local want = wants[i]
    if want.entry.limit.source == INLINE and follow_spec(want.entry) and list[i][4] then
      want.replaced = true
    end
  end
  for i = 1, #wants do
    hopeless = hopeless or wants[i].amount > bucket.capacity(wants[i].entry.b.spec)
  end
  return hopeless
end

-- Finds the buckets that there are. Returns how many charges have none, and how many of these not even a limit.
local function find(wants)
  local missing, unlimited = 0, 0
  for i = 1, #wants do
    local want = wants[i]
    if not want.found then
      missing, unlimited = missing + 1, unlimited + 1
    else
      if want.replaced then
        leases.require_none(want.found, false)
      end
      want.entry = store.entry(want.found, want.key)
      missing = want.entry.b and missing or missing + 1
    end
  end
  return missing, unlimited
end

-- Finds the bucket of every charge, making what is missing. Fails before it changes anything. Tells also whether some
-- charge can never be admitted although none seemed so: when one brings a spec that another goes by.
function charges.place_all(list, wants)
  local missing, unlimited = find(wants)
  if missing > 0 then
    store.check_room(missing)
    -- Making room may have dropped idle buckets of this very call.
    wants = charges.locate_all(list)
    missing, unlimited = find(wants)
  end
  if unlimited > 0 then
    for i = 1, #list do
      local charge, want = list[i], wants[i]
      -- Two charges of one call may share a limit that the first of them makes.
      want.found = want.found or store.limit(charge[1]) or store.make_limit(charge[1], charge[4], INLINE)
    end
  end
  local inline = false
  for i = 1, #list do
    local want = wants[i]
    local limit = want.found
    if limit.source == INLINE then
      inline = true
      if want.replaced then
        limit.spec, limit.dirty = list[i][4], true
      end
    end
    if not want.entry then
      want.entry = store.entry(limit, want.key)
    end
    if not want.entry.b then
      store.make(want.entry)
    end
  end
  return wants, inline and follow_specs(list, wants)
end

-- Wakes those who wait for what a call wants, as far as time has served them.
function charges.wake(wants)
  local waited
  for i = 1, #wants do
    local entry = wants[i].entry
    if entry.waited == 1 then
      waited = waited or {}
      waited[#waited + 1] = entry
    end
  end
  if waited then
    line.wake(waited)
  end
end

-- Whether a call that does not wait can be admitted now.
function charges.all_open(wants, priority)
  charges.wake(wants)
  for i = 1, #wants do
    local want = wants[i]
    local entry = want.entry
    if now < entry.paused or bucket.free(entry.b) < want.amount
      or (entry.waited == 1 and queue.stops(entry, priority)) then
      return false
    end
  end
  return true
end

-- Charging.

-- Takes every charge. Returns what each met, and what is needed to give it back to a hold.
function charges.take_all(wants, hold, til)
  local states, taken = {}, {}
  for i = 1, #wants do
    local want = wants[i]
    local entry = want.entry or store.entry_of(want)
    local b = entry.b
    KINDS[b.spec[1]].take(b, want.amount, now, hold, til)
    entry.dirty = true
    states[i] = state_of(bucket.free(b), nil, b.spec, entry.limit.source, want.replaced)
    if hold ~= '' then
      taken[i] = {
        limit = entry.limit.name, life = entry.limit.life, key = entry.key, amount = want.amount,
        slots = bucket.holds_slots(b), at = now, hold = hold,
      }
    end
  end
  return states, taken
end

-- Takes every charge, with a reservation where one is asked for or slots are held. Returns its id and time,
-- or false, and what each charge met.
function charges.grant(wants, ttl, id)
  for i = 1, #wants do
    if ttl ~= NONE then
      break
    end
    if (wants[i].entry or store.entry_of(wants[i])).b.spec[1] == 4 then
      ttl = env.default_ttl
    end
  end
  if ttl == NONE then
    return false, (charges.take_all(wants, ''))
  end
  local states, taken = charges.take_all(wants, id, now + ttl)
  reservations.open(id, now + ttl, taken)
  return {id, ttl}, states
end

-- Why a call of that priority cannot be admitted now: how long until it can, and what each charge met.

local function head_ready(entry)
  local head = queue.head(entry)
  local ready = now
  for _, want in ipairs(head and head.wants or {}) do
    local other = store.entry_of(want)
    ready = math.max(ready, bucket.ready_at(other.b, want.amount, now), other.paused)
  end
  return ready
end

-- How long until a charge fits, after those who claim the bucket before it; nil when it does now, or never.
-- `b` is the entry's own bucket or a copy under another spec.
function charges.wait_at(b, entry, amount, priority)
  if amount > bucket.capacity(b.spec) then
    return nil
  end
  local claimed = entry.waited == 1 and line.claimed_before(entry, priority) or 0
  local ready = math.max(bucket.ready_at(b, amount + claimed, now, claimed), entry.paused)
  if claimed > 0 then
    ready = math.max(ready, head_ready(entry), now + 1)
  end
  return ready > now and ready - now or nil
end

function charges.refusal(wants, priority)
  local longest, states = 1, {}
  for i = 1, #wants do
    local want = wants[i]
    local entry = store.entry_of(want)
    local wait = charges.wait_at(entry.b, entry, want.amount, priority)
    longest = math.max(longest, wait or 0)
    states[i] =
      state_of(bucket.free(entry.b), wait, entry.b.spec, entry.limit.source, want.replaced)
  end
  return longest, states
end

