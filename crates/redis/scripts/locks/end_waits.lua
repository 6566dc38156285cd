-- Ends waits whose time is over, and takes back what nobody is there to receive.
--
-- args     {{claim, why: 0 its time is over, 1 its caller is gone, 2 nobody knows it}, ...}
-- Payload  true. Calls whose time is over are told {"timed_out", claim, us until ready, place}, or what they have been
--          granted meanwhile, or {"gone", claim}; leases that others were told of as well {"yours", lease}
--
-- Atomic, because a grant may overtake the end of a wait, and a call may have been joined by a repeat.

local TIME, GONE = 0, 1

local function names_of(waiter, names)
  for _, lock in ipairs(waiter[LOCKS]) do
    names[#names + 1] = lock[1]
  end
end

-- A call loses the caller that it was made for: those who joined it go on with it, if there are any.
local function lose_caller(ticket, waiter, names)
  local heir = table.remove(waiter[JOINED], 1)
  if not heir then
    leave(ticket, waiter)
    forget_request(waiter[REQUEST])
    names_of(waiter, names)
    return
  end
  take(waiter[HOST], waiter[CLAIM])
  waiter[CLAIM], waiter[HOST] = heir[1], heir[2]
  keep_waiter(ticket, waiter)
  give(heir[2], heir[1], 'w' .. whole(ticket))
end

local function lose_joined(ticket, waiter, claim)
  for i, other in ipairs(waiter[JOINED]) do
    if other[1] == claim then
      take(other[2], claim)
      table.remove(waiter[JOINED], i)
      keep_waiter(ticket, waiter)
      return
    end
  end
end

local function end_wait(ticket, claim, joined, why, names)
  local waiter = find_waiter(ticket)
  if not waiter then
    return tell(here, {'gone', claim})
  end
  local ready, behind = ready_at(waiter[LOCKS], ticket), place(waiter[LOCKS], ticket)
  if why == TIME and joined then
    lose_joined(ticket, waiter, claim)
    tell(here, {'timed_out', claim, ready - now, behind})
  elseif why == TIME then
    leave(ticket, waiter)
    finish_request(waiter[REQUEST], {TIMED_OUT, ready, behind}, #waiter[JOINED] > 0)
    tell_callers(waiter, 'timed_out', ready - now, behind)
    names_of(waiter, names)
  elseif joined then
    lose_joined(ticket, waiter, claim)
  else
    lose_caller(ticket, waiter, names)
  end
end

local function end_granted(number, claim, why, names)
  local lease = find_lease(number)
  if not lease then
    return take(here, claim)
  elseif why == TIME then
    tell(here, {'granted', claim, view(number, lease)})
  elseif was_told_again(lease[REQUEST]) then
    tell(here, {'yours', view(number, lease)})
  else
    if why == GONE then
      forget_request(lease[REQUEST])
    end
    end_lease(number, lease, names, why == GONE and RELEASED or EXPIRED)
  end
end

function op()
  local names = {}
  for _, one in ipairs(args) do
    local claim, why = one[1], one[2]
    local what = claimed(claim)
    local kind, number = what:sub(1, 1), tonumber(what:sub(2))
    if kind == 'w' or kind == 'j' then
      end_wait(number, claim, kind == 'j', why, names)
    elseif kind == 'l' then
      end_granted(number, claim, why, names)
    elseif kind == 's' then
      local session = find_session(number)
      if session then
        end_session(number, session, why == GONE and RELEASED or EXPIRED, why == GONE and CLOSED or OVER)
      end
    elseif why == TIME then
      tell(here, {'gone', claim})
    end
  end
  serve(names)
  return true
end
