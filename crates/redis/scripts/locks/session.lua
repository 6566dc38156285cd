-- Sessions: leases that live and end together, on a stream that may break and come back.
--
-- A session is {claim, ttl, owner, on break: 0 keep, 1 release, attachment, attached 0|1, host, kept}; `kept` as of
-- leases.

local S_CLAIM, S_TTL, S_OWNER, S_BREAK, S_ATTACHMENT, S_ATTACHED, S_HOST, S_KEPT = 1, 2, 3, 4, 5, 6, 7, 8

local function leases_of(session)
  return redis.call('SMEMBERS', root .. ':sl:' .. whole(session))
end

local function tickets_of(session)
  return redis.call('SMEMBERS', root .. ':sw:' .. whole(session))
end

local function find_session(number)
  local record = redis.call('HGET', SESSIONS, whole(number))
  return record and cmsgpack.unpack(record)
end

local function keep_session(number, session)
  redis.call('HSET', SESSIONS, whole(number), cmsgpack.pack(session))
end

-- The session of a claim; fails with what has become of it.
local function session_of(number, claim)
  local session = find_session(number)
  if not session or session[S_CLAIM] ~= claim then
    gone(number, claim)
    fail('SESSION_CLOSED')
  end
  return session
end

-- The session of a key that is not void.
local function attached(number, claim, attachment)
  local session = session_of(number, claim)
  if session[S_ATTACHMENT] ~= attachment then
    fail('SUPERSEDED')
  elseif session[S_ATTACHED] == 0 then
    fail('BROKEN')
  end
  return session
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

-- Refuses one more lease, session or waiting call above the bound.
local function admit_lease()
  local count = redis.call('HLEN', LEASES) + redis.call('HLEN', SESSIONS) + redis.call('HLEN', WAITERS)
  if count >= env.max_leases then
    fail('TOO_MANY_LEASES', count)
  end
end
