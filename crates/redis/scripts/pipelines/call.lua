-- The call of every script of pipelines: what it is given, where things stand, how it fails. Stands first.
--
-- KEYS[1]  the guard    KEYS[2]  <root>, before all keys
-- ARGV[1..3]  the guard's    ARGV[4]  the environment, below    ARGV[5]  `args`; both msgpack
-- ARGV[6..]  where an operation says so: what updates have set, as the daemons write it
--
-- <root>:r      hash <namespace>/<pipeline> -> the record of one that updates have made or changed: msgpack of {version,
--               number of the change, what updates have set | false: it was reset, and is gone}
-- <root>:c      sorted set of the same fields by the number of their last change
-- <root>:gone   the same of those that are gone
-- <root>:n      hash namespace -> pipelines in it that are not gone
-- <root>:m      hash: `forgotten`, the number of the last change that is remembered no more
--
-- A record's version is told to callers and stays with it wherever it is kept; the number of its change is made whenever it is
-- written here. Both come from the tokens, so either rises.
--
-- Result   a list: msgpack of {ok = {now, payload}} and after it `values`; or, nothing changed, msgpack of
--          {error = {code, number}}
--
-- Atomic, because Redis runs a script whole; and a script fails before it writes anything.

local root = KEYS[2]
local e, args = cmsgpack.unpack(ARGV[4]), cmsgpack.unpack(ARGV[5])
local max_namespaces, max_pipelines, max_gone, mailbox = unpack(e)
local now = store_time()

local RECORDS, CHANGES, GONE = root .. ':r', root .. ':c', root .. ':gone'
local COUNTS, META = root .. ':n', root .. ':m'

-- Values that leave apart from the payload.
local values = {}

local function fail(code, number)
  error({fail = {code, number or 0}})
end

-- Version, number of the change, and what is set, of a pipeline; nil where nothing is known of it.
local function find(field)
  local record = redis.call('HGET', RECORDS, field)
  if record then
    return unpack(cmsgpack.unpack(record))
  end
end

-- Of the oldest that are gone no more than the bound are remembered.
local function forget_gone()
  local over = redis.call('ZCARD', GONE) - max_gone
  if over <= 0 then
    return
  end
  local popped = redis.call('ZPOPMIN', GONE, over)
  for i = 1, #popped, 2 do
    redis.call('HDEL', RECORDS, popped[i])
    redis.call('ZREM', CHANGES, popped[i])
  end
  redis.call('HSET', META, 'forgotten', popped[#popped])
end

-- The bound that one more pipeline of a namespace would exceed, if any: code, number.
local function exceeded(namespace)
  local count = tonumber(redis.call('HGET', COUNTS, namespace) or '0')
  if count >= max_pipelines then
    return 'TOO_MANY_PIPELINES', max_pipelines
  end
  if count == 0 and redis.call('HLEN', COUNTS) >= max_namespaces then
    return 'TOO_MANY_NAMESPACES', max_namespaces
  end
end

-- Writes a record under a number of its change; `set` is false for one that is gone.
local function keep(namespace, name, version, number, set)
  local field = namespace .. '/' .. name
  local _, _, was = find(field)
  redis.call('HSET', RECORDS, field, cmsgpack.pack({version, number, set}))
  redis.call('ZADD', CHANGES, whole(number), field)
  if set then
    redis.call('ZREM', GONE, field)
  else
    redis.call('ZADD', GONE, whole(number), field)
  end
  if set and not was then
    redis.call('HINCRBY', COUNTS, namespace, 1)
  elseif was and not set and redis.call('HINCRBY', COUNTS, namespace, -1) <= 0 then
    redis.call('HDEL', COUNTS, namespace)
  end
  forget_gone()
end

-- Tells every daemon that there is a change of this number.
local function tell(number)
  local message = cmsgpack.pack({'pipelines', number})
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    local daemon = field:match('^m:(.*)$')
    if daemon then
      redis.call('PUBLISH', mailbox .. daemon, message)
    end
  end
end
