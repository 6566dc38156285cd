-- Flights: keys that are being computed. A flight is a hash of
--
--   id         the number of its first lease
--   gen        the generation of the store in which it began; in another it is void
--   lease      the lease that is held; 0: none, the flight is open to the first in line
--   holder     <daemon>|<incarnation> through which the lease was last granted or renewed
--   ttl, expires, deadline, stale   the holder's options
--   size, crc  what has come of the value
--   round      how often the computation has begun again, `reason` why, `since` when
--   w:<daemon>|<incarnation>        how many calls of a daemon wait
--
-- Whoever ends a lease without a value opens the flight and tells the daemons in line. Each looks, and the first
-- one in line takes the lease; one behind it may pass it after a while, so a stalled daemon delays a line and
-- does not block it. What is due is carried out when a flight is loaded.

local NUMBERS = {'id', 'lease', 'ttl', 'expires', 'deadline', 'stale', 'size', 'crc', 'round', 'reason', 'since'}
-- How long each daemon ahead in line has to take an open flight, in us; and after how long anybody may.
local TURN, ANYBODY = 50000, 1000000
local LANDED_MS = 120000

local function flight_key(key)
  return root .. ':g:' .. key
end

local function parts_key(key)
  return root .. ':p:' .. key
end

local function line_key(key)
  return root .. ':w:' .. key
end

local function landed_key(id)
  return root .. ':d:' .. whole(id)
end

-- Whether a daemon lives, by its <daemon>|<incarnation>.
local function lives(whom)
  local daemon, life = whom:match('^(.*)|(%d+)$')
  local stamp = daemon and redis.call('HGET', KEYS[1], 'm:' .. daemon)
  return stamp and stamp:match('^%d+') == life
end

local function note_end(lease, how, ...)
  redis.call('ZADD', ENDED, whole(lease), cmsgpack.pack({lease, how, ...}))
  redis.call('ZREMRANGEBYRANK', ENDED, 0, -1025)
end

-- {lease, how, ...} of a lease that has ended, as long as it is remembered.
local function ended(lease)
  local found = redis.call('ZRANGEBYSCORE', ENDED, whole(lease), whole(lease))
  return found[1] and cmsgpack.unpack(found[1]) or {lease, LOST, UNKNOWN}
end

local function end_lease(flight, ...)
  if flight.lease > 0 then
    redis.call('HDEL', LEASES, whole(flight.lease))
    redis.call('ZREM', DUE, whole(flight.lease))
    note_end(flight.lease, ...)
  end
end

local function drop_parts(key, flight)
  if flight.size > 0 then
    redis.call('HINCRBY', META, 'fill_bytes', -flight.size)
    redis.call('UNLINK', parts_key(key))
  end
end

-- The flight is over, its line gone.
local function drop_flight(key, flight)
  drop_parts(key, flight)
  redis.call('ZREM', OPEN, key)
  local waiters = redis.call('ZCARD', line_key(key))
  if waiters > 0 then
    redis.call('HINCRBY', META, 'waiters', -waiters)
  end
  redis.call('UNLINK', flight_key(key), line_key(key))
  return waiters
end

-- Tells every daemon in line that there is something to see.
local function tell(key, flight)
  for daemon in pairs(flight.daemons) do
    publish(daemon:match('^(.*)|'), {'flight', env.namespace, key, flight.id})
  end
end

