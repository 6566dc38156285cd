-- The call of every locks script: what it is given, where things stand, how it fails. Stands first.
--
-- KEYS[1]  the guard    KEYS[2]  <root>, before all keys of the namespace    KEYS[3]  set of all namespaces in use
-- KEYS[4]  the grace, see `grace.lua`
-- ARGV[1..3]  the guard's    ARGV[4]  `env`    ARGV[5]  `args`; both msgpack
--
-- <root>:k            hash lock -> "<mode>|<token>" while it is held
-- <root>:o:<lock>     sorted set: the leases that hold it, by number
-- <root>:q:<lock>     sorted set: the tickets that await it, by arrival; <root>:x:<lock> the exclusive ones alone
-- <root>:n            sorted set of the locks in use, in byte order
-- <root>:l            hash lease -> msgpack, see `lease`      <root>:w  hash ticket -> msgpack, see `line`
-- <root>:s            hash session -> msgpack, see `attached`
-- <root>:sl:<session> set of its leases                       <root>:sw:<session>  set of its tickets
-- <root>:e            sorted set: leases with a life of their own and sessions by their end. Only shown: nothing ends by it
-- <root>:h:<host>     hash claim -> "l<lease>", "w<ticket>", "j<ticket>" or "s<session>": what a daemon has the care of
-- <root>:hosts        set of hosts, "<daemon>|<incarnation>", that have or had the care of something
-- <root>:r, :rz       requests, see `requests`                <root>:x, :xz  what has ended, see `ended`
-- <root>:d:<lock>     hash host -> watches of a lock          <root>:dt  hash host -> its watches in all
--
-- Result   msgpack of {ok = {payload, told}}, where `told` is what the caller's daemon is told besides; or,
--          nothing changed, of {error = {code, number, text}}
--
-- A number names a lease, a ticket or a session. It is minted, so none comes twice in any history, and the number of a
-- grant is its token. A claim is the secret, 32 hexadecimal digits, by which a daemon knows what it asked for.
--
-- Atomic, because Redis runs a script whole; and a script fails before it writes anything but what time has
-- brought anyway.

local root, spaces, GRACE = KEYS[2], KEYS[3], KEYS[4]
local generation, me = ARGV[1], ARGV[2]
local here = me .. '|' .. ARGV[3]:match('^%d+')
-- {max_locks, max_leases, max_waiters, max_watchers, max_request_ids, window, max_namespaces, namespace, base, mailbox,
-- floor, lost}, by name; `lost` is 1 where something may have been held before this generation that the store does not
-- know, else 0.
local env, args = cmsgpack.unpack(ARGV[4]), cmsgpack.unpack(ARGV[5])
local now = store_time()

local HELD, NAMES, LEASES, WAITERS = root .. ':k', root .. ':n', root .. ':l', root .. ':w'
local SESSIONS, ENDS, HOSTS = root .. ':s', root .. ':e', root .. ':hosts'
local REQUESTS, REQUESTS_BY, ENDED, ENDED_BY = root .. ':r', root .. ':rz', root .. ':x', root .. ':xz'
local WATCHES = root .. ':dt'

local EXCLUSIVE, SHARED = 0, 1
-- How a lease or session ended.
local RELEASED, EXPIRED, FORCED, NOT_RESTORED = 0, 1, 2, 3
-- Why a call that waits is turned away.
local SUPERSEDED, BROKEN, CLOSED, OVER = 0, 1, 2, 3

local op

-- Ends the call with an error; nothing has been changed.
local function fail(code, number, text)
  error({fail = {code, number or 0, text or ''}})
end

-- What daemons are told, the caller's among them.
local told, told_here = {}, {}

-- Tells a host, or whoever has its place by now.
local function tell(host, message)
  if host == here then
    told_here[#told_here + 1] = message
    return
  end
  local daemon = host:match('^(.*)|')
  told[daemon] = told[daemon] or {}
  table.insert(told[daemon], message)
end

-- Tells who is to be told, and makes the answer.
local function answer(payload)
  for daemon, messages in pairs(told) do
    redis.call('PUBLISH', env.mailbox .. daemon, cmsgpack.pack({'locks', env.namespace, messages}))
  end
  return cmsgpack.pack({ok = {payload, told_here}})
end

-- Whether a daemon lives, by its "<daemon>|<incarnation>".
local function lives(host)
  if host == here then
    return true
  end
  local daemon, life = host:match('^(.*)|(%d+)$')
  local stamp = redis.call('HGET', KEYS[1], 'm:' .. daemon)
  return stamp and stamp:match('^%d+') == life
end

local function host_key(host)
  return root .. ':h:' .. host
end

-- Gives a host the care of something.
local function give(host, claim, what)
  redis.call('HSET', host_key(host), claim, what)
  redis.call('SADD', HOSTS, host)
end

local function take(host, claim)
  redis.call('HDEL', host_key(host), claim)
end

-- Grants have begun: nobody can hold anything that the store does not know.
local function begun()
  return env.lost == 0 or redis.call('HGET', GRACE, 'over') == generation
end
