-- What the caller of a repeat is told whose own time is over while the call that it has joined still waits.
--
-- args     {rpc, id}
-- payload  {outcome, data, states}; QUEUED when the call does not wait any more: its answer can be asked for

function op()
  local w = requests.waiter(args[1], args[2])
  if not w then
    return {QUEUED, false, {}}
  end
  local _, states = charges.refusal(w.wants, w.priority)
  -- A repeat joins it again: it stands behind those before it, not behind itself.
  local wait = 1
  for _, want in ipairs(w.wants) do
    local entry = store.entry_of(want)
    wait = math.max(wait, bucket.ready_at(entry.b, want.amount, now) - now, entry.paused - now)
  end
  return {TIMED_OUT, {wait, queue.position(w)}, states}
end
