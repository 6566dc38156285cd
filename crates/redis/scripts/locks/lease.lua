-- Leases: how they are made, kept and ended, and how their locks are handed on.
--
-- A lease is {claim, session or 0, ttl, owner, value, since, request, host, kept, locks}; `locks` are {lock, mode,
-- token}, in order. A ticket is the same but for `joined` in the place of `kept`, the {claim, host} of repeats that
-- joined it, and locks without tokens. A value is in hexadecimal digits. `kept` counts renewals that its host has not made from
-- memory. The host alone times the lease, and ends it only as of a count that it knows.

local CLAIM, SESSION, TTL, OWNER, VALUE, SINCE, REQUEST, HOST, KEPT, LOCKS = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local JOINED = KEPT

local function find_lease(number)
  local record = redis.call('HGET', LEASES, whole(number))
  return record and cmsgpack.unpack(record)
end

local function keep_lease(number, lease)
  redis.call('HSET', LEASES, whole(number), cmsgpack.pack(lease))
end

-- What a claim of this daemon has, also in an earlier life: "" for nothing, and the host.
local function claimed(claim)
  local what = redis.call('HGET', host_key(here), claim)
  if what then
    return what, here
  end
  for _, host in ipairs(redis.call('SMEMBERS', HOSTS)) do
    if host:sub(1, #me + 1) == me .. '|' then
      what = redis.call('HGET', host_key(host), claim)
      if what then
        return what, host
      end
    end
  end
  return '', here
end

-- When a lease ends unless it is kept alive, as far as the store was told.
local function ends(number, lease)
  local whose = lease[SESSION] ~= 0 and lease[SESSION] or number
  return math.max(tonumber(redis.call('ZSCORE', ENDS, whole(whose)) or '0'), now + 1)
end

-- A lease as a daemon is told of it.
local function view(number, lease)
  return {number, lease, ends(number, lease) - now}
end

-- The same of a lease that was granted just now.
local function granted_view(number, lease)
  return lease[SESSION] == 0 and {number, lease, lease[TTL]} or view(number, lease)
end

-- When the leases in the way of a call end, unless they are kept alive.
local function ready_at(locks, arrival)
  local last = now + 1
  for _, lock in ipairs(locks) do
    if not admits(lock[1], lock[2], arrival) then
      for _, number in ipairs(redis.call('ZRANGE', holders_key(lock[1]), 0, -1)) do
        local lease = find_lease(number)
        last = lease and math.max(last, ends(number, lease)) or last
      end
    end
  end
  return last
end

-- Makes a lease hold its locks, each under the token given or, where there is none, as it is held or under `minted`.
local function hold(number, lease, minted)
  for i, lock in ipairs(lease[LOCKS]) do
    local name, mode, token = unpack(lock)
    local how, of = held(name)
    token = token or (how and of) or minted
    if not how then
      redis.call('HSET', HELD, name, mode .. '|' .. whole(token))
    end
    redis.call('ZADD', NAMES, 0, name)
    redis.call('ZADD', holders_key(name), whole(number), whole(number))
    lease[LOCKS][i] = {name, mode, token}
    changed(name)
  end
  keep_lease(number, lease)
  give(lease[HOST], lease[CLAIM], 'l' .. whole(number))
  if lease[SESSION] ~= 0 then
    redis.call('SADD', root .. ':sl:' .. whole(lease[SESSION]), whole(number))
  end
end

-- Makes a lease over locks that admit it; its number.
local function grant(lease, again)
  local number = mint(KEYS[1], env.floor)
  lease[SINCE], lease[KEPT] = now, 0
  hold(number, lease, number)
  if lease[SESSION] == 0 then
    redis.call('ZADD', ENDS, whole(now + lease[TTL]), whole(number))
  end
  finish_request(lease[REQUEST], {GRANTED, number}, again)
  return number
end

-- Takes a holder out of a lock, into which nobody is let yet.
local function vacate(name, number)
  redis.call('ZREM', holders_key(name), whole(number))
  if redis.call('EXISTS', holders_key(name)) == 0 then
    redis.call('HDEL', HELD, name)
    unuse_free(name)
  end
  changed(name)
end

-- Ends a lease, tells its host, and adds its locks, which nobody has been let into yet, to `names`.
local function end_lease(number, lease, names, how, reason, actor)
  number = tonumber(number)
  redis.call('HDEL', LEASES, whole(number))
  redis.call('ZREM', ENDS, whole(number))
  take(lease[HOST], lease[CLAIM])
  if lease[SESSION] ~= 0 then
    redis.call('SREM', root .. ':sl:' .. whole(lease[SESSION]), whole(number))
  end
  note_end(number, lease[CLAIM], how, reason, actor)
  tell(lease[HOST], {'ended', number, how, reason or '', actor or ''})
  for _, lock in ipairs(lease[LOCKS]) do
    vacate(lock[1], number)
    names[#names + 1] = lock[1]
  end
end

local function find_waiter(ticket)
  local record = redis.call('HGET', WAITERS, whole(ticket))
  return record and cmsgpack.unpack(record)
end

local function keep_waiter(ticket, waiter)
  redis.call('HSET', WAITERS, whole(ticket), cmsgpack.pack(waiter))
end

-- Takes a call out of its lines.
local function leave(ticket, waiter)
  redis.call('HDEL', WAITERS, whole(ticket))
  for _, lock in ipairs(waiter[LOCKS]) do
    redis.call('ZREM', line_key(lock[1]), whole(ticket))
    redis.call('ZREM', writers_key(lock[1]), whole(ticket))
    unuse(lock[1])
  end
  if waiter[SESSION] ~= 0 then
    redis.call('SREM', root .. ':sw:' .. whole(waiter[SESSION]), whole(ticket))
  end
  take(waiter[HOST], waiter[CLAIM])
  for _, other in ipairs(waiter[JOINED]) do
    take(other[2], other[1])
  end
end

-- Tells all callers of a call that has left its lines: the message's second part is to be their claim.
local function tell_callers(waiter, kind, ...)
  tell(waiter[HOST], {kind, waiter[CLAIM], ...})
  for _, other in ipairs(waiter[JOINED]) do
    tell(other[2], {kind, other[1], ...})
  end
end

-- Grants a waiting call if nothing is in its way; tells whether it is out of line.
local function let_in(ticket)
  local waiter = find_waiter(ticket)
  if not waiter then
    return true
  elseif not lives(waiter[HOST]) then
    -- Its callers are gone with their daemon; repeats elsewhere ask again.
    leave(ticket, waiter)
    forget_request(waiter[REQUEST])
    for _, other in ipairs(waiter[JOINED]) do
      tell(other[2], {'gone', other[1]})
    end
    return true
  elseif not admits_all(waiter[LOCKS], tonumber(ticket)) then
    return false
  end
  leave(ticket, waiter)
  local joined = waiter[JOINED]
  local number = grant(waiter, #joined > 0)
  local shown = granted_view(number, waiter)
  tell(waiter[HOST], {'granted', waiter[CLAIM], shown})
  for _, other in ipairs(joined) do
    tell(other[2], {'granted', other[1], shown})
  end
  return true
end

-- Lets in whoever has come to the head of these lines. Costs what it grants, and one look more.
local function serve(names)
  if not begun() then
    return
  end
  for _, name in ipairs(names) do
    local after = '-inf'
    while held(name) ~= EXCLUSIVE do
      local next = redis.call('ZRANGEBYSCORE', line_key(name), after, '+inf', 'LIMIT', 0, 1)[1]
      if not next then
        break
      end
      local alone = redis.call('ZSCORE', writers_key(name), next)
      if not let_in(next) and alone then
        -- Whoever comes behind a call that wants it alone waits for that call.
        break
      end
      after = '(' .. next
    end
  end
end

-- Turns calls away that wait, for a reason; adds the locks that they awaited to `names`.
local function turn_away(tickets, names, why)
  for _, ticket in ipairs(tickets) do
    local waiter = find_waiter(ticket)
    if waiter then
      leave(ticket, waiter)
      forget_request(waiter[REQUEST])
      tell_callers(waiter, 'refused', why)
      for _, lock in ipairs(waiter[LOCKS]) do
        names[#names + 1] = lock[1]
      end
    end
  end
end
