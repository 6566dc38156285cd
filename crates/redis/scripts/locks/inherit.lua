-- Takes over what daemons have left behind that do not live any more, a part of it at a time.
--
-- args     {most}
-- Payload  whether there may be more. What this daemon has the care of now is told: {"yours", lease} and
--          {"your_session", session, session as it is}
--
-- Leases and sessions get their TTL anew, by the heir's clock: the dead daemon may have acknowledged a renewal until
-- shortly before it was declared dead. Its calls that wait are over. Atomic, because one daemon alone must time each.

local names = {}

local function inherit(host, claim, what)
  local kind, number = what:sub(1, 1), tonumber(what:sub(2))
  take(host, claim)
  if kind == 'w' then
    local waiter = find_waiter(number)
    if waiter and waiter[HOST] == host then
      leave(number, waiter)
      forget_request(waiter[REQUEST])
      for _, other in ipairs(waiter[JOINED]) do
        tell(other[2], {'gone', other[1]})
      end
      for _, lock in ipairs(waiter[LOCKS]) do
        names[#names + 1] = lock[1]
      end
    end
  elseif kind == 'l' then
    local lease = find_lease(number)
    if lease and lease[HOST] == host then
      lease[HOST] = here
      keep_lease(number, lease)
      give(here, claim, what)
      tell(here, {'yours', view(number, lease)})
    end
  elseif kind == 's' then
    local session = find_session(number)
    if session and session[S_HOST] == host then
      session[S_HOST], session[S_ATTACHED] = here, 0
      keep_session(number, session)
      give(here, claim, what)
      tell(here, {'your_session', number, session})
    end
  end
end

function op()
  local left = args[1]
  for _, host in ipairs(redis.call('SMEMBERS', HOSTS)) do
    if not lives(host) then
      local found = redis.call('HSCAN', host_key(host), 0, 'COUNT', left)[2]
      for i = 1, #found, 2 do
        inherit(host, found[i], found[i + 1])
      end
      left = left - #found / 2
      if redis.call('EXISTS', host_key(host)) == 0 then
        redis.call('SREM', HOSTS, host)
      end
      if left <= 0 then
        break
      end
    end
  end
  serve(names)
  return left <= 0
end
