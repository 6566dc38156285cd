-- Forgets an entry and a failure of its key.
--
-- args     {key, condition: see `meets`}
-- Payload  "gone" | "absent" | {mismatch = version or 0}
--
-- Atomic, because the condition must hold when the entry goes, and because a lease of the key ends with it: what it
-- would still bring is older than the delete.

local function op()
  local key, condition = unpack(args)
  local holds, actual = meets(key, condition)
  if not holds then
    return {mismatch = actual}
  end
  local found = find(key)
  drop_entry(key)
  forget_failure(key)
  local flight = load(key)
  if flight and flight.lease > 0 then
    restart(key, flight, DELETED)
  end
  return found and 'gone' or 'absent'
end
