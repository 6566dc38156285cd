-- Telling daemons when to look at a line, so that nobody polls: at the time at which somebody can be served
-- there its own daemon looks; when that daemon has had `PATIENCE`, the next one in line, and so on.

-- How long a daemon may let a grant lie before the next in line passes it.
local PATIENCE = 50000
-- How many daemons in line are told.
local TOLD = 4

-- The name of an entry that outlives this call.
local function look_id(entry)
  return string.format('%d:', #entry.limit.name) .. entry.limit.name .. entry.key
end

-- When the head of a line is to be looked at: when everything that it wants is there, or, for those behind
-- it, when it does not lack this bucket any more. Nil when no time is known.
local function due_at(entry, head)
  if line.of(entry).claims > 1 then
    local amount = line.want_of(head, entry).amount
    local here = math.max(bucket.ready_at(entry.b, amount, now), entry.paused)
    if here > now then
      return here
    end
  end
  return head.ready > now and head.ready or nil
end

-- Whom the time concerns first, and the time.
local function next_due(entry)
  local open = entry.open
  if open and not open.gone and open.open_at > 0 then
    return open, open.open_at
  end
  local head = queue.line_head(entry)
  return head, head and due_at(entry, head)
end

-- Tells those who wait for an entry when to look. What they were told already is not told again.
function schedule.tell(entry)
  local l = line.of(entry)
  local w, at = next_due(entry)
  if not at then
    l.told = {0, '', ''}
    return
  end
  local order = {w.daemon}
  for _, ranked in ipairs(queue.daemons(entry)) do
    if ranked[2] ~= w.daemon then
      order[#order + 1] = ranked[2]
    end
  end
  -- Whose time it is: nobody's where the head will only stop lacking this bucket and still lack another.
  local whose = (w == entry.open or at == w.ready) and w.ticket or ''
  local told = {at, whose, table.concat(order, ' ', 1, math.min(#order, TOLD))}
  local news = not same(told, l.told)
  l.told = told
  for i, daemon in ipairs(order) do
    local look = {look_id(entry), math.min(at + PATIENCE * (i - 1), WHOLE)}
    if daemon == me then
      looks[#looks + 1] = look
    elseif news and i <= TOLD then
      tell_look(daemon, look)
    end
  end
end

