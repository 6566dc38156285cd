-- The token bucket. A bucket is {spec, level, rest, at}: whole units, a fraction in 1/period, and when
-- both were true. `open` units of it are in slices until `open_til`. Mirrors `core/src/limits/rate.rs`.
--
-- spec: {1, amount, period, burst}

function rate.of(spec, place, level, rest, at)
  return {spec = spec, place = place, level = level, rest = rest, at = at}
end

function rate.fields(b)
  return b.level, b.rest, b.at
end

function rate.capacity(spec)
  return spec[4]
end

function rate.new(spec, available, time)
  return {spec = spec, level = math.min(available, spec[4]), rest = 0, at = time}
end

function rate.respec(b, spec)
  local full = b.level >= spec[4]
  return {
    spec = spec,
    level = math.min(b.level, spec[4]),
    rest = full and 0 or (muldiv(b.rest, spec[3], b.spec[3])),
    at = b.at,
  }
end

-- Adds what has been refilled until `time`: exactly floor(amount * elapsed / period) over any readings, and no
-- more than fits beside the open slices.
function rate.advance(b, time)
  local elapsed = time - b.at
  if elapsed <= 0 then
    return
  end
  b.at = time
  if env.withheld then
    elapsed, b.at = withheld.elapsed(time - elapsed, time)
  end
  local amount, period, most = b.spec[2], b.spec[3], b.spec[4] - (b.open or 0)
  if b.level >= most then
    b.rest = 0
    return
  end
  local missing = most - b.level
  local units, rest = muldiv(elapsed, amount, period)
  rest = rest + b.rest
  if rest >= period then
    units, rest = units + 1, rest - period
  end
  if units >= missing then
    b.level, b.rest = most, 0
  else
    b.level, b.rest = b.level + units, rest
  end
end

function rate.available(b)
  return b.level
end

function rate.ready_at(b, need, _, kept)
  need = need + kept
  local missing = math.min(need - b.level, WHOLE)
  if missing <= 0 then
    return b.at
  end
  local units, rest = muldiv(missing, b.spec[3], b.spec[2])
  local span = units + ceil_divide(rest - b.rest, b.spec[2])
  local ready = math.min(env.withheld and withheld.after(b.at, span) or b.at + span, WHOLE)
  if (b.open or 0) > 0 and need > b.spec[4] - b.open then
    return math.max(ready, b.open_til)
  end
  return ready
end

function rate.take(b, amount)
  local level = b.level - amount
  b.level = level > -WHOLE and level or -WHOLE
end

function rate.lend(b, amount)
  rate.take(b, amount)
end

function rate.give_back(b, amount)
  local most = b.spec[4] - (b.open or 0)
  local given = math.max(math.min(amount, most - b.level), 0)
  b.level = b.level + given
  if b.level >= most then
    b.rest = 0
  end
  return given
end

-- Gives back what was taken at `taken_at` and never used: less what was refilled since, for that may stand in the
-- room that the charge made, and both together would admit more than the rate allows.
function rate.take_back(b, amount, taken_at)
  local gained, part = muldiv(math.max(now - taken_at, 0), b.spec[2], b.spec[3])
  local units, rest = amount - gained, b.rest - part
  if rest < 0 then
    units, rest = units - 1, rest + b.spec[3]
  end
  if units < 0 or (units == 0 and rest < b.rest) then
    return 0
  end
  b.rest = rest
  return rate.give_back(b, units)
end

function rate.lower_to(b, level)
  if b.level > level then
    b.level, b.rest = level, 0
  end
end

function rate.counts_with_newest()
  return true
end

