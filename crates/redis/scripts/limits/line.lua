-- Waiting: who is served when, over all daemons, without polling. The rules are those of
-- `core/src/limits/machine/line.rs`; only the daemon of a waiting call may grant it, because a grant to a
-- daemon that has stopped would be lost.
--
-- <root>:waiters          hash: ticket -> the waiting call
-- <root>:waiting          hash: daemon -> its waiting calls
-- <root>:tickets:<daemon> set: its tickets
-- <root>:ended:<daemon>   hash: ticket -> an end that the daemon has not fetched yet
-- <root>:stalled          hash: daemon -> since when it has let a grant of its own lie
-- <root>:lines:<life>     hash: key -> {virtual, wanted, claims, interactive, batch, told, told}
-- <root>:line:<place>:<daemon>   zset: claims of calls that are short here, by priority, start, arrival
-- <root>:hold:<place>:<daemon>   zset: claims of calls that hold the bucket, by priority, arrival
--
-- `place` is "<life>|<key>". A line has a set for each daemon, so that those of a stalled one are passed
-- over in one step.

line.waiters = {}

local LINE, HOLD = 'line', 'hold'
-- How long the head's daemon may let a grant lie before the next in line passes it.
local PATIENCE = 50000
-- What daemons were told of a set of claims: when its head is due, which call that is, in which order the
-- daemons stand.
local NOTHING_TOLD = {0, '', ''}
local MAX_POSITION = 1000

local function lines_key(entry)
  return root .. ':lines:' .. whole(entry.limit.life)
end

function line.claims_key(entry, set, daemon)
  return root .. ':' .. set .. ':' .. entry.place .. ':' .. daemon
end

-- The line of an entry: false when nobody waits there.
function line.of(entry)
  if entry.line == nil then
    entry.line = false
    if entry.waited == 1 then
      local r = cmsgpack.unpack(redis.call('HGET', lines_key(entry), entry.key))
      entry.line = {
        virtual = r[1], wanted = r[2], claims = r[3], sums = {r[4], r[5]},
        told = {line = r[6], hold = r[7]},
      }
    end
  end
  return entry.line
end

-- The daemons with waiting calls here, and which of them are stalled. The caller is not: it has come.
function line.daemons()
  if not line.all then
    line.all = redis.call('HKEYS', root .. ':waiting')
    line.stalled = {}
    local stalled = redis.call('HKEYS', root .. ':stalled')
    for _, daemon in ipairs(stalled) do
      if daemon == me then
        redis.call('HDEL', root .. ':stalled', me)
      else
        line.stalled[daemon] = true
      end
    end
  end
  return line.all, line.stalled
end

-- The first claim of a set, leaving out `skip`; nil when there is none.
local function first(entry, set, skip)
  if not line.of(entry) then
    return nil
  end
  local all, stalled = line.daemons()
  local best
  for _, daemon in ipairs(all) do
    if not stalled[daemon] then
      local two = redis.call('ZRANGE', line.claims_key(entry, set, daemon), 0, 1)
      local head = two[1]
      if head == skip then
        head = two[2]
      end
      if head and (not best or head < best) then
        best = head
      end
    end
  end
  return best
end

local function member(w, want, set)
  if set == LINE then
    return string.format('%d%016.0f%016.0f', w.priority, want.start, w.arrival) .. w.ticket
  end
  return string.format('%d%016.0f', w.priority, w.arrival) .. w.ticket
end

function line.ticket_of(claim, set)
  return claim:sub(set == LINE and 34 or 18)
end

-- Whether a call that comes now, and comes last in its class, must stand behind someone here.
function line.is_taken(entry, priority)
  for _, set in ipairs({LINE, HOLD}) do
    local head = first(entry, set)
    if head and tonumber(head:sub(1, 1)) <= priority then
      return true
    end
  end
  return false
end

-- Units claimed by those who are served before a call of that priority that comes now.
function line.claimed_before(entry, priority)
  local l = line.of(entry)
  if not l then
    return 0
  end
  return priority == 0 and l.sums[1] or l.sums[1] + l.sums[2]
end

-- Waiting calls.

local function read_waiter(ticket)
  local w = line.waiters[ticket]
  if w == nil then
    local record = redis.call('HGET', root .. ':waiters', ticket)
    w = false
    if record then
      local r = cmsgpack.unpack(record)
      w = {
        ticket = ticket, daemon = r[1], priority = r[2], arrival = r[3], ttl = r[4], request = r[5],
        hold_at = r[6], fair = r[7], weight = r[8], reservation = r[9], open_at = r[10], ready = r[11],
        wants = {},
      }
      for i, want in ipairs(r[12]) do
        w.wants[i] = {
          limit = want[1], key = want[2], amount = want[3], replaced = want[4], start = want[5],
          cost = want[6], claim = want[7],
        }
      end
    end
    line.waiters[ticket] = w
  end
  return w
end

line.waiter = read_waiter

