-- Tells the store what a daemon has the care of, after its own death, in a new generation, or where `verify` has found that
-- it does not stand as it should.
--
-- args     {generation in which all of it was told last, {{session, session as it was, us left}, ...},
--          {{lease, lease as it was, us left}, ...}}
-- Payload  true. What does not stand is told as {"ended", ..} and {"session_over", ..}; a lease that another daemon
--          times meanwhile as {"moved", lease}
--
-- What the store has lost is put back, in a new generation, before anything else is granted: see `grace`. What it lacks
-- later was ended, or taken by hand, and is put back no more; a lease that it has is made to hold its locks again. Of
-- two leases that want one lock the higher token wins, since its grant came after the other's end. Atomic, because no
-- grant may come between the look at a lock and the lease that is put back.

local known, names = args[1], {}

local function may_put_back()
  return known ~= generation and not begun()
end

-- Makes room for a lease that is to hold its locks; false when it must not.
local function room_for(lease)
  local losers, taken = {}, {}
  for _, lock in ipairs(lease[LOCKS]) do
    local name, _, mine = unpack(lock)
    local how, token = held(name)
    if how and token > mine then
      return false
    elseif how and token < mine then
      taken[#taken + 1] = name
      for _, number in ipairs(redis.call('ZRANGE', holders_key(name), 0, -1)) do
        losers[number] = true
      end
    end
  end
  for number in pairs(losers) do
    local loser = find_lease(number)
    if loser then
      end_lease(number, loser, names, NOT_RESTORED)
    end
  end
  for _, name in ipairs(taken) do
    -- Of holders that are no leases, nothing is left either.
    redis.call('DEL', holders_key(name))
    redis.call('HDEL', HELD, name)
  end
  return true
end

-- Takes what is left of a lease that is not there out of the locks that it had.
local function let_go(number, lease)
  for _, lock in ipairs(lease[LOCKS]) do
    local _, token = held(lock[1])
    if token == lock[3] then
      vacate(lock[1], number)
      names[#names + 1] = lock[1]
    end
  end
end

local function ended(number, lease)
  local past = ending(number)
  local how = past and past[1] == lease[CLAIM] and past or {0, NOT_RESTORED, '', ''}
  return tell(here, {'ended', number, how[2], how[3], how[4]})
end

local function reassert_session(number, session, left)
  local found = find_session(number)
  if found and found[S_CLAIM] == session[S_CLAIM] and found[S_ATTACHMENT] == session[S_ATTACHMENT] then
    move_here(number, found)
    found[S_ATTACHED], found[S_KEPT] = session[S_ATTACHED], session[S_KEPT]
    return keep_session(number, found)
  elseif found then
    return tell(here, {'session_over', number, session[S_ATTACHMENT], SUPERSEDED})
  elseif not may_put_back() then
    return tell(here, {'session_over', number, session[S_ATTACHMENT], OVER})
  end
  session[S_HOST] = here
  keep_session(number, session)
  redis.call('ZADD', ENDS, whole(now + left), whole(number))
  give(here, session[S_CLAIM], 's' .. whole(number))
end

local function reassert_lease(number, lease, left)
  local found = find_lease(number)
  if found and found[CLAIM] == lease[CLAIM] then
    if found[HOST] ~= here and lives(found[HOST]) then
      return tell(here, {'moved', number})
    end
    take(found[HOST], found[CLAIM])
    found[HOST] = here
    if not room_for(found) then
      return end_lease(number, found, names, NOT_RESTORED)
    end
    return hold(number, found)
  end
  local of_session = lease[SESSION] == 0 or find_session(lease[SESSION])
  if not may_put_back() or not of_session or not room_for(lease) then
    let_go(number, lease)
    return ended(number, lease)
  end
  lease[HOST], lease[KEPT] = here, 0
  hold(number, lease)
  finish_request(lease[REQUEST], {GRANTED, number})
  if lease[SESSION] == 0 then
    redis.call('ZADD', ENDS, whole(now + left), whole(number))
  end
end

function op()
  ensure()
  for _, one in ipairs(args[2]) do
    reassert_session(unpack(one))
  end
  for _, one in ipairs(args[3]) do
    reassert_lease(unpack(one))
  end
  serve(names)
  return true
end
