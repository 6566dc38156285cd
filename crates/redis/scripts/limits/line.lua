-- Waiting: who is served when, over all daemons, without polling. The rules are those of
-- `core/src/limits/machine/line.rs`; only the daemon of a waiting call may grant it, because a grant to a
-- daemon that has stopped would be lost.
--
-- <root>:waiters          hash: ticket -> the waiting call
-- <root>:waiting          hash: daemon -> its waiting calls
-- <root>:tickets:<daemon> set: its tickets
-- <root>:ended:<daemon>   hash: ticket -> an end that the daemon has not fetched yet
-- <root>:enders           hash: daemon with such ends -> when the last was added; it keeps the namespace
-- <root>:stalled          hash: daemon -> since when it has let a grant of its own lie
-- <root>:lines:<life>     hash: key -> {wanted, claims, units of both classes, both classes' turns, told}
--
-- A waiting call wants buckets; of each it has a `place`: '' none, 'line' it lacks the bucket, 'off' a hold
-- keeps it off, 'hold' it holds the bucket.

line.waiters = {}

-- How long a daemon may let a grant lie before the next in line passes it.
local PATIENCE = 50000
-- Looks per waiting call after which serving is put off; so many would be a defect.
local LOOKS = 256

local function lines_key(entry)
  return root .. ':lines:' .. entry.limit.life
end

-- The line of an entry: false when nobody waits there.
function line.of(entry)
  if entry.line == nil then
    entry.line = false
    if entry.waited == 1 then
      local r = cmsgpack.unpack(redis.call('HGET', lines_key(entry), entry.key))
      entry.line = {
        wanted = r[1], claims = r[2], units = {r[3], r[4]},
        classes = {
          {time = r[5], weight = r[6], accounts = r[7]},
          {time = r[8], weight = r[9], accounts = r[10]},
        },
        told = r[11],
      }
    end
  end
  return entry.line
end

local function keep_line(entry, l)
  local one, other = l.classes[1], l.classes[2]
  redis.call('HSET', lines_key(entry), entry.key, cmsgpack.pack({
    l.wanted, l.claims, l.units[1], l.units[2], one.time, one.weight, one.accounts, other.time,
    other.weight, other.accounts, l.told,
  }))
end

-- The daemons with waiting calls here, and which of them are stalled. The caller is not: it has come.
function line.daemons()
  if not line.all then
    line.all = redis.call('HKEYS', root .. ':waiting')
    line.stalled = {}
    for _, daemon in ipairs(redis.call('HKEYS', root .. ':stalled')) do
      if daemon == me then
        redis.call('HDEL', root .. ':stalled', me)
      else
        line.stalled[daemon] = true
      end
    end
  end
  return line.all, line.stalled
end

-- Units claimed by those who are served before a call of that priority that does not wait.
function line.claimed_before(entry, priority)
  local l = line.of(entry)
  return not l and 0 or priority == 0 and l.units[1] or l.units[1] + l.units[2]
end

-- Waiting calls.

function line.waiter(ticket)
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
          limit = want[1], key = want[2], amount = want[3], replaced = want[4], since = want[5],
          place = want[6], origin = want[7],
        }
      end
    end
    line.waiters[ticket] = w
  end
  return w
end

local function keep(w)
  local wants = {}
  for i, want in ipairs(w.wants) do
    wants[i] = {
      want.limit, want.key, want.amount, want.replaced, want.since, want.place, want.origin,
    }
  end
  redis.call('HSET', root .. ':waiters', w.ticket, cmsgpack.pack({
    w.daemon, w.priority, w.arrival, w.ttl, w.request, w.hold_at, w.fair, w.weight, w.reservation,
    w.open_at, w.ready, wants,
  }))
end

-- What a waiting call wants of an entry.
function line.want_of(w, entry)
  for _, want in ipairs(w.wants) do
    if want.key == entry.key and want.limit == entry.limit.name then
      return want
    end
  end
end

-- All waiting calls with a charge that `which` picks, in order of priority and arrival.
function line.waiting(which)
  local picked = {}
  for _, ticket in ipairs(redis.call('HKEYS', root .. ':waiters')) do
    local w = line.waiter(ticket)
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

-- Tells those who wait where a call waits when to look, even if they were told.
function line.tell_anew(w)
  for _, want in ipairs(w.wants) do
    touch(store.entry_of(want))
  end
end