local function keep(w)
  local wants = {}
  for i, want in ipairs(w.wants) do
    wants[i] = {
      want.limit, want.key, want.amount, want.replaced, want.start, want.cost, want.claim,
    }
  end
  redis.call('HSET', root .. ':waiters', w.ticket, cmsgpack.pack({
    w.daemon, w.priority, w.arrival, w.ttl, w.request, w.hold_at, w.fair, w.weight, w.reservation,
    w.open_at, w.ready, wants,
  }))
end

-- The call that came first of the heads of an entry's two sets; nil when nobody claims it.
function line.head(entry)
  local best
  for _, set in ipairs({LINE, HOLD}) do
    local claim = first(entry, set)
    local w = claim and read_waiter(line.ticket_of(claim, set))
    if w and (not best or w.priority < best.priority
      or (w.priority == best.priority and w.arrival < best.arrival)) then
      best = w
    end
  end
  return best
end

-- All waiting calls with a charge that `which` picks, in order of priority and arrival.
function line.waiting(which)
  local picked = {}
  for _, ticket in ipairs(redis.call('HKEYS', root .. ':waiters')) do
    local w = read_waiter(ticket)
    for _, want in ipairs(w and w.wants or {}) do
      if which(want) then
        picked[#picked + 1] = w
        break
      end
    end
  end
  table.sort(picked, function(one, other)
    if one.priority ~= other.priority then
      return one.priority < other.priority
    end
    return one.arrival < other.arrival
  end)
  return picked
end

local touched = {}

local function touch(entry)
  if not entry.touched then
    entry.touched = true
    touched[#touched + 1] = entry
  end
end

-- Makes a call claim an entry in one set, or in none (''). Tells whether a claim has gone.
local function set_claim(entry, w, want, set)
  if want.claim == set then
    return false
  end
  local l = line.of(entry)
  touch(entry)
  local had = want.claim
  if had ~= '' then
    redis.call('ZREM', line.claims_key(entry, had, w.daemon), member(w, want, had))
    l.claims = l.claims - 1
    l.sums[w.priority + 1] = l.sums[w.priority + 1] - want.amount
  end
  if set ~= '' then
    redis.call('ZADD', line.claims_key(entry, set, w.daemon), 0, member(w, want, set))
    l.claims = l.claims + 1
    l.sums[w.priority + 1] = l.sums[w.priority + 1] + want.amount
  end
  want.claim, w.dirty = set, true
  return had ~= ''
end

-- Takes a call out of every line. Returns the entries that it claimed.
function line.leave(w, granted)
  local freed = {}
  for _, want in ipairs(w.wants) do
    local entry = store.entry_of(want)
    local l = line.of(entry)
    if set_claim(entry, w, want, '') then
      freed[#freed + 1] = entry
    end
    touch(entry)
    fair.leave(entry, w, want, granted)
    l.wanted = l.wanted - 1
    if l.wanted == 0 then
      redis.call('HDEL', lines_key(entry), entry.key)
      fair.forget(entry)
      entry.line, entry.waited, entry.dirty = false, 0, true
    end
  end
  w.gone, line.waiters[w.ticket] = true, false
  redis.call('HDEL', root .. ':waiters', w.ticket)
  redis.call('SREM', root .. ':tickets:' .. w.daemon, w.ticket)
  if redis.call('HINCRBY', root .. ':waiting', w.daemon, -1) <= 0 then
    redis.call('HDEL', root .. ':waiting', w.daemon)
  end
  return freed
end

-- Tells a call that has left the line how it ended. `payload` is false for an end that is an error.
function line.finish(w, outcome, data, states)
  if outcome == DELETED then
    requests.forget(w.request)
  else
    requests.finish(w.request, {outcome, data, states})
  end
  local result = {w.ticket, outcome, data, states}
  if w.daemon == me then
    results[#results + 1] = result
  else
    redis.call('HSET', root .. ':ended:' .. w.daemon, w.ticket, cmsgpack.pack(result))
    tell(w.daemon, {'ended', env.namespace})
  end
end

-- Grants a waiting call. Returns the entries that it stopped claiming.
local function grant(w)
  local freed = line.leave(w, true)
  local data, states = charges.grant(w.wants, w.ttl, w.reservation)
  line.finish(w, GRANTED, data, states)
  return freed
end

-- Looking at waiting calls.

local function is_blocked_by_level(entry, amount)
  return now < entry.paused or bucket.available(entry.b) < amount
end

local function ready_at(w)
  local ready = 0
  for _, want in ipairs(w.wants) do
    local entry = store.entry_of(want)
    ready = math.max(ready, bucket.ready_at(entry.b, want.amount, now), entry.paused)
  end
  return ready
end

-- Looks at one waiting call: grants it when nothing blocks it, otherwise makes it claim what it should.
-- Returns the entries that it stopped claiming, and whether it stands open for its own daemon.
local function review(w)
  if w.daemon == me and w.ticket:match('^(%d+)') ~= my_life then
    -- Of a former life of this daemon, which has forgotten it.
    requests.forget(w.request)
    return line.leave(w, false), false
  end
  local open = true
  for _, want in ipairs(w.wants) do
    local entry = store.entry_of(want)
    local ahead = first(entry, LINE, member(w, want, LINE))
    want.short = is_blocked_by_level(entry, want.amount)
      or (ahead ~= nil and ahead < member(w, want, LINE))
    ahead = first(entry, HOLD, member(w, want, HOLD))
    want.held = ahead ~= nil and ahead < member(w, want, HOLD)
    open = open and not want.short and not want.held
  end
  if open and w.daemon == me then
    return grant(w), false
  end
  local freed, ready = {}, ready_at(w)
  for _, want in ipairs(ready ~= w.ready and w.wants or {}) do
    -- Whoever is told when to look there must be told anew.
    touch(store.entry_of(want))
  end
  w.ready, w.dirty = ready, true
  if open then
    if w.open_at == 0 then
      w.open_at = now
    end
    return freed, true
  end
  w.open_at = 0
  local holding = #w.wants > 1 and now >= w.hold_at
  for _, want in ipairs(w.wants) do
    local set = want.short and LINE or (want.held or holding) and HOLD or ''
    local entry = store.entry_of(want)
    if set_claim(entry, w, want, set) then
      freed[#freed + 1] = entry
    end
  end
  return freed, false
end

-- Whether a head has been open for longer than its daemon should need: since it was found open, or since
-- the time at which its daemon was told to look.
local function is_overdue(entry, set, w)
  local l, since = line.of(entry), w.open_at
  local told = l and l.told[set]
  if told and told[2] == w.ticket then
    since = math.min(since, told[1])
  end
  return now >= since + PATIENCE
end

local function stall(daemon)
  line.stalled[daemon] = true
  redis.call('HSET', root .. ':stalled', daemon, whole(now))
end

-- Serves the lines of these entries, and of those that this frees in turn, until every head is blocked.
function line.serve(entries)
  strict = false
  local queue = entries
  while #queue > 0 do
    local entry = table.remove(queue)
    local again = line.of(entry) ~= false
    while again do
      again = false
      touch(entry)
      for _, set in ipairs({LINE, HOLD}) do
        local head = first(entry, set)
        local w = head and read_waiter(line.ticket_of(head, set))
        if w then
          local freed, open = review(w)
          for _, other in ipairs(freed) do
            queue[#queue + 1] = other
          end
          if open and is_overdue(entry, set, w) then
            stall(w.daemon)
            again = true
          end
          again = again or first(entry, set) ~= head
        end
      end
    end
  end
end

-- Looks at one waiting call and serves what it has freed.
function line.review(w)
  strict = false
  line.serve((review(w)))
end

-- Puts a blocked call in line.
function line.enqueue(w)
  redis.call('HINCRBY', root .. ':waiting', w.daemon, 1)
  redis.call('SADD', root .. ':tickets:' .. w.daemon, w.ticket)
  w.arrival = redis.call('HINCRBY', root .. ':counts', 'arrivals', 1)
  w.hold_at, w.open_at, w.ready, w.dirty = now + env.hold_after, 0, 0, true
  line.all = nil
  for _, want in ipairs(w.wants) do
    local entry = store.entry_of(want)
    local l = line.of(entry)
    if not l then
      l = {
        virtual = 0, wanted = 0, claims = 0, sums = {0, 0},
        told = {line = NOTHING_TOLD, hold = NOTHING_TOLD},
      }
      entry.line, entry.waited = l, 1
    end
    entry.dirty = true
    touch(entry)
    l.wanted = l.wanted + 1
    fair.start(entry, w, want)
    want.claim = ''
  end
  line.waiters[w.ticket] = w
  line.review(w)
end

-- How many stand before a call, counted up to a bound, from 1.
function line.position(w)
  local most = 0
  for _, want in ipairs(w.wants) do
    local entry, ahead = store.entry_of(want), 0
    for _, set in ipairs({LINE, HOLD}) do
      for _, daemon in ipairs((line.daemons())) do
        ahead = ahead + redis.call('ZLEXCOUNT', line.claims_key(entry, set, daemon), '-',
          '(' .. member(w, want, set))
      end
    end
    most = math.max(most, ahead)
  end
  return math.min(most + 1, MAX_POSITION)
end

function line.commit()
  for _, entry in ipairs(touched) do
    if line.of(entry) then
      schedule.tell(entry)
    end
  end
  for _, w in pairs(line.waiters) do
    if w and w.dirty and not w.gone then
      keep(w)
      if w.daemon == me and #w.wants > 1 and now < w.hold_at then
        looks[#looks + 1] = {'hold|' .. w.ticket, w.hold_at}
      end
    end
  end
  for _, entry in ipairs(touched) do
    local l = line.of(entry)
    if l then
      redis.call('HSET', lines_key(entry), entry.key, cmsgpack.pack({
        l.virtual, l.wanted, l.claims, l.sums[1], l.sums[2], l.told.line, l.told.hold,
      }))
    end
  end
end

