-- Limits and buckets: finding, making, keeping and dropping them.
--
-- Records are values packed one behind the other: to unpack them as an array would cost five times as much.
--
-- <root>:limits        hash: name -> {source, life, version, spec, overrides, dropped, changes,
--                      sharing}
-- <root>:names         zset: names in byte order
-- <root>:buckets:<life>  hash: key -> {paused, filled, version, waited, lease, spec, fields of its kind}
-- <root>:keys:<life>   zset: keys in byte order
-- <root>:overrides:<life>:<version>  hash: key -> spec
-- <root>:over:<life>   hash: key -> units admitted above the limit; see `store.over`
-- <root>:pins          hash: life -> charges of reservations that may still owe; an inline limit stays for them
-- <root>:counts        hash: buckets, life, arrivals, sweep state
--
-- `life`, the text of a time, distinguishes a limit from a deleted one of the same name. A change of spec costs
-- the same however many keys there are: it is noted in `changes` ({version, at, policy, spec, overrides}), and a
-- bucket is brought through those that it has not seen when it is next looked at, as of the time they were made.
-- A bucket that is idle and full is as good as none, so a full one is written by its first charge only.

store.limits, store.entries, store.order, store.unused = {}, {}, {}, {}

local function limits_key()
  return root .. ':limits'
end

local function buckets_key(life)
  return root .. ':buckets:' .. life
end

local function keep_limit(name, record)
  local limit = false
  if record then
    local source, life, version, spec, overrides, dropped, changes, sharing = cmsgpack.unpack(record)
    limit = {
      name = name, source = source, life = life, version = version, spec = spec, overrides = overrides,
      dropped = dropped, changes = changes, sharing = sharing, buckets = buckets_key(life),
    }
  end
  store.limits[name] = limit
  return limit
end

function store.limit(name)
  local limit = store.limits[name]
  if limit == nil then
    limit = keep_limit(name, redis.call('HGET', limits_key(), name))
  end
  return limit
end

