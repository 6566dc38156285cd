-- Telling daemons when to look at a line, so that nobody polls: at the time at which its head can be served
-- its own daemon looks; when that daemon has had `PATIENCE`, the next one in line, and so on.

local LINE, HOLD = 'line', 'hold'
-- How long the head's daemon may let a grant lie before the next in line passes it.
local PATIENCE = 50000
-- How many daemons in line are told.
local TOLD = 4

-- The name of an entry that outlives this call.
local function look_id(entry)
  return string.format('%d:', #entry.limit.name) .. entry.limit.name .. entry.key
end

-- The daemons with claims in a set, by the rank of their first claim.
local function in_order(entry, set)
  local heads, all, stalled = {}, line.daemons()
  for _, daemon in ipairs(all) do
    local head = not stalled[daemon]
      and redis.call('ZRANGE', line.claims_key(entry, set, daemon), 0, 0)[1]
    if head then
      heads[#heads + 1] = {head, daemon}
    end
  end
  table.sort(heads, function(one, other) return one[1] < other[1] end)
  return heads
end

-- When a head is to be looked at: at once when it is open; when everything that it wants is there; or, for
-- those behind it, when it is not short here any more. Nil when no time is known.
local function due_at(entry, set, head)
  if head.open_at > 0 then
    return head.open_at
  elseif set == HOLD then
    return nil
  end
  for _, want in ipairs(line.of(entry).claims > 1 and head.wants or {}) do
    if store.entry_of(want) == entry then
      local here = math.max(bucket.ready_at(entry.b, want.amount, now), entry.paused)
      if here > now then
        return here
      end
    end
  end
  return head.ready > now and head.ready or nil
end

-- Tells those who wait for an entry when to look. What they were told already is not told again.
function schedule.tell(entry)
  local told = line.of(entry).told
  local soonest, news = {}, {}
  for _, set in ipairs({LINE, HOLD}) do
    local heads = in_order(entry, set)
    local head = heads[1] and line.waiter(line.ticket_of(heads[1][1], set))
    local at = head and due_at(entry, set, head)
    local order = ''
    for i, one in ipairs(at and heads or {}) do
      local look = math.min(at + PATIENCE * (i - 1), WHOLE)
      soonest[one[2]] = math.min(soonest[one[2]] or look, look)
      order = i <= TOLD and order .. ' ' .. one[2] or order
    end
    local now_told = at and {at, head.ticket, order} or {0, '', ''}
    if not same(now_told, told[set]) then
      told[set] = now_told
      for i = 1, math.min(at and #heads or 0, TOLD) do
        news[heads[i][2]] = true
      end
    end
  end
  for daemon, at in pairs(soonest) do
    if daemon == me then
      looks[#looks + 1] = {look_id(entry), at}
    elseif news[daemon] then
      tell_look(daemon, {look_id(entry), at})
    end
  end
end

