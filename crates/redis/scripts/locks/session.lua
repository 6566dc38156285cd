-- What becomes of sessions: they move, end, and take their leases and calls along. See `attached`.

local function leases_of(session)
  return redis.call('SMEMBERS', root .. ':sl:' .. whole(session))
end

local function tickets_of(session)
  return redis.call('SMEMBERS', root .. ':sw:' .. whole(session))
end

local function renew(number, session)
  redis.call('ZADD', ENDS, whole(now + session[S_TTL]), whole(number))
end

-- Gives this daemon the care of a session and all its leases.
local function move_here(number, session)
  for _, lease_number in ipairs(leases_of(number)) do
    local lease = find_lease(lease_number)
    if lease and lease[HOST] ~= here then
      take(lease[HOST], lease[CLAIM])
      lease[HOST] = here
      keep_lease(lease_number, lease)
      give(here, lease[CLAIM], 'l' .. lease_number)
    end
  end
  if session[S_HOST] ~= here then
    take(session[S_HOST], session[S_CLAIM])
    session[S_HOST] = here
    give(here, session[S_CLAIM], 's' .. whole(number))
  end
end

-- The leases of a session, as a daemon is told of them.
local function views_of(number)
  local views = {}
  for _, lease_number in ipairs(leases_of(number)) do
    local lease = find_lease(lease_number)
    if lease then
      views[#views + 1] = view(tonumber(lease_number), lease)
    end
  end
  return views
end

-- Ends a session and its leases; how many.
local function end_session(number, session, how, why)
  local names, count = {}, 0
  -- Its own calls first, so that none of them is let in.
  turn_away(tickets_of(number), names, why)
  for _, lease_number in ipairs(leases_of(number)) do
    local lease = find_lease(lease_number)
    if lease then
      end_lease(lease_number, lease, names, how)
      count = count + 1
    end
  end
  redis.call('HDEL', SESSIONS, whole(number))
  redis.call('ZREM', ENDS, whole(number))
  take(session[S_HOST], session[S_CLAIM])
  note_end(number, session[S_CLAIM], how)
  tell(session[S_HOST], {'session_over', number, session[S_ATTACHMENT], why})
  serve(names)
  return count
end
