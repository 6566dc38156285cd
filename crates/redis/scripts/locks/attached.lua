-- Sessions: leases that live and end together, on a stream that may break and come back.
--
-- A session is {claim, ttl, owner, on break: 0 keep, 1 release, attachment, attached 0|1, host, kept}; `kept` as of
-- leases.

local S_CLAIM, S_TTL, S_OWNER, S_BREAK, S_ATTACHMENT, S_ATTACHED, S_HOST, S_KEPT = 1, 2, 3, 4, 5, 6, 7, 8

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

-- Refuses one more lease, session or waiting call above the bound.
local function admit_lease()
  local count = redis.call('HLEN', LEASES) + redis.call('HLEN', SESSIONS) + redis.call('HLEN', WAITERS)
  if count >= env.max_leases then
    fail('TOO_MANY_LEASES', count)
  end
end
