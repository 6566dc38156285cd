-- Takes locks, all or none, or puts the call in line.
--
-- args     {claim, {session, its claim, attachment} or false, ttl, owner, value, request, {{lock, mode}, ...}, wait in
--          us or -1 to try, again}; `again` is -1 for a first call, else the ticket that it had, 0 when it knows none
-- Payload  {granted = lease as told} | {held = {us until ready, place}} | {timed_out = the same}
--          | {waiting = {place, ticket}}: its end will be told under its claim | "lost"
--
-- A call that is made again finds what it has, or takes its former place. Atomic, because two callers must not both
-- find a lock free, and because whoever joins a line must be in it before the lock is free.

local function as_first(first)
  if first[1] == GRANTED then
    local lease = find_lease(first[2])
    return lease and {granted = view(first[2], lease)} or 'lost'
  end
  local told_then = {math.max(first[2] - now, 1), first[3]}
  return first[1] == HELD_BY and {held = told_then} or {timed_out = told_then}
end

-- Puts a call in the lines of its locks, unless it stands there.
local function stand(waiter, ticket)
  for _, lock in ipairs(waiter[LOCKS]) do
    redis.call('ZADD', line_key(lock[1]), whole(ticket), whole(ticket))
    if lock[2] == EXCLUSIVE then
      redis.call('ZADD', writers_key(lock[1]), whole(ticket), whole(ticket))
    end
    redis.call('ZADD', NAMES, 0, lock[1])
  end
end

-- What a claim has by now; this daemon has the care of it in its present life.
local function has(claim)
  local what, host = claimed(claim)
  local kind, number = what:sub(1, 1), tonumber(what:sub(2))
  local record
  if kind == 'l' then
    record = find_lease(number)
  elseif kind == 'w' or kind == 'j' then
    record = find_waiter(number)
  end
  if not record then
    return nil
  elseif kind ~= 'j' and record[HOST] ~= here then
    take(host, claim)
    record[HOST] = here
    give(here, claim, what)
    local keep = kind == 'l' and keep_lease or keep_waiter
    keep(number, record)
  end
  if kind == 'l' then
    return {granted = view(number, record)}
  end
  stand(record, number)
  return {waiting = {place(record[LOCKS], number), number}}
end

local function admit_locks(locks)
  local count, missing = redis.call('ZCARD', NAMES), 0
  if count + #locks <= env.max_locks then
    return
  end
  for _, lock in ipairs(locks) do
    if not redis.call('ZSCORE', NAMES, lock[1]) then
      missing = missing + 1
    end
  end
  if count + missing > env.max_locks then
    fail('TOO_MANY_LOCKS', count)
  end
end

local function join(waiter, ticket)
  redis.call('HSET', WAITERS, whole(ticket), cmsgpack.pack(waiter))
  stand(waiter, ticket)
  if waiter[SESSION] ~= 0 then
    redis.call('SADD', root .. ':sw:' .. whole(waiter[SESSION]), whole(ticket))
  end
  give(here, waiter[CLAIM], 'w' .. whole(ticket))
  start_request(waiter[REQUEST], ticket)
end

-- A repeat joins the call that waits under its id.
local function join_call(ticket, claim)
  local waiter = find_waiter(ticket)
  table.insert(waiter[JOINED], {claim, here})
  keep_waiter(ticket, waiter)
  give(here, claim, 'j' .. whole(ticket))
  return {waiting = {place(waiter[LOCKS], ticket), ticket}}
end

function op()
  local claim, session, ttl, owner, value, request, locks, wait, again = unpack(args)
  ensure()
  local had = again >= 0 and has(claim)
  if had and had.waiting then
    -- Its line may have been taken by hand, and nobody have seen it when the lock became free.
    local names = {}
    for i, lock in ipairs(locks) do
      names[i] = lock[1]
    end
    serve(names)
  end
  if had then
    return had
  end
  if session then
    attached(session[1], session[2], session[3])
  end
  local known = recall(request)
  if known and known.ticket then
    return join_call(known.ticket, claim)
  elseif known then
    return as_first(known.answer)
  end
  admit_locks(locks)
  admit_lease()
  local arrival = again > 0 and again or nil
  local waiter = {claim, session and session[1] or 0, ttl, owner, value, now, request, here, {}, locks}
  if begun() and admits_all(locks, arrival) then
    local number = grant(waiter)
    return {granted = granted_view(number, waiter)}
  end
  local behind = place(locks, arrival)
  if wait > 0 then
    local waiting = redis.call('HLEN', WAITERS)
    if waiting >= env.max_waiters then
      fail('TOO_MANY_WAITERS', waiting)
    end
    local ticket = arrival or mint(KEYS[1], env.floor)
    join(waiter, ticket)
    return {waiting = {behind, ticket}}
  end
  -- Before grants begin nobody knows what is in the way.
  local ready = begun() and ready_at(locks, arrival) or now + 100000
  finish_request(request, {wait < 0 and HELD_BY or TIMED_OUT, ready, behind})
  local told_now = {ready - now, behind}
  return wait < 0 and {held = told_now} or {timed_out = told_now}
end
