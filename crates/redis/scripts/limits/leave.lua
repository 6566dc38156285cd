-- Takes waiting calls out of every line: cancelled, or their time is over.
--
-- args     {{{ticket, how}, ...}}; how: 0 cancelled, 1 timed out
-- payload  {{ticket, gone, outcome, data, states}, ...}; gone: it had ended before

local TIMES_OUT = 1

local function leave(ticket, how)
  local w = line.waiter(ticket)
  if w then
    -- What is due is granted before the deadline that it meets.
    line.review(w)
  end
  if not w or w.gone then
    local ended = redis.call('HGET', root .. ':ended:' .. me, ticket)
    if ended then
      redis.call('HDEL', root .. ':ended:' .. me, ticket)
      results[#results + 1] = cmsgpack.unpack(ended)
    end
    return {ticket, true, 0, false, {}}
  end
  if how ~= TIMES_OUT then
    requests.forget(w.request)
    line.serve(line.leave(w))
    return {ticket, false, 0, false, {}}
  end
  local position = queue.position(w)
  line.serve(line.leave(w))
  local wait, states = charges.refusal(w.wants, w.priority)
  local payload = {TIMED_OUT, {wait, position}, states}
  requests.finish(w.request, payload)
  return {ticket, false, unpack(payload)}
end

function op()
  local left = {}
  for i, one in ipairs(args[1]) do
    left[i] = leave(one[1], one[2])
  end
  return left
end