-- Reads the limits of several charges in one command, as far as they are not known.
function store.read_limits(list)
  local names = {}
  for _, charge in ipairs(list) do
    if store.limits[charge[1]] == nil then
      names[#names + 1] = charge[1]
    end
  end
  if #names > 1 then
    for i, record in ipairs(redis.call('HMGET', limits_key(), unpack(names))) do
      keep_limit(names[i], record)
    end
  end
end

-- The limit that a charge was taken from; false when it was deleted since.
function store.limit_of(taken)
  local limit = store.limit(taken.limit)
  return limit and limit.life == taken.life and limit
end

local fresh_limits, last_life = 0, 0

local function write_limit(limit)
  if limit.fresh then
    limit.fresh = false
    redis.call('SADD', spaces, env.namespace)
    redis.call('ZADD', root .. ':names', 0, limit.name)
    redis.call('HSET', root .. ':counts', 'life', whole(last_life))
  end
  limit.dirty = false
  redis.call('HSET', limits_key(), limit.name, cmsgpack.pack(
    limit.source, limit.life, limit.version, limit.spec, limit.overrides, limit.dropped, limit.changes,
    limit.sharing
  ))
end

-- Makes a limit; it is written when something of it is.
function store.make_limit(name, spec, source)
  local count = redis.call('HLEN', limits_key()) + fresh_limits
  if count >= env.max_limits then
    fail('TOO_MANY_LIMITS', NONE, count)
  end
  if count == 0 and redis.call('SISMEMBER', spaces, env.namespace) == 0 then
    local others = redis.call('SCARD', spaces)
    if others >= env.max_namespaces then
      fail('TOO_MANY_NAMESPACES', NONE, others)
    end
  end
  fresh_limits = fresh_limits + 1
  local last = tonumber(redis.call('HGET', root .. ':counts', 'life') or '0')
  last_life = math.max(last, last_life, now) + 1
  local life = whole(last_life)
  local limit = {
    name = name, source = source, life = life, version = 1, spec = spec, overrides = 0, dropped = 0,
    changes = {}, sharing = AUTO, fresh = true, buckets = buckets_key(life),
  }
  store.limits[name] = limit
  return limit
end

local function overrides_key(limit, version)
  return root .. ':overrides:' .. limit.life .. ':' .. whole(version)
end

-- The spec of a limit for one key, at present or as of a change.
function store.spec_for(limit, key, change)
  local version = change and change[5] or limit.overrides
  if version ~= 0 then
    local spec = redis.call('HGET', overrides_key(limit, version), key)
    if spec then
      return cmsgpack.unpack(spec)
    end
  end
  return change and change[4] or limit.spec
end

local function keys_key(limit)
  return root .. ':keys:' .. limit.life
end

function store.bucket_count(limit)
  return redis.call('HLEN', limit.buckets)
end

-- What an entry's bucket is under another spec. An idle full one is as good as none: what it becomes must
-- not depend on when it would be swept.
function store.under(entry, spec, policy, time)
  if entry.waited == 0 and entry.paused <= time and bucket.is_full(entry.b) then
    return bucket.full(spec, time, entry.place)
  end
  local b = bucket.respec(entry.b, spec, policy, time)
  -- A shorter period may be over for what is counted.
  bucket.advance(b, time)
  return b
end

-- Puts an entry's bucket under another spec.
function store.respec(entry, spec, policy, time)
  local former = entry.b
  entry.b = store.under(entry, spec, policy, time)
  if bucket.holds_slots(former) and not bucket.holds_slots(entry.b) then
    slots.forget(former)
  end
  if policy == REFILL then
    entry.filled = time
  end
  entry.dirty, entry.freed = true, true
end

-- Makes an entry's bucket full by decree: what was charged before is forgiven.
function store.refill(entry, time)
  if bucket.holds_slots(entry.b) then
    slots.forget(entry.b)
  end
  entry.b = bucket.full(entry.b.spec, time, entry.place)
  entry.paused, entry.filled, entry.dirty, entry.freed = 0, time, true, true
end

-- Brings a bucket through the changes of its limit that it has not seen.
function store.catch_up(entry)
  local limit = entry.limit
  if not entry.b then
    return
  end
  for _, change in ipairs(limit.changes) do
    if change[1] > entry.version then
      bucket.advance(entry.b, change[2])
      if change[3] == REFILL_ALL then
        store.refill(entry, change[2])
      else
        store.respec(entry, store.spec_for(limit, entry.key, change), change[3], change[2])
      end
    end
  end
  entry.version, entry.dirty = limit.version, true
end

-- The bucket of a limit for a key, at the present; `entry.b` is false when there is none.
function store.entry(limit, key)
  local place = limit.life .. '|' .. key
  local entry = store.entries[place]
  if entry then
    return entry
  end
  entry = {
    limit = limit, key = key, place = place, b = false, paused = 0, filled = limit.dropped,
    version = limit.version, waited = 0, lease = false,
  }
  store.entries[place] = entry
  store.order[#store.order + 1] = entry
  local record = not limit.fresh and redis.call('HGET', limit.buckets, key)
  if env.lost then
    entry.found = record or ''
  end
  if record then
    local lease
    entry.paused, entry.filled, entry.version, entry.waited, lease, entry.b = bucket.unpack(record, place)
    entry.kept = true
    if entry.version < limit.version then
      store.catch_up(entry)
    end
    local changed = false
    if lease then
      entry.lease = leases.unpack(lease)
      entry.b.open, entry.b.open_til = lease[1], lease[3]
      changed = lease[2] > 0 and lease[2] <= now
      if changed then
        leases.close_due(entry)
      end
    end
    if bucket.advance(entry.b, now) or changed then
      -- At once: it stands although the call may still fail.
      store.write_entry(entry)
    end
  end
  return entry
end

-- The entry that a call wants. Its limit exists: deleting one ends those who wait for it.
function store.entry_of(want)
  want.entry = want.entry or store.entry(store.limit(want.limit), want.key)
  return want.entry
end

-- Makes the bucket when there is none.
function store.make(entry)
  if not entry.b and env.lost then
    losses.make(entry)
  elseif not entry.b then
    entry.b = bucket.full(store.spec_for(entry.limit, entry.key), now, entry.place)
  end
end

function store.write_entry(entry)
  local limit, b = entry.limit, entry.b
  if limit.fresh then
    write_limit(limit)
  end
  if not entry.kept then
    entry.kept = true
    redis.call('ZADD', keys_key(limit), 0, entry.key)
    redis.call('HINCRBY', root .. ':counts', 'buckets', 1)
  end
  local lease = entry.lease and leases.pack(entry.lease)
  local record = bucket.pack(entry.paused, entry.filled, entry.version, entry.waited, lease, b)
  redis.call('HSET', limit.buckets, entry.key, record)
  entry.dirty = false
end

-- Whether an entry is as good as none.
function store.is_idle_and_full(entry)
  return not entry.b
    or (bucket.is_full(entry.b) and entry.waited == 0 and entry.paused <= now and leases.open(entry) == 0)
end

local function is_forgiven(entry, taken)
  return entry.filled > taken.at and not bucket.holds_slots(entry.b)
end

-- Gives back up to `amount` units of a charge. Returns how many.
function store.give_back(entry, amount, taken)
  if is_forgiven(entry, taken) then
    return 0
  end
  entry.dirty, entry.freed = true, true
  return bucket.give_back(entry.b, amount, taken.hold, taken.at)
end

-- Gives back a charge that was never used. Returns how many units.
function store.take_back(entry, taken)
  if is_forgiven(entry, taken) then
    return 0
  end
  entry.dirty, entry.freed = true, true
  return bucket.take_back(entry.b, taken.amount, taken.hold, taken.at)
end

local function may_hold_slots(limit)
  local may = limit.spec[1] == 4 or limit.overrides ~= 0
  for _, change in ipairs(limit.changes) do
    may = may or change[4][1] == 4 or change[5] ~= 0
  end
  return may
end

-- Forgets a limit and its buckets; nobody waits for them any more.
function store.remove_limit(limit)
  local life = limit.life
  if may_hold_slots(limit) then
    for _, key in ipairs(redis.call('HKEYS', limit.buckets)) do
      slots.forget({place = life .. '|' .. key})
    end
  end
  redis.call('HINCRBY', root .. ':counts', 'buckets', 0 - store.bucket_count(limit))
  redis.call('HDEL', limits_key(), limit.name)
  redis.call('ZREM', root .. ':names', limit.name)
  redis.call('HDEL', root .. ':pins', life)
  leases.forget_limit(limit)
  local gone = {limit.buckets, keys_key(limit), root .. ':over:' .. limit.life}
  if limit.overrides ~= 0 then
    gone[#gone + 1] = overrides_key(limit, limit.overrides)
  end
  for _, change in ipairs(limit.changes) do
    if change[5] ~= 0 then
      gone[#gone + 1] = overrides_key(limit, change[5])
    end
  end
  redis.call('UNLINK', unpack(gone))
  store.limits[limit.name] = false
  limit.dirty, store.removed = false, true
  for _, entry in ipairs(store.order) do
    if entry.limit == limit then
      entry.b, entry.dirty = false, false
    end
  end
end

-- Forgets an inline limit that has no bucket and owes none.
local function drop_unused(limit)
  if limit.source == INLINE and store.limits[limit.name] == limit and store.bucket_count(limit) == 0
    and redis.call('HEXISTS', root .. ':pins', limit.life) == 0 then
    store.remove_limit(limit)
  end
end

-- Forgets a bucket, and its limit with the last bucket of an inline one.
function store.remove_bucket(entry)
  local limit = entry.limit
  if bucket.holds_slots(entry.b) then
    slots.forget(entry.b)
  end
  if entry.lease then
    leases.forget(entry)
  end
  redis.call('HDEL', limit.buckets, entry.key)
  redis.call('ZREM', keys_key(limit), entry.key)
  redis.call('HDEL', root .. ':over:' .. limit.life, entry.key)
  redis.call('HINCRBY', root .. ':counts', 'buckets', -1)
  entry.b, entry.dirty, entry.kept = false, false, false
  if entry.filled > limit.dropped then
    limit.dropped, limit.dirty = entry.filled, true
  end
  store.unused[#store.unused + 1] = limit
end

local function over_key(limit)
  return root .. ':over:' .. limit.life
end

-- Units that were admitted above an entry's limit, as far as merges have shown, since it was last as good as none.
function store.over(entry)
  return tonumber(redis.call('HGET', over_key(entry.limit), entry.key) or '0')
end

function store.add_over(entry, units)
  redis.call('HINCRBY', over_key(entry.limit), entry.key, whole(units))
end

-- Keeps the limits of these charges until they are unpinned.
function store.pin(taken, by)
  for _, charge in ipairs(taken) do
    local limit = store.limit_of(charge)
    if limit then
      local life = limit.life
      local pins = redis.call('HINCRBY', root .. ':pins', life, by)
      if pins <= 0 then
        redis.call('HDEL', root .. ':pins', life)
        store.unused[#store.unused + 1] = limit
      end
    end
  end
end

-- Looks at some buckets and drops those that are idle and full.
local function make_room()
  for _, name in ipairs(redis.call('HRANDFIELD', limits_key(), 4)) do
    local limit = store.limit(name)
    for _, key in ipairs(limit and redis.call('HRANDFIELD', limit.buckets, 32) or {}) do
      local entry = store.entry(limit, key)
      if entry.kept and store.is_idle_and_full(entry) then
        store.remove_bucket(entry)
      end
    end
  end
end

-- Makes sure that `more` buckets fit below the bound.
function store.check_room(more)
  local function count()
    return tonumber(redis.call('HGET', root .. ':counts', 'buckets') or '0')
  end
  if count() + more > env.max_buckets then
    make_room()
    if count() + more > env.max_buckets then
      fail('TOO_MANY_BUCKETS')
    end
  end
end

-- Forgets the namespace when nothing of it is left.
function store.drop_namespace()
  for _, kind in ipairs({':limits', ':waiters', ':reservations', ':requests', ':merged', ':enders'}) do
    if redis.call('HLEN', root .. kind) > 0 then
      return
    end
  end
  redis.call('SREM', spaces, env.namespace)
  redis.call('DEL', root .. ':counts', root .. ':calendars', root .. ':pins', root .. ':witnessed')
end

-- Writes what has changed.
function store.commit()
  if env.lost and losses.in_grace() then
    losses.witness()
  end
  for i = 1, #store.order do
    local entry = store.order[i]
    if entry.dirty and entry.b then
      if entry.freed and entry.lease then
        leases.freed(entry)
      end
      store.write_entry(entry)
    end
  end
  for _, limit in pairs(store.limits) do
    if limit and limit.dirty then
      write_limit(limit)
    end
  end
  for _, limit in ipairs(store.unused) do
    drop_unused(limit)
  end
  if store.removed then
    store.drop_namespace()
  end
end

