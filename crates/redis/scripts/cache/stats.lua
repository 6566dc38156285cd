-- Adds what a daemon has counted to the ledger, and tells what the namespace keeps.
--
-- args     {{count, ...}}: decimal text, in the order of the ledger
-- Payload  {entries, bytes, leases, waiters, {count, ...}}: counts as text
--
-- Atomic, because what is added must be in what is told.

local function op()
  local counts = args[1]
  for i, count in ipairs(counts) do
    -- Without room for the namespace there is none for its ledger.
    if count ~= '0' and pcall(ensure) then
      -- A sum that would not fit stays where it is.
      redis.pcall('HINCRBY', META, 'L' .. i, count)
    end
  end
  local ledger = {}
  for i = 1, #counts do
    ledger[i] = redis.call('HGET', META, 'L' .. i) or '0'
  end
  local leases = redis.call('ZCOUNT', DUE, '(' .. whole(now), '+inf')
  return {redis.call('ZCARD', INDEX), meta('bytes'), leases, meta('waiters'), ledger}
end
