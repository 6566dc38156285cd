-- Keeps an entry.
--
-- args     {key, condition: see `meets`, entry: see `header`}
-- ARGV[6]  its content
-- Payload  {stored = version} | {mismatch = version or 0}
-- Fails    STALE_FENCE (the lowest token that passes)
--
-- Atomic, because the condition must hold when the entry is kept, and because a lease of the key ends with it.

local function op()
  local key, condition, new = unpack(args)
  check_fence(new[10])
  ensure()
  note_fence(new[10])
  local holds, actual = meets(key, condition)
  if not holds then
    return {mismatch = actual}
  end
  local flight = load(key)
  local version = mint(KEYS[1], 0)
  local head = header(new, version, version)
  local packed = sealed(FORMAT, head) .. ARGV[6]
  keep(key, head, packed)
  forget_failure(key)
  if flight then
    end_lease(flight, LOST, REPLACED)
    land(key, flight, packed)
  end
  return {stored = version}
end
