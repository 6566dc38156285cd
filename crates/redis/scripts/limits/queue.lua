-- Who waits for one bucket: the `line` of those that lack it, the holds of those that keep it free for
-- themselves, and those that a hold keeps `off`. Mirrors `core/src/limits/machine/queue.rs`, where the rules
-- are told.
--
-- All keys end in "<place>:<daemon>": those of a stalled daemon are passed over in one step. For the lists
-- `line` and `off`:
--
-- <root>:<list>        zset: every account's first call by rank: class, start, arrival, ticket
-- <root>:<list>-ranks  hash: class|account -> its rank there
-- <root>:<list>-all    zset: all calls by class, arrival, ticket
-- <root>:<list>-calls:<place>:<daemon>:<class>|<account>  zset: its calls by arrival, ticket
--
-- and for the holds: <root>:hold, a zset of all by class, arrival, ticket; <root>:hold:...:<root place>, those
-- with that root; <root>:roots:<place>, a hash: root place -> holds. The root of a hold is a bucket in whose
-- line the holder stands, if it stands in one.

local LINE, OFF = 'line', 'off'
local MAX_POSITION = 1000
-- Behind every call that has come.
local LAST = '9999999999999999'

local function key(entry, kind, daemon, more)
  local name = root .. ':' .. kind .. ':' .. entry.place .. ':' .. daemon
  return more and name .. ':' .. more or name
end

local function account_of(w)
  return w.priority .. '|' .. w.fair
end

-- A call among those of its account, and among all.
local function arrival(w)
  return string.format('%016.0f', w.arrival) .. w.ticket
end

local function age(w)
  return w.priority .. arrival(w)
end

local function rank(priority, start, call)
  return string.format('%d%016.0f', priority, start) .. call
end

local function ticket_of_rank(member)
  return member:sub(34)
end

local function age_of_rank(member)
  return member:sub(1, 1) .. member:sub(18)
end

-- The lowest member of a zset over all daemons that are not stalled.
local function first(entry, kind, more)
  local all, stalled = line.daemons()
  local best
  for _, daemon in ipairs(all) do
    if not stalled[daemon] then
      local head = redis.call('ZRANGE', key(entry, kind, daemon, more), 0, 0)[1]
      if head and (not best or head < best) then
        best = head
      end
    end
  end
  return best
end

-- Lists.

-- Ranks an account by its first call.
local function rank_again(entry, list, daemon, priority, account)
  local name = priority .. '|' .. account
  local call = redis.call('ZRANGE', key(entry, list .. '-calls', daemon, name), 0, 0)[1]
  local member
  if call then
    local want = line.want_of(line.waiter(call:sub(17)), entry)
    member = rank(priority, math.max(fair.tag(entry, priority, account), want.since), call)
  end
  local ranks = key(entry, list .. '-ranks', daemon)
  local former = redis.call('HGET', ranks, name)
  if former == (member or false) then
    return
  end
  if former then
    redis.call('ZREM', key(entry, list, daemon), former)
  end
  if member then
    redis.call('ZADD', key(entry, list, daemon), 0, member)
    redis.call('HSET', ranks, name, member)
  else
    redis.call('HDEL', ranks, name)
  end
end

-- Ranks an account anew wherever it waits, because its tag has moved.
function queue.tag_moved(entry, priority, account)
  for _, daemon in ipairs((line.daemons())) do
    rank_again(entry, LINE, daemon, priority, account)
    rank_again(entry, OFF, daemon, priority, account)
  end
end

local function count(entry, w, want, by)
  local l = line.of(entry)
  l.claims = l.claims + by
  l.units[w.priority + 1] = l.units[w.priority + 1] + by * want.amount
end

local function claim(entry, list, w)
  redis.call('ZADD', key(entry, list .. '-calls', w.daemon, account_of(w)), 0, arrival(w))
  redis.call('ZADD', key(entry, list .. '-all', w.daemon), 0, age(w))
  rank_again(entry, list, w.daemon, w.priority, w.fair)
