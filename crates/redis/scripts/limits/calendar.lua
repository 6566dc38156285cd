-- The calendar window. A bucket is {spec, from, til, used}: the period and what was used in it. Mirrors
-- `core/src/limits/calendar.rs`.
--
-- spec: {3, amount, unit, zone}
--
-- Time zones are the daemon's business: it hands in the period that holds the store's time, and
-- <root>:calendars (hash: "unit|zone" -> "from|til") keeps it for all. Where it is missing before anything
-- was changed the script ends with `period` and is called again; later a bucket simply stays in its former
-- period, which admits less, never more.

function calendar.of(spec, place, from, til, used)
  return {spec = spec, place = place, from = from, til = til, used = used}
end

function calendar.fields(b)
  return b.from, b.til, b.used
end

function calendar.capacity(spec)
  return spec[2]
end

for _, period in ipairs(env.periods) do
  redis.call('HSET', root .. ':calendars', period[1] .. '|' .. period[2],
    whole(period[3]) .. '|' .. whole(period[4]))
end

-- The period of a calendar that holds `time`, if it is known.
local function period_around(spec, time)
  local name = spec[3] .. '|' .. spec[4]
  local known = redis.call('HGET', root .. ':calendars', name)
  if known then
    local from, til = known:match('^(%d+)|(%d+)$')
    from, til = tonumber(from), tonumber(til)
    if from <= time and time < til then
      return from, til
    end
  end
  if strict then
    error({period = {spec[3], spec[4]}})
  end
end

function calendar.new(spec, available, time)
  local from, til = period_around(spec, time)
  local used = math.max(spec[2] - available, 0)
  return {spec = spec, from = from or time, til = til or time, used = from and used or spec[2]}
end

function calendar.respec(b, spec, time)
  local from, til = b.from, b.til
  if spec[3] ~= b.spec[3] or spec[4] ~= b.spec[4] then
    from, til = period_around(spec, time)
  end
  return {spec = spec, from = from or time, til = til or time, used = b.used}
end

function calendar.advance(b, time)
  if time >= b.til then
    local from, til = period_around(b.spec, time)
    if from then
      b.from, b.til, b.used = from, til, 0
    end
  end
end

function calendar.available(b)
  return b.spec[2] - b.used
end

function calendar.ready_at(b, need, time, kept)
  local available = calendar.available(b) - kept
  if need <= available then
    return time
  end
  -- Debt is not carried into the next period, so it does not put more periods in between.
  local beyond = need - math.max(available, 0)
  local later = divide(math.min(beyond, WHOLE) - 1, b.spec[2] - kept)
  return math.min(math.max(b.til, time) + later * (b.til - b.from), WHOLE)
end

function calendar.take(b, amount)
  b.used = capped(b.used + amount)
end

function calendar.lend(b, amount)
  calendar.take(b, amount)
end

function calendar.counts_with_newest(b, taken_at)
  return taken_at >= b.from
end

function calendar.give_back(b, amount, _, taken_at)
  if taken_at < b.from then
    return 0
  end
  local given = math.max(math.min(amount, b.used), 0)
  b.used = b.used - given
  return given
end

function calendar.lower_to(b, level)
  b.used = math.max(b.used, b.spec[2] - level)
end

