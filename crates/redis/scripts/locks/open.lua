-- Opens a session, or attaches to one.
--
-- args     {claim, ttl, owner, on break} to open, {claim, session} to attach
-- Payload  {session, session as it is, us until it ends, its leases as told}
--
-- Atomic, because two streams that attach must not both believe that they are the last.

local function attach(claim, number)
  local session = session_of(number, claim)
  local names = {}
  turn_away(tickets_of(number), names, SUPERSEDED)
  tell(session[S_HOST], {'session_over', number, session[S_ATTACHMENT], SUPERSEDED})
  session[S_ATTACHMENT], session[S_ATTACHED] = session[S_ATTACHMENT] + 1, 1
  move_here(number, session)
  keep_session(number, session)
  renew(number, session)
  serve(names)
  return {number, session, session[S_TTL], views_of(number)}
end

function op()
  if #args == 2 then
    return attach(args[1], args[2])
  end
  ensure()
  admit_lease()
  local claim, ttl, owner, on_break = unpack(args)
  local number = mint(KEYS[1], env.floor)
  local session = {claim, ttl, owner, on_break, 1, 1, here, 0}
  keep_session(number, session)
  renew(number, session)
  give(here, claim, 's' .. whole(number))
  return {number, session, ttl, {}}
end
