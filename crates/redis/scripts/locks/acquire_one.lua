-- Takes one exclusive lock for a session that this daemon has the care of, or puts the call in line: the first call of
-- those that have no request id. See `one`; for all others, and at any bound, `acquire` decides.
--
-- Payload  {granted = lease as told} | {waiting = {place, ticket}}

do
  local claim, of, ttl, owner, value, request, locks, wait, again = unpack(args)
  local name = #locks == 1 and locks[1][2] == EXCLUSIVE and locks[1][1]
  local record = of and name and not request and again < 0 and redis.call('HGET', SESSIONS, whole(of[1]))
  local session = record and cmsgpack.unpack(record) or {}
  local secret, lasts, _, _, attachment, attached, host = unpack(session)
  local is_usual = secret and secret == of[2] and attachment == of[3] and attached == 1 and host == here and begun()
    and redis.call('ZCARD', NAMES) < env.max_locks
  if is_usual then
    local waiting = redis.call('HLEN', WAITERS)
    local has_room = redis.call('HLEN', LEASES) + redis.call('HLEN', SESSIONS) + waiting < env.max_leases
    local line = root .. ':q:' .. name
    local lease = {claim, of[1], ttl, owner, value, now, false, here, {}, locks}
    local is_held = redis.call('HEXISTS', HELD, name) == 1
    if has_room and not is_held and redis.call('EXISTS', line, WATCHES) == 0 then
      local number = hold_one(lease, name)
      redis.call('ZADD', NAMES, 0, name)
      redis.call('SADD', HOSTS, here)
      return answer({granted = {number, lease, lasts}})
    elseif has_room and is_held and wait > 0 and waiting < env.max_waiters then
      local behind = redis.call('ZCARD', line) + 1
      local ticket = mint(KEYS[1], env.floor)
      local text = whole(ticket)
      redis.call('HSET', WAITERS, text, cmsgpack.pack(lease))
      redis.call('ZADD', line, text, text)
      redis.call('ZADD', root .. ':x:' .. name, text, text)
      redis.call('SADD', root .. ':sw:' .. whole(of[1]), text)
      give(here, claim, 'w' .. text)
      return answer({waiting = {behind, ticket}})
    end
  end
end