-- Takes the calls of daemons that do not live out of the line; tells whether anybody is left.
local function prune(key, flight)
  for daemon in pairs(flight.daemons) do
    if not lives(daemon) then
      for _, member in ipairs(redis.call('ZRANGE', line_key(key), 0, -1)) do
        if member:sub(1, #daemon + 1) == daemon .. '|' then
          redis.call('ZREM', line_key(key), member)
          redis.call('HINCRBY', META, 'waiters', -1)
        end
      end
      redis.call('HDEL', flight_key(key), 'w:' .. daemon)
      flight.daemons[daemon] = nil
    end
  end
  return next(flight.daemons) ~= nil
end

-- Ends a lease without a value. The flight if somebody waits, else nil.
local function restart(key, flight, reason)
  end_lease(flight, LOST, reason)
  if not prune(key, flight) then
    drop_flight(key, flight)
    return nil
  end
  drop_parts(key, flight)
  flight.lease, flight.size, flight.crc = 0, 0, 0
  flight.round, flight.reason, flight.since = flight.round + 1, reason, now
  redis.call('HSET', flight_key(key), 'lease', 0, 'size', 0, 'crc', 0,
    'round', flight.round, 'reason', reason, 'since', whole(now))
  redis.call('ZADD', OPEN, whole(now), key)
  tell(key, flight)
  return flight
end

local function due_of(flight)
  return math.min(flight.expires, flight.deadline)
end

-- Why the lease of a flight is over, if it is.
local function over(flight)
  if flight.lease <= tonumber(redis.call('HGET', CLEARS, 'all') or '0') then
    return CLEARED
  elseif now >= due_of(flight) then
    return flight.deadline <= flight.expires and DEADLINE or EXPIRED
  elseif not lives(flight.holder) then
    return GIVEN_UP
  end
end

-- The flight of a key, all that is due carried out.
local function load(key)
  local fields = redis.call('HGETALL', flight_key(key))
  if #fields == 0 then
    return nil
  end
  local flight = {daemons = {}}
  for i = 1, #fields, 2 do
    local daemon = fields[i]:match('^w:(.*)$')
    if daemon then
      flight.daemons[daemon] = tonumber(fields[i + 1])
    else
      flight[fields[i]] = fields[i + 1]
    end
  end
  for _, name in ipairs(NUMBERS) do
    flight[name] = tonumber(flight[name])
  end
  if flight.gen ~= generation then
    end_lease(flight, LOST, UNKNOWN)
    drop_flight(key, flight)
    return nil
  end
  if flight.lease == 0 then
    if prune(key, flight) then
      return flight
    end
    drop_flight(key, flight)
    return nil
  end
  local reason = over(flight)
  if reason then
    return restart(key, flight, reason)
  end
  return flight
end

-- The key and flight of a lease that is held; else nil and its end.
local function held(lease)
  local key = redis.call('HGET', LEASES, whole(lease))
  local flight = key and load(key)
  if flight and flight.lease == lease then
    return key, flight
  end
  return nil, ended(lease)
end

-- Carries out what is due of leases whose daemons do not look, `most` of them.
local function end_due(most)
  local due = redis.call('ZRANGEBYSCORE', DUE, '-inf', whole(now), 'LIMIT', 0, most)
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', DUE, '(' .. whole(now), '+inf', 'LIMIT', 0, most)) do
    due[#due + 1] = lease
  end
  for _, lease in ipairs(due) do
    local key = redis.call('HGET', LEASES, lease)
    if not key or not load(key) then
      redis.call('HDEL', LEASES, lease)
      redis.call('ZREM', DUE, lease)
    end
  end
end

local looked_for_room = false

-- Whether there is room for a lease; looks once in a call whether some are over.
local function room_for_lease()
  if redis.call('HLEN', LEASES) >= env.max_leases and not looked_for_room then
    looked_for_room = true
    end_due(64)
  end
  return redis.call('HLEN', LEASES) < env.max_leases
end

-- A lease of a key, in its open flight or in a new one. `options` is {ttl, deadline, stale}.
local function grant(key, flight, options)
  local lease = mint(KEYS[1], 0)
  local expires, deadline = now + options[1], now + options[2]
  local due = math.min(expires, deadline)
  redis.call('ZREM', OPEN, key)
  if not flight then
    redis.call('HSET', flight_key(key), 'id', whole(lease), 'gen', generation, 'size', 0, 'crc', 0,
      'round', 0, 'reason', 0, 'since', 0)
  end
  redis.call('HSET', flight_key(key), 'lease', whole(lease), 'holder', who, 'ttl', whole(options[1]),
    'expires', whole(expires), 'deadline', whole(deadline), 'stale', options[3])
  redis.call('HSET', LEASES, whole(lease), key)
  redis.call('ZADD', DUE, whole(due), whole(lease))
  return {lease, due - now, deadline - now}
end

-- A flight has ended: whoever waits finds out how under its id.
local function land(key, flight, packed)
  if next(flight.daemons) then
    redis.call('SET', landed_key(flight.id), packed, 'PX', LANDED_MS)
    tell(key, flight)
  end
  return drop_flight(key, flight)
end

-- Takes a call of this daemon out of a line.
local function leave(key, ticket)
  if redis.call('ZREM', line_key(key), who .. '|' .. ticket) == 1 then
    redis.call('HINCRBY', META, 'waiters', -1)
    if redis.call('HINCRBY', flight_key(key), 'w:' .. who, -1) <= 0 then
      redis.call('HDEL', flight_key(key), 'w:' .. who)
    end
  end
end