end

local function unclaim(entry, list, w)
  redis.call('ZREM', key(entry, list .. '-calls', w.daemon, account_of(w)), arrival(w))
  redis.call('ZREM', key(entry, list .. '-all', w.daemon), age(w))
  rank_again(entry, list, w.daemon, w.priority, w.fair)
end

-- Holds.

local function hold(entry, w, origin)
  redis.call('ZADD', key(entry, 'hold', w.daemon), 0, age(w))
  redis.call('ZADD', key(entry, 'hold', w.daemon, origin), 0, age(w))
  redis.call('HINCRBY', root .. ':roots:' .. entry.place, origin, 1)
end

local function release(entry, w, origin)
  redis.call('ZREM', key(entry, 'hold', w.daemon), age(w))
  redis.call('ZREM', key(entry, 'hold', w.daemon, origin), age(w))
  if redis.call('HINCRBY', root .. ':roots:' .. entry.place, origin, -1) == 0 then
    redis.call('HDEL', root .. ':roots:' .. entry.place, origin)
  end
end

-- Moves a call to another place: '' for none, 'line', 'off', or 'hold' with a root.
function queue.go(entry, w, want, place, origin)
  if want.place == place and want.origin == origin then
    return false
  end
  if want.place == 'hold' then
    release(entry, w, want.origin)
  elseif want.place ~= '' then
    unclaim(entry, want.place, w)
  end
  count(entry, w, want, (place ~= '' and 1 or 0) - (want.place ~= '' and 1 or 0))
  want.place, want.origin, w.dirty = place, origin, true
  if place == 'hold' then
    hold(entry, w, origin)
  elseif place ~= '' then
    claim(entry, place, w)
  end
  return true
end

-- Whether a hold of another call is in the way of one, apart from those of the roots that are passed over.
function queue.is_held_off(entry, w, passed_over)
  local mine = w.arrival and age(w) or w.priority .. LAST
  for _, origin in ipairs(redis.call('HKEYS', root .. ':roots:' .. entry.place)) do
    local head = not (origin ~= '' and passed_over[origin]) and first(entry, 'hold', origin)
    if head and head < mine then
      return true
    end
  end
  return false
end

-- Order.

-- Whether others are served before a call that came at `since`. Those kept off stand in line too as soon as
-- the hold is gone, before they have been looked at.
function queue.goes_before(entry, w, since)
  local call = w.arrival and arrival(w) or LAST
  local mine
  local function before(head)
    mine = mine
      or rank(w.priority, math.max(fair.tag(entry, w.priority, w.fair), since), call)
    return head < mine
  end
  local head = first(entry, LINE)
  if head and before(head) then
    return true
  end
  head = first(entry, OFF)
  if not head then
    return false
  end
  local held = first(entry, 'hold')
  return not (held and held < age_of_rank(head)) and before(head)
end

-- Whether anyone is served before a call of that class that does not wait.
function queue.stops(entry, priority)
  for _, kind in ipairs({'line-all', 'off-all', 'hold'}) do
    local head = first(entry, kind)
    if head and tonumber(head:sub(1, 1)) <= priority then
      return true
    end
  end
  return false
end

-- Who is looked at when something has changed, in this order, each if the one before stays where it is: the
-- first of all in fair order; if that is kept off, who came first of those, and then the head of the line.
function queue.next(entry, turn)
  local head, off = first(entry, LINE), first(entry, OFF)
  if not off then
    return turn == 0 and head and ticket_of_rank(head) or nil
  elseif turn == 0 then
    return ticket_of_rank(head and head < off and head or off)
  elseif head and head < off then
    return nil
  elseif turn == 1 then
    return first(entry, 'off-all'):sub(18)
  end
  return turn == 2 and head and ticket_of_rank(head) or nil
end

