-- The call of every cache script: what it is given, where things stand, how it fails. Stands first.
--
-- KEYS[1]  the guard    KEYS[2]  <root>, before all keys of the namespace    KEYS[3]  set of all roots in use
-- ARGV[1..3]  the guard's    ARGV[4]  the environment, below    ARGV[5]  `args`; both msgpack
-- ARGV[6]  where an operation says so: bytes of a value
--
-- <root>:c            hash of clears: `all`, `forgotten`, `tagged` (the last clear of any tag). Changed by clears alone,
--                     so that a daemon that is told of its changes learns of nothing else
-- <root>:m            hash: `bytes`, `fill_bytes`, `waiters`, `arrivals`, `cursor`, and the ledger, `L1` and up
-- <root>:t, :tz       hash tag -> its last clear; the same as a sorted set by number
-- <root>:v:<key>      string with a TTL: an entry, see `entry`
-- <root>:h            bytes that no entry has more of; only grows
-- <root>:x, :s        sorted set of keys by the time at which their entries are gone; hash key -> bytes
-- <root>:g:<key>      hash: the flight of a key, see `flight`
-- <root>:p:<key>      string: what has come of its value
-- <root>:w:<key>      sorted set: the line, <daemon>|<incarnation>|<ticket> by arrival
-- <root>:l, :due      hash lease -> key; sorted set of leases by their end
-- <root>:o            sorted set of keys whose flights are open, by since when
-- <root>:e            sorted set of leases that have ended: msgpack {lease, how, ...} by lease
-- <root>:f, :fz       hash key -> msgpack {until, code, message}: failures remembered; sorted set by `until`
-- <root>:n            sorted set of locks by the highest fencing token seen; `fenced` in <root>:m is the highest one forgotten
-- <root>:d:<flight>   string with a TTL: how a flight ended, for those who waited
--
-- Result   a list: msgpack of {ok = {now, payload}} and after it values as `values` holds them; or, nothing
--          changed, msgpack of {error = {code, number}}
--
-- Atomic, because Redis runs a script whole; and a script fails before it writes anything but what time has
-- brought anyway.

local root, spaces = KEYS[2], KEYS[3]
local generation = ARGV[1]
local who = ARGV[2] .. '|' .. ARGV[3]:match('^%d+')
local e, args = cmsgpack.unpack(ARGV[4]), cmsgpack.unpack(ARGV[5])
local now = store_time()

local env = {
  max_value = e[1], max_leases = e[2], max_waiters = e[3], max_fill = e[4], max_failures = e[5],
  max_tags = e[6], max_namespaces = e[7], max_sent = e[8], namespace = e[9], mailbox = e[10],
  max_fences = e[11],
}

local META, CLEARS, TAGS, TAGS_BY = root .. ':m', root .. ':c', root .. ':t', root .. ':tz'
local INDEX, SIZES, LARGEST = root .. ':x', root .. ':s', root .. ':h'
local LEASES, DUE, OPEN, ENDED = root .. ':l', root .. ':due', root .. ':o', root .. ':e'
local FAILED, FAILED_BY = root .. ':f', root .. ':fz'
local FENCES = root .. ':n'

-- How a lease ends, and how an end is kept: lost for a reason, filled or failed.
local EXPIRED, DEADLINE, GIVEN_UP, DELETED, CLEARED, REPLACED, UNKNOWN = 0, 1, 2, 3, 4, 5, 6
local LOST, FILLED, BROKEN = 0, 1, 2
-- Which stale entries a caller takes, and whether it waits.
local NEVER, REVALIDATE = 0, 1
local NO_WAIT = 0

-- Values that leave apart from the payload.
local values = {}

local function fail(code, number)
  error({fail = {code, number or 0}})
end

local function meta(field)
  return tonumber(redis.call('HGET', META, field) or '0')
end

local function publish(daemon, message)
  redis.call('PUBLISH', env.mailbox .. daemon, cmsgpack.pack(message))
end
