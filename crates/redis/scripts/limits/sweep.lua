-- The housekeeping of a namespace: forgets what is over, drops idle full buckets, brings buckets through
-- the changes of their limits, and takes the waiting calls of dead daemons out of the lines.
--
-- args     {budget}
-- payload  {limits, buckets, waiters, reservations, request_ids, more}; more: this round is not over

local counts = root .. ':counts'
-- For so long a batch of what was spent apart may be sent again.
local REMEMBERED = 24 * 3600 * 1000000

-- The life that a daemon has in the store; nil when it has none.
local function life_of(daemon)
  local stamp = redis.call('HGET', KEYS[1], 'm:' .. daemon)
  return stamp and stamp:match('^(%d+)')
end

-- Daemons without a session, and former lives of those that have one: their calls are nobody's.
local function bury(budget)
  for _, daemon in ipairs(redis.call('HKEYS', root .. ':waiting')) do
    local life = life_of(daemon)
    for _, ticket in ipairs(redis.call('SMEMBERS', root .. ':tickets:' .. daemon)) do
      local w = budget > 0 and ticket:match('^(%d+)') ~= life and line.waiter(ticket)
      if w then
        budget = budget - 1
        requests.forget(w.request)
        line.serve(line.leave(w))
      end
    end
  end
  for _, daemon in ipairs(redis.call('HKEYS', root .. ':stalled')) do
    if redis.call('HEXISTS', root .. ':waiting', daemon) == 0 then
      redis.call('HDEL', root .. ':stalled', daemon)
    end
  end
end

-- Forgets ends that nobody will fetch: of daemons without a session, and of former lives of the others.
local function forget_ends()
  for _, daemon in ipairs(redis.call('HKEYS', root .. ':enders')) do
    local life, ended = life_of(daemon), root .. ':ended:' .. daemon
    for _, ticket in ipairs(redis.call('HKEYS', ended)) do
      if ticket:match('^(%d+)') ~= life then
        redis.call('HDEL', ended, ticket)
      end
    end
    if redis.call('EXISTS', ended) == 0 then
      redis.call('HDEL', root .. ':enders', daemon)
    end
  end
end

-- Forgets merged batches that nobody can send again.
local function forget_merged()
  local all = redis.call('HGETALL', root .. ':merged')
  for i = 1, #all, 2 do
    if tonumber(all[i + 1]) + REMEMBERED <= now then
      redis.call('HDEL', root .. ':merged', all[i])
    end
  end
end

-- Every bucket has seen the changes that there were when the round began.
local function trim_changes(limit, version)
  local kept = {}
  for _, change in ipairs(limit.changes) do
    if change[1] > version then
      kept[#kept + 1] = change
    elseif change[5] ~= 0 and change[5] ~= limit.overrides then
      redis.call('UNLINK', root .. ':overrides:' .. limit.life .. ':' .. whole(change[5]))
    end
  end
  if #kept < #limit.changes then
    limit.changes, limit.dirty = kept, true
  end
end

local function visit(limit, key)
  local entry = store.entry(limit, key)
  if entry.lease then
    leases.tidy(entry)
  end
  if entry.kept and store.is_idle_and_full(entry) then
    store.remove_bucket(entry)
  end
end

-- Goes on where the last sweep of buckets ended. Tells whether there is more.
local function sweep_buckets(budget)
  local at = redis.call('HMGET', counts, 'sweep_name', 'sweep_cursor', 'sweep_version')
  local name, cursor, version = at[1] or '', at[2] or '0', tonumber(at[3] or '0')
  while budget > 0 do
    local limit = name ~= '' and store.limit(name)
    if not limit or cursor == '0' then
      name = redis.call('ZRANGEBYLEX', root .. ':names', name ~= '' and '(' .. name or '-', '+',
        'LIMIT', 0, 1)[1]
      if not name then
        redis.call('HDEL', counts, 'sweep_name', 'sweep_cursor', 'sweep_version')
        return false
      end
      limit, cursor = store.limit(name), '0'
      version = limit.version
    end
    local page = redis.call('HSCAN', root .. ':buckets:' .. limit.life, cursor, 'COUNT', 64)
    cursor = page[1]
    for i = 1, #page[2], 2 do
      visit(limit, page[2][i])
    end
    budget = budget - #page[2] / 2 - 1
    if cursor == '0' then
      trim_changes(limit, version)
      store.unused[#store.unused + 1] = limit
    end
  end
  redis.call('HSET', counts, 'sweep_name', name, 'sweep_cursor', cursor, 'sweep_version',
    whole(version))
  return true
end

function op()
  strict = false
  bury(args[1])
  forget_ends()
  forget_merged()
  if not (env.lost and losses.in_grace()) then
    redis.call('UNLINK', root .. ':witnessed')
  end
  local forgotten = reservations.forget_old(args[1]) + requests.forget_old()
  local more = sweep_buckets(args[1]) or forgotten > 0
  store.commit()
  local kept = {
    redis.call('HLEN', root .. ':limits'),
    tonumber(redis.call('HGET', counts, 'buckets') or '0'),
    redis.call('HLEN', root .. ':waiters'), redis.call('HLEN', root .. ':reservations'),
    redis.call('HLEN', root .. ':requests'),
  }
  store.drop_namespace()
  kept[6] = more
  return kept
end