-- Whose turn it is: the first in fair order, or who holds the bucket since before that came.
function queue.head(entry)
  local held, ticket = first(entry, 'hold'), queue.next(entry, 0)
  local w = ticket and line.waiter(ticket) or nil
  if held and (not w or held < age(w)) then
    return line.waiter(held:sub(18))
  end
  return w
end

-- The head of the line alone.
function queue.line_head(entry)
  local head = first(entry, LINE)
  return head and line.waiter(ticket_of_rank(head)) or nil
end

-- The daemons with calls here, by the rank of their first; those that only hold come last.
function queue.daemons(entry)
  local all, stalled = line.daemons()
  local ranked = {}
  for _, daemon in ipairs(all) do
    if not stalled[daemon] then
      local head = redis.call('ZRANGE', key(entry, LINE, daemon), 0, 0)[1]
      local off = redis.call('ZRANGE', key(entry, OFF, daemon), 0, 0)[1]
      local least = head and (not off or head < off) and head or off
      if not least and redis.call('EXISTS', key(entry, 'hold', daemon)) == 1 then
        least = '9'
      end
      if least then
        ranked[#ranked + 1] = {least, daemon}
      end
    end
  end
  table.sort(ranked, function(one, other) return one[1] < other[1] end)
  return ranked
end

-- Calls of other accounts in a list of one daemon that are served before a rank.
local function others_before(entry, list, daemon, w, limit, most)
  local ahead = 0
  local ranks = redis.call('HGETALL', key(entry, list .. '-ranks', daemon))
  for i = 1, #ranks, 2 do
    local name = ranks[i]
    if name ~= account_of(w) and name:sub(1, 1) == tostring(w.priority) and ranks[i + 1] < limit then
      local start = fair.tag(entry, w.priority, name:sub(3))
      local calls = key(entry, list .. '-calls', daemon, name)
      for _, call in ipairs(redis.call('ZRANGE', calls, 0, most)) do
        local other = line.waiter(call:sub(17))
        local want = line.want_of(other, entry)
        start = math.max(start, want.since)
        if rank(w.priority, start, call) >= limit then
          break
        end
        ahead = ahead + 1
        start = math.min(start + fair.step(fair.cost(entry, want.amount), other.weight), WHOLE)
      end
    end
  end
  return ahead
end

-- How many are served before a waiting call if nobody comes and nobody leaves, counted up to a bound.
local function ahead_of(entry, w, want)
  local ahead = 0
  local start = fair.tag(entry, w.priority, w.fair)
  local all = line.daemons()
  for _, daemon in ipairs(all) do
    ahead = ahead + redis.call('ZLEXCOUNT', key(entry, 'hold', daemon), '-', '(' .. age(w))
    for _, list in ipairs({LINE, OFF}) do
      ahead = ahead
        + redis.call('ZLEXCOUNT', key(entry, list .. '-all', daemon), '-', '(' .. w.priority)
      local calls = key(entry, list .. '-calls', daemon, account_of(w))
      for _, call in ipairs(redis.call('ZRANGEBYLEX', calls, '-', '(' .. arrival(w), 'LIMIT', 0,
        MAX_POSITION)) do
        local other = line.waiter(call:sub(17))
        local cost = fair.cost(entry, line.want_of(other, entry).amount)
        start = math.max(start, line.want_of(other, entry).since)
        start = math.min(start + fair.step(cost, other.weight), WHOLE)
        ahead = ahead + 1
      end
    end
  end
  local limit = rank(w.priority, math.max(start, want.since), arrival(w))
  for _, daemon in ipairs(all) do
    for _, list in ipairs({LINE, OFF}) do
      ahead = ahead + others_before(entry, list, daemon, w, limit, MAX_POSITION)
    end
  end
  return ahead
end

-- The place of a waiting call in the line where most go before it, from 1.
function queue.position(w)
  local most = 0
  for _, want in ipairs(w.wants) do
    most = math.max(most, ahead_of(store.entry_of(want), w, want))
  end
  return math.min(most + 1, MAX_POSITION)
end

