-- Slots. A bucket is {spec, held, place}; who holds them until when stands in two keys of the bucket:
-- <root>:holds:<place> (zset: reservation by the end of its hold) and <root>:held:<place> (hash:
-- reservation -> slots). Mirrors `core/src/limits/slots.rs`.
--
-- spec: {4, slots}

function slots.of(spec, place, held)
  return {spec = spec, place = place, held = held}
end

function slots.fields(b)
  return b.held
end

local function holds(b)
  return root .. ':holds:' .. b.place
end

local function amounts(b)
  return root .. ':held:' .. b.place
end

function slots.capacity(spec)
  return spec[2]
end

function slots.new(spec)
  return {spec = spec, held = 0}
end

function slots.respec(b, spec)
  return {spec = spec, held = b.held, place = b.place}
end

-- Frees all slots of a hold. Returns how many; 0 when it has none here.
function slots.release(b, hold)
  local amount = tonumber(redis.call('HGET', amounts(b), hold) or '0')
  if amount > 0 then
    redis.call('HDEL', amounts(b), hold)
    redis.call('ZREM', holds(b), hold)
    b.held = b.held - amount
  end
  return amount
end

-- Frees what has ended by itself. Tells whether anything has.
function slots.advance(b, time)
  if b.held == 0 then
    return false
  end
  local over = redis.call('ZRANGEBYSCORE', holds(b), '-inf', whole(time))
  for _, hold in ipairs(over) do
    slots.release(b, hold)
  end
  return #over > 0
end

function slots.forget(b)
  redis.call('DEL', holds(b), amounts(b))
  b.held = 0
end

function slots.available(b)
  return b.spec[2] - b.held
end

function slots.ready_at(b, need, time, kept)
  local available = slots.available(b) - kept
  if available >= need then
    return time
  end
  if need >= available + b.held then
    local last = redis.call('ZRANGE', holds(b), -1, -1, 'WITHSCORES')
    return last[2] and tonumber(last[2]) or time
  end
  local ready, from = time, 0
  while available < need do
    local some = redis.call('ZRANGE', holds(b), from, from + 63, 'WITHSCORES')
    if #some == 0 then
      break
    end
    for i = 1, #some, 2 do
      available = available + tonumber(redis.call('HGET', amounts(b), some[i]))
      ready = tonumber(some[i + 1])
      if available >= need then
        break
      end
    end
    from = from + 64
  end
  return ready
end

function slots.take(b, amount, _, hold, til)
  redis.call('HINCRBY', amounts(b), hold, whole(amount))
  redis.call('ZADD', holds(b), whole(til), hold)
  b.held = b.held + amount
end

function slots.counts_with_newest()
  return true
end

function slots.give_back(b, amount, hold)
  local has = tonumber(redis.call('HGET', amounts(b), hold) or '0')
  local freed = math.min(amount, has)
  if freed == has then
    return slots.release(b, hold)
  end
  redis.call('HINCRBY', amounts(b), hold, whole(-freed))
  b.held = b.held - freed
  return freed
end

-- Moves the end of a hold; nothing happens when it has no slots here.
function slots.renew(b, hold, til)
  redis.call('ZADD', holds(b), 'XX', whole(til), hold)
end

function slots.lower_to()
end

