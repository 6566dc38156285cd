-- Who holds each lock and who awaits it, who watches it, and what became of what is gone; see `ended`.
--
-- A lock that is neither held nor awaited is in no key.

local function holders_key(name)
  return root .. ':o:' .. name
end

local function line_key(name)
  return root .. ':q:' .. name
end

local function writers_key(name)
  return root .. ':x:' .. name
end

-- Mode and token under which a lock is held; nil while it is free.
local function held(name)
  local found = redis.call('HGET', HELD, name)
  if found then
    local mode, token = found:match('^(%d)|(%d+)$')
    return tonumber(mode), tonumber(token)
  end
end

local function is_holder(name, number)
  return redis.call('ZSCORE', holders_key(name), whole(number)) ~= false
end

-- The first in a line of a lock, and its arrival. A ticket whose call was taken by hand from under it is nobody's.
local function first_in(line, name)
  while true do
    local first = redis.call('ZRANGE', line, 0, 0, 'WITHSCORES')
    if not first[1] or redis.call('HEXISTS', WAITERS, first[1]) == 1 then
      return first[1], tonumber(first[2])
    end
    redis.call('ZREM', line_key(name), first[1])
    redis.call('ZREM', writers_key(name), first[1])
  end
end

-- Whether a call may hold a lock now: neither a holder nor an earlier call is in its way. One without an arrival
-- comes after all.
local function admits(name, mode, arrival)
  local how = held(name)
  if how and not (how == SHARED and mode == SHARED) then
    return false
  end
  local line = mode == SHARED and writers_key(name) or line_key(name)
  local first, came = first_in(line, name)
  return not first or (arrival ~= nil and came >= arrival)
end

local function admits_all(locks, arrival)
  for _, lock in ipairs(locks) do
    if not admits(lock[1], lock[2], arrival) then
      return false
    end
  end
  return true
end

-- The place, from 1, of a call in the longest of its lines; without an arrival the place behind all.
local function place(locks, arrival)
  local longest = 0
  for _, lock in ipairs(locks) do
    local line = line_key(lock[1])
    local ahead = arrival and redis.call('ZCOUNT', line, '-inf', '(' .. whole(arrival)) or redis.call('ZCARD', line)
    longest = math.max(longest, ahead)
  end
  return longest + 1
end

-- Takes a lock out of use that nobody holds, unless somebody awaits it.
local function unuse_free(name)
  if redis.call('EXISTS', line_key(name)) == 0 then
    redis.call('ZREM', NAMES, name)
  end
end

-- Takes a lock out of use that nobody uses any more.
local function unuse(name)
  if redis.call('HEXISTS', HELD, name) == 0 then
    unuse_free(name)
  end
end

-- Tells those who watch a lock that its holders have changed.
local function changed(name)
  if redis.call('EXISTS', WATCHES) == 0 then
    return
  end
  for _, host in ipairs(redis.call('HKEYS', root .. ':d:' .. name)) do
    tell(host, {'changed', name})
  end
end

-- {claim, how, reason, actor} of what has ended, as long as it is remembered.
local function ending(number)
  local record = redis.call('HGET', ENDED, whole(number))
  local at = record and redis.call('ZSCORE', ENDED_BY, whole(number))
  return at and tonumber(at) + env.window > now and cmsgpack.unpack(record) or nil
end

-- Fails with what has become of a lease or session that is not there, unless its holder ended it.
local function gone(number, claim)
  local past = ending(number)
  if not past or past[1] ~= claim then
    fail('LEASE_NOT_FOUND')
  elseif past[2] ~= RELEASED then
    fail('LEASE_LOST', past[2], past[2] == FORCED and past[4] .. ': ' .. past[3] or '')
  end
end