-- Takes a call out of every line. Returns the entries that it claimed.
function line.leave(w)
  local freed = {}
  for _, want in ipairs(w.wants) do
    local entry = store.entry_of(want)
    local l = line.of(entry)
    touch(entry)
    if want.place ~= '' then
      queue.go(entry, w, want, '', '')
      freed[#freed + 1] = entry
    end
    fair.leave(entry, w)
    l.wanted = l.wanted - 1
    if l.wanted == 0 then
      redis.call('HDEL', lines_key(entry), entry.key)
      entry.line, entry.waited, entry.dirty = false, 0, true
      if entry.lease then
        leases.line_ended(entry)
      end
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

-- Tells a call that has left the line how it ended. `DELETED` is an error to its caller.
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
    redis.call('HSET', root .. ':enders', w.daemon, whole(now))
    tell(w.daemon, {'ended', env.namespace})
  end
end

-- Counts a grant at every entry where somebody waits; `since` tells when the call came there. Returns these
-- entries: the turns have changed there.
local function count_turn(w, since)
  local turns = {}
  for i, want in ipairs(w.wants) do
    local entry = store.entry_of(want)
    if line.of(entry) then
      fair.serve(entry, w.priority, w.fair, w.weight, since[i], fair.cost(entry, want.amount))
      queue.tag_moved(entry, w.priority, w.fair)
      touch(entry)
      turns[#turns + 1] = entry
    end
  end
  return turns
end

-- Grants a waiting call. Returns the entries at which that may let others go.
local function grant(w)
  local since, entries = {}, {}
  for i, want in ipairs(w.wants) do
    since[i], entries[i] = want.since, store.entry_of(want)
  end
  count_turn(w, since)
  line.leave(w)
  local data, states = charges.grant(w.wants, w.ttl, w.reservation)
  line.finish(w, GRANTED, data, states)
  return entries
end

-- Looking at waiting calls.

-- What is in the way of a call at each of its buckets: per want whether it `lacks` the bucket and whether it
-- is `held` off. `since` tells when it came there.
local function obstacles(w, since)
  local found, passed_over = {}, {}
  local open = true
  for i, want in ipairs(w.wants) do
    local entry = store.entry_of(want)
    local lacks = now < entry.paused or bucket.free(entry.b) < want.amount
      or (entry.waited == 1 and queue.goes_before(entry, w, since[i]))
    found[i] = {lacks = lacks}
    passed_over[entry.place] = not lacks or nil
    open = open and not lacks
  end
  for i, want in ipairs(w.wants) do
    local entry = store.entry_of(want)
    found[i].held = entry.waited == 1 and queue.is_held_off(entry, w, passed_over)
    open = open and not found[i].held
  end
  return found, open
end

local function ready_at(w)
  local ready = 0
  for _, want in ipairs(w.wants) do
    local entry = store.entry_of(want)
    ready = math.max(ready, bucket.ready_at(entry.b, want.amount, now), entry.paused)
  end
  return ready
end

-- Puts a call where its obstacles say. Returns the entries at which that may let others go.
local function place(w, found)
  local holding = #w.wants > 1 and now >= w.hold_at
  local origin, freed = '', {}
  for i, want in ipairs(w.wants) do
    if found[i].lacks then
      origin = store.entry_of(want).place
      break
    end
  end
  for i, want in ipairs(w.wants) do
    local entry, former = store.entry_of(want), want.place
    local there = found[i].lacks and 'line' or found[i].held and 'off' or holding and 'hold' or ''
    if queue.go(entry, w, want, there, there == 'hold' and origin or '') then
      touch(entry)
      if former ~= '' then
        freed[#freed + 1] = entry
      end
    end
  end
  return freed
end

-- Looks at one waiting call: grants it when nothing is in its way, otherwise makes it claim what it should.
-- Returns the entries at which that may let others go, and whether it stands open for its own daemon.
local function review(w)
  if w.daemon == me and w.ticket:match('^(%d+)') ~= my_life then
    -- Of a former life of this daemon, which has forgotten it.
    requests.forget(w.request)
    return line.leave(w), false
  end
  local since = {}
  for i, want in ipairs(w.wants) do
    since[i] = want.since
  end
  local found, open = obstacles(w, since)
  if open and w.daemon == me then
    return grant(w), false
  end
  local ready = ready_at(w)
  if ready ~= w.ready then
    -- Whoever is told when to look must be told anew.
    for _, want in ipairs(w.wants) do
      touch(store.entry_of(want))
    end
  end
  w.ready, w.dirty = ready, true
  if open then
    w.open_at = w.open_at == 0 and now or w.open_at
    return {}, true
  end
  w.open_at = 0
  return place(w, found), false
end

-- Whether a call has been open for longer than its daemon should need: since it was found open, or since the
-- time at which its daemon was told to look.
local function is_overdue(entry, w)
  local l, since = line.of(entry), w.open_at
  if l and l.told[2] == w.ticket then
    since = math.min(since, l.told[1])
  end
  return now >= since + PATIENCE
end

local function stall(daemon)
  line.stalled[daemon] = true
  redis.call('HSET', root .. ':stalled', daemon, whole(now))
end

-- Serves the line of one entry until every head is blocked. Others that this frees are put behind.
local function serve_entry(entry, behind, looks)
  local turn = 0
  local ticket = line.of(entry) and queue.next(entry, turn)
  while ticket and looks > 0 do
    looks = looks - 1
    local w = line.waiter(ticket)
    local freed, open = review(w)
    if open and is_overdue(entry, w) then
      stall(w.daemon)
      open = false
    end
    entry.open = open and w or entry.open
    for _, other in ipairs(freed) do
      if other ~= entry then
        behind[#behind + 1] = other
      end
    end
    local next = line.of(entry) and queue.next(entry, turn)
    turn = next == ticket and turn + 1 or 0
    ticket = line.of(entry) and queue.next(entry, turn)
  end
  return looks
end

-- Serves the lines of these entries, and of those that this frees in turn, until every head is blocked.
function line.serve(entries)
  strict = false
  local looks = LOOKS * (1 + redis.call('HLEN', root .. ':waiters'))
  while #entries > 0 and looks > 0 do
    local entry = table.remove(entries)
    entry.open = nil
    if line.of(entry) then
      touch(entry)
      looks = serve_entry(entry, entries, looks)
    end
  end
end

-- Looks at entries whose head does not lack units any more: what time has made stale must not block anybody.
function line.wake(entries)
  local due = {}
  for _, entry in ipairs(entries) do
    local head = line.of(entry) and queue.line_head(entry)
    if head and now >= entry.paused
      and bucket.free(entry.b) >= line.want_of(head, entry).amount then
      due[#due + 1] = entry
    end
  end
  if #due > 0 then
    line.serve(due)
  end
end

-- Looks at one waiting call, after those whom time has served, and serves what it has freed.
function line.review(w)
  local entries = {}
  for i, want in ipairs(w.wants) do
    entries[i] = store.entry_of(want)
  end
  line.wake(entries)
  if not w.gone then
    line.serve((review(w)))
  end
end

-- Takes all charges of a call that would wait, if nothing is in its way. Where others of its class wait it
-- takes a turn as they do, and may take it before them. Returns its data and states, or nothing.
function line.go_at_once(w)
  local since = {}
  for i, want in ipairs(w.wants) do
    since[i] = fair.time(want.entry, w.priority)
  end
  local _, open = obstacles(w, since)
  if not open then
    return nil
  end
  local turns = count_turn(w, since)
  local data, states = charges.grant(w.wants, w.ttl, w.reservation)
  line.serve(turns)
  return data, states
end

-- Puts a blocked call in line.
function line.enqueue(w)
  redis.call('HINCRBY', root .. ':waiting', w.daemon, 1)
  redis.call('SADD', root .. ':tickets:' .. w.daemon, w.ticket)
  w.arrival = redis.call('HINCRBY', root .. ':counts', 'arrivals', 1)
  w.hold_at, w.open_at, w.ready, w.dirty = now + env.hold_after, 0, 0, true
  line.all = nil
  for _, want in ipairs(w.wants) do
    local entry = want.entry
    if not line.of(entry) then
      local function class() return {time = 0, weight = 0, accounts = 0} end
      entry.line = {
        wanted = 0, claims = 0, units = {0, 0}, classes = {class(), class()}, told = {0, '', ''},
      }
      entry.waited = 1
    end
    entry.dirty = true
    touch(entry)
    entry.line.wanted = entry.line.wanted + 1
    want.since, want.place, want.origin = fair.enter(entry, w), '', ''
  end
  line.waiters[w.ticket] = w
  strict = false
  line.serve((review(w)))
end

function line.commit()
  for _, entry in ipairs(touched) do
    if line.of(entry) then
      schedule.tell(entry)
      keep_line(entry, entry.line)
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
end

