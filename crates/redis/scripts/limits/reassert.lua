-- Tells a store that may have lost data what the caller last saw of buckets and reservations.
--
-- args     {views, reservations}
--            views: {{limit, key, spec, level, at}, ...}; no slots
--            reservations: {{id, until, {{limit, key, amount, spec, at}, ...}}, ...}
-- payload  how many buckets were lowered
--
-- A bucket comes to what the store held when the generation began or any daemon saw last, whichever is less,
-- each refilled since, less what was spent in this generation. So repeats and what several daemons tell of one
-- bucket count once: `<root>:witnessed`, see `losses`, has that lower one. What does not fit the bounds
-- is passed over: nothing may hold up the calls behind this one.

local WINDOW, CALENDAR = 2, 3

local function same_place(entry, b)
  b.place = entry.place
  return b
end

-- The bucket as it was seen, at the present.
local function seen(spec, level, at)
  if spec[1] == CALENDAR then
    local b = bucket.holding(spec, level, now)
    return b.from <= at and b or bucket.full(spec, now)
  end
  local b = bucket.holding(spec, level, math.min(at, now))
  bucket.advance(b, now)
  return b
end

-- The bucket, of the limit in force, for a charge that the caller knows; nil where there is no room.
local function place(name, key, spec)
  local limit = store.limit(name)
  if not limit then
    if redis.call('HLEN', root .. ':limits') >= env.max_limits then
      return nil
    end
    limit = store.make_limit(name, spec, INLINE)
  end
  local entry = store.entry(limit, key)
  if not entry.b then
    if tonumber(redis.call('HGET', root .. ':counts', 'buckets') or '0') >= env.max_buckets then
      return nil
    end
    entry.b = bucket.full(store.spec_for(limit, key), now, entry.place)
  end
  return entry
end

local function lower(name, key, spec, level, at)
  local view = seen(spec, level, at)
  if bucket.is_full(view) then
    return 0
  end
  local entry = place(name, key, spec)
  if not entry or bucket.holds_slots(entry.b) then
    return 0
  end
  if not same(entry.b.spec, spec) then
    view = bucket.respec(view, entry.b.spec, KEEP_AMOUNT, now)
    bucket.advance(view, now)
  end
  local held = env.lost and losses.witnessed(entry) or entry.b
  local lacks = bucket.available(held) - bucket.available(view)
  if env.lost then
    losses.keep(entry, same_place(entry, lacks > 0 and view or held))
  end
  if env.lost and losses.is_awaited(entry) then
    entry.paused, entry.dirty, entry.freed = 0, true, true
    line.serve({entry})
  end
  if lacks <= 0 then
    return 0
  end
  bucket.take(entry.b, lacks, spec[1] == WINDOW and math.min(at, now) or now)
  entry.dirty = true
  return 1
end

local function hold(id, til, list)
  if til <= now or reservations.open_until(id) >= til or not reservations.has_room() then
    return
  end
  local taken = {}
  for _, charge in ipairs(list) do
    local entry = place(charge[1], charge[2], charge[4])
    if entry then
      taken[#taken + 1] = {
        limit = entry.limit.name, life = entry.limit.life, key = entry.key, amount = charge[3],
        slots = bucket.holds_slots(entry.b), at = charge[5], hold = id,
      }
      entry.dirty = entry.dirty or bucket.holds_slots(entry.b)
    end
  end
  reservations.reassert(id, til, taken)
end

function op()
  local lowered = 0
  for _, view in ipairs(args[1]) do
    lowered = lowered + lower(unpack(view))
  end
  for _, reservation in ipairs(args[2]) do
    hold(unpack(reservation))
  end
  return lowered
end
