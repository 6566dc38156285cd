-- Keeps, closes, breaks or ends a session.
--
-- args     {what: 0 keep, 1 close, 2 break, 3 end: it was not kept alive in time, session, claim, attachment,
--          renewals in the store that the caller knows of, to end it}
-- Payload  keep: {renewals, its leases as told} | close: how many leases have ended | break, end: 0
--
-- Its host ends it, and nobody else. Atomic, because none of its calls may be let in once it is over, and because
-- what it held goes on to the next in the same step.

local KEEP, CLOSE, BREAK = 0, 1, 2

function op()
  local what, number, claim, attachment, kept = unpack(args)
  if what == KEEP then
    local session = attached(number, claim, attachment)
    move_here(number, session)
    session[S_KEPT] = session[S_KEPT] + 1
    keep_session(number, session)
    renew(number, session)
    return {session[S_KEPT], views_of(number)}
  elseif what == CLOSE then
    return end_session(number, attached(number, claim, attachment), RELEASED, CLOSED)
  end
  local session = find_session(number)
  if not session or session[S_CLAIM] ~= claim or session[S_ATTACHMENT] ~= attachment then
    return 0
  elseif what ~= BREAK then
    if session[S_HOST] == here and session[S_KEPT] == kept then
      end_session(number, session, EXPIRED, OVER)
    end
  elseif session[S_BREAK] == 1 then
    end_session(number, session, RELEASED, CLOSED)
  else
    session[S_ATTACHED] = 0
    keep_session(number, session)
    local names = {}
    turn_away(tickets_of(number), names, BROKEN)
    serve(names)
  end
  return 0
end
