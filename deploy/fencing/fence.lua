-- A fence for a Redis value of your own: a write by a holder that has lost its lock changes nothing.
--
-- KEYS[1]  the value; its fence is kept in KEYS[1] .. ":fence", so give both one hash tag in a cluster: {name}
-- ARGV[1]  the token, LockGrant.locks[].token: an integer below 2^53, which Lua holds exactly
-- ARGV[2]  the new value
-- Returns 1 when it was written, 0 when the token is stale: stop, and do not try again.
-- Atomic because Redis runs a script alone. Do not let the fence expire or be evicted before the last holder of
-- an old token is gone.
local fence = KEYS[1] .. ":fence"
local seen = tonumber(redis.call("GET", fence) or "0")
local token = tonumber(ARGV[1])
if token < seen then
    return 0
end
redis.call("SET", fence, ARGV[1])
redis.call("SET", KEYS[1], ARGV[2])
return 1
