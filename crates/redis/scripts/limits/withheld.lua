-- The shares of silent members, which they may be spending by themselves: the others decide without them.
--
-- `env.withheld` is false, or spans of the store's time in order, none overlapping another:
-- {from, til, part, of, index, count, index, count, ...}: from then until then the shares `index` of `count`
-- are withheld, and of a rate only `part / of` counts. Spans that are over stay for a while, for buckets that
-- nobody has looked at since; those to come follow the present one and each other without a gap, and tell when a
-- share is available again at the latest.

-- The share of an amount; as `Share::of` in `resilience/src/share.rs`.
local function share(amount, index, count)
  local units, rest = divide(amount, count)
  return index < rest and units + 1 or units
end

-- Units of a capacity that are withheld in a span.
function withheld.units(capacity, span)
  local units = 0
  for i = 5, #span, 2 do
    units = units + share(capacity, span[i], span[i + 1])
  end
  return math.min(units, capacity)
end

-- The span that holds the present, if any.
local function present()
  for _, span in ipairs(env.withheld) do
    if span[1] <= now and now < span[2] then
      return span
    end
  end
end

-- Units of a bucket that are withheld at present.
function withheld.of(b)
  local span = present()
  return span and withheld.units(bucket.capacity(b.spec), span) or 0
end

-- What is left of units that come at present.
function withheld.rest_of(units)
  local span = present()
  return span and (muldiv(units, span[3], span[4])) or units
end

-- How much of the time between two times counts for a rate, and up to when it is counted: what a span that
-- goes on does not divide evenly is counted later, so that no number of readings loses anything.
function withheld.elapsed(from, til)
  local counted, at = 0, from
  for _, span in ipairs(env.withheld) do
    if span[1] >= til then
      break
    elseif span[2] > at then
      local start, stop = math.max(span[1], at), math.min(span[2], til)
      counted = counted + start - at
      local rounds, rest = divide(stop - start, span[4])
      counted, at = counted + rounds * span[3], stop
      if stop < span[2] then
        return counted, stop - rest
      end
      counted = counted + math.floor(rest * span[3] / span[4])
    end
  end
  return counted + til - at, til
end

-- When so much counted time will have passed since a time; agrees with `elapsed`.
function withheld.after(from, time)
  local at = from
  for _, span in ipairs(env.withheld) do
    if time <= 0 or at + time <= span[1] then
      break
    elseif span[2] > at then
      local start = math.max(span[1], at)
      time = time - (start - at)
      local needed = span[3] > 0 and ceil_divide(time, span[3]) * span[4] or WHOLE
      if start + needed < span[2] then
        return start + needed
      end
      time, at = time - (muldiv(span[2] - start, span[3], span[4])), span[2]
    end
  end
  return at + math.max(time, 0)
end
