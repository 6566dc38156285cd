-- Gives leases up whose callers are gone, and takes calls out of lines.
--
-- args     {leases, {{key, ticket}, ...}}
-- Payload  true
--
-- Atomic, because a lease given up goes on to the next in line, which must still be one.

local function op()
  for _, place in ipairs(args[2]) do
    leave(place[1], place[2])
  end
  for _, lease in ipairs(args[1]) do
    local key, flight = held(lease)
    if key then
      restart(key, flight, GIVEN_UP)
    end
  end
  return true
end
