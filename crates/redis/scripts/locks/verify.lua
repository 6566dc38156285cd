-- Looks whether what a daemon has the care of stands in the store as it should: nobody but these scripts may change
-- these keys, and somebody may do it by hand.
--
-- args     {{{lease, claim}, ...}, {{session, claim}, ...}, {{ticket, claim}, ...}}
-- Payload  {leases, sessions, tickets} that do not stand, or not wholly
--
-- Changes nothing. Atomic, so that it is one moment.

local function cares_for(claim, what)
  return redis.call('HGET', host_key(here), claim) == what
end

local function lease_stands(number, claim)
  local lease = find_lease(number)
  if not lease or lease[CLAIM] ~= claim or not cares_for(claim, 'l' .. whole(number)) then
    return false
  end
  for _, lock in ipairs(lease[LOCKS]) do
    local _, token = held(lock[1])
    if token ~= lock[3] or not is_holder(lock[1], number) or not redis.call('ZSCORE', NAMES, lock[1]) then
      return false
    end
  end
  return lease[SESSION] == 0
    or redis.call('SISMEMBER', root .. ':sl:' .. whole(lease[SESSION]), whole(number)) == 1
end

local function session_stands(number, claim)
  local session = find_session(number)
  return session and session[S_CLAIM] == claim and cares_for(claim, 's' .. whole(number))
end

local function ticket_stands(number, claim)
  local waiter = find_waiter(number)
  local what = redis.call('HGET', host_key(here), claim)
  if not waiter or (what ~= 'w' .. whole(number) and what ~= 'j' .. whole(number)) then
    return false
  end
  for _, lock in ipairs(waiter[LOCKS]) do
    local stands = redis.call('ZSCORE', line_key(lock[1]), whole(number))
      and (lock[2] == SHARED or redis.call('ZSCORE', writers_key(lock[1]), whole(number)))
    if not stands then
      return false
    end
  end
  return true
end

local function fallen(things, stands)
  local found = {}
  for _, thing in ipairs(things) do
    if not stands(unpack(thing)) then
      found[#found + 1] = thing[1]
    end
  end
  return found
end

function op()
  return {fallen(args[1], lease_stands), fallen(args[2], session_stands), fallen(args[3], ticket_stands)}
end
