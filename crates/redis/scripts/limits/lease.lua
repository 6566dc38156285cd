-- Hands a slice to the caller: units that it may spend without asking until its request is `ttl` old.
--
-- args     {limit, key, wanted, need, demand, slice, ttl, margin, horizon, reports}
--            wanted, need: units, and the least that is of use    demand: units per second seen there
--            slice: its name, made by the daemon, never twice     reports: {{slice, left, done}, ...}; see
--            `leases.report`
-- payload  {granted, again, level, spec, source, share, verdict, ttl}
--            again: when to ask again, NONE at will               share: the largest slice to expect
--            verdict: 0 slices are given, 1 every call is exact, 2 not now: recalled, or others wait
--            ttl: how long the slice lasts from when it was asked for

local GIVEN, EXACT, NOT_NOW = 0, 1, 2
-- The shortest slice that is worth a call, and the most slices of one bucket that a daemon holds.
local MIN_TTL, MAX_SLICES = 100000, 4
-- How long to ask not again where others wait, or slices are recalled.
local LATER = 100000
local INTERACTIVE = 0

-- How long a slice of this bucket may last; 0 when there can be none. A slice of a window costs what it
-- holds for as long as it lasts, so it lasts no longer than a sub-window.
local function longest(b, ttl, margin, leased)
  if b.spec[1] == 2 then
    local width = math.floor(b.spec[3] / 60)
    ttl = math.min(ttl, leased and math.max(width, MIN_TTL) or width)
  elseif b.spec[1] == 3 then
    ttl = math.min(ttl, b.til - now - margin)
  elseif b.spec[1] == 4 then
    return 0
  end
  return ttl >= MIN_TTL and ttl or 0
end

-- For how long slices are to last: all together hold at most half of the burst, which leaves the other half to
-- be refilled beside them.
local function span(b, horizon)
  if b.spec[1] == 1 then
    return math.max(math.min(horizon, (muldiv(b.spec[4], b.spec[3], 2 * b.spec[2]))), 1)
  end
  return horizon
end

local function refusal(verdict, again, entry)
  local b = entry and entry.b
  return {0, again, b and bucket.free(b) or 0, b and b.spec or false, entry and entry.limit.source or 0,
    0, verdict, 0}
end

local function lease(entry, leased)
  local wanted, need, demand, id = args[3], args[4], args[5], args[6]
  local ttl = longest(entry.b, args[7], args[8], leased)
  local spec = store.spec_for(entry.limit, entry.key)
  if ttl == 0 or not same(entry.b.spec, spec) then
    return refusal(EXACT, NONE, entry)
  end
  leases.begin(entry)
  if entry.lease.recall > now or entry.waited == 1 or entry.paused > now then
    -- What is decided in the store meanwhile would be refused as well.
    local wait = charges.wait_at(entry.b, entry, need, INTERACTIVE)
    local till = wait and math.min(wait, entry.waited == 1 and LATER or WHOLE) or LATER
    return refusal(wait and GIVEN or NOT_NOW, now + till, entry)
  elseif leases.has_enough(entry, id, MAX_SLICES) then
    return refusal(NOT_NOW, now + LATER, entry)
  end
  local ask = {wanted = wanted, need = need, demand = demand, horizon = span(entry.b, math.min(args[9], ttl))}
  local units, again, share, worth = shares.decide(entry, ask, leased)
  if units > 0 then
    leases.grant(entry, id, units, now + ttl + args[8])
  end
  return {units, again, bucket.free(entry.b), entry.b.spec, entry.limit.source, share,
    worth and GIVEN or EXACT, ttl}
end

function op()
  local limit = store.limit(args[1])
  if not limit then
    return refusal(EXACT, NONE)
  end
  local entry = store.entry(limit, args[2])
  if limit.sharing == EXACT then
    return refusal(EXACT, NONE, entry.b and entry)
  end
  if not entry.b then
    store.check_room(1)
    store.make(entry)
  end
  local came = false
  for _, report in ipairs(args[10]) do
    came = leases.report(entry, report[1], report[2], report[3]) or came
  end
  local answer = lease(entry, limit.sharing == 2)
  if came then
    line.serve({entry})
  end
  return answer
end
