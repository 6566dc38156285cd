-- After a loss: what a generation began with, what daemons tell of it, and what nobody knows. Used only while
-- `env.lost`.
--
-- <root>:witnessed  hash: place -> the record of a bucket as the generation found it, '' for none, or as a daemon
--                   has told since, if less; `generation`: of which. Kept for a while after a loss

-- For how long what a generation began with is kept apart from what was spent since.
local WITNESSED_FOR = 60000000
-- What a bucket counts as that nobody has told of: full, full once the daemons have had time to tell, or empty.
local AWAITED, EMPTY = 1, 2

local function witnessed_key()
  return root .. ':witnessed'
end

function losses.in_grace()
  return now < env.lost + WITNESSED_FOR
end

-- Keeps what a generation has begun with of the buckets that change, before anything is spent of them in it, and
-- what was told of them.
function losses.witness()
  local generation = whole(env.lost)
  if redis.call('HGET', witnessed_key(), 'generation') ~= generation then
    redis.call('DEL', witnessed_key())
    redis.call('HSET', witnessed_key(), 'generation', generation)
  end
  for _, entry in ipairs(store.order) do
    if entry.told then
      redis.call('HSET', witnessed_key(), entry.place, entry.told)
    elseif entry.dirty and entry.b then
      redis.call('HSETNX', witnessed_key(), entry.place, entry.found)
    end
  end
end

-- A bucket that nobody knows, full where nothing is lost.
function losses.unknown(entry, spec)
  if env.after_loss == EMPTY and entry.limit.dropped < env.lost then
    local b = spec[1] == 3 and bucket.holding(spec, 0, now) or bucket.holding(spec, 0, env.lost)
    if spec[1] == 3 and b.from > env.lost then
      b.used = 0
    end
    b.place = entry.place
    bucket.advance(b, now)
    return b
  end
  return bucket.full(spec, now, entry.place)
end

-- Whether a bucket is held back until the daemons have had time to tell of it.
function losses.is_awaited(entry)
  return env.after_loss == AWAITED and entry.paused == env.lost + env.settle and entry.paused > now
end

-- The lower of what the generation began with and what was told since, at the present; nil when it is not known.
function losses.witnessed(entry)
  if not losses.in_grace() then
    return nil
  end
  local known = redis.call('HGET', witnessed_key(), 'generation') == whole(env.lost)
  local record = entry.told or (known and redis.call('HGET', witnessed_key(), entry.place)) or entry.found
  local spec, b = entry.b.spec, nil
  if record == '' then
    b = entry.kept and losses.unknown(entry, spec) or bucket.full(spec, now, entry.place)
  else
    b = select(6, bucket.unpack(record, entry.place))
  end
  bucket.advance(b, now)
  if not same(b.spec, spec) then
    b = bucket.respec(b, spec, KEEP_AMOUNT, now)
  end
  return b
end

function losses.keep(entry, b)
  if losses.in_grace() then
    entry.told = bucket.pack(0, 0, 0, 0, false, b)
  end
end

-- Makes a bucket that nobody knows.
function losses.make(entry)
  entry.b = losses.unknown(entry, store.spec_for(entry.limit, entry.key))
  if env.after_loss == AWAITED and now < env.lost + env.settle then
    entry.paused = env.lost + env.settle
  end
end
