-- The sliding window. A bucket is {spec, used, parts}: `parts` is flat, {first, last, used, first, ...},
-- the sub-windows by age. Units come back one period after the last charge of their sub-window. Mirrors
-- `core/src/limits/window.rs`.
--
-- spec: {2, amount, period}

function window.of(spec, place, used, parts)
  return {spec = spec, place = place, used = used, parts = parts}
end

function window.fields(b)
  return b.used, b.parts
end

local SUB_WINDOWS = 60

function window.capacity(spec)
  return spec[2]
end

function window.new(spec, available, time)
  local b = {spec = spec, used = 0, parts = {}}
  local used = math.max(spec[2] - available, 0)
  if used > 0 then
    window.take(b, used, time)
  end
  return b
end

function window.respec(b, spec)
  return {spec = spec, used = b.used, parts = b.parts}
end

-- The available share stays the same, rounded down.
function window.rescale(b, spec, available)
  local used = math.max(spec[2] - available, 0)
  local parts, rest = {}, used
  for i = 1, #b.parts, 3 do
    local scaled = math.min(scale(b.parts[i + 2], spec[2], b.spec[2]), rest)
    parts[i], parts[i + 1], parts[i + 2] = b.parts[i], b.parts[i + 1], scaled
    rest = rest - scaled
  end
  if #parts > 0 then
    parts[#parts] = parts[#parts] + rest
  end
  return {spec = spec, used = used, parts = parts}
end

function window.advance(b, time)
  local parts, period, past = b.parts, b.spec[3], 0
  while past < #parts and parts[past + 2] + period <= time do
    b.used = b.used - parts[past + 3]
    past = past + 3
  end
  if past > 0 then
    local kept = {}
    for i = past + 1, #parts do
      kept[#kept + 1] = parts[i]
    end
    b.parts = kept
  end
end

function window.available(b)
  return b.spec[2] - b.used
end

function window.ready_at(b, need, time, kept)
  local amount, period = b.spec[2] - kept, b.spec[3]
  local rounds = divide(math.min(need, WHOLE) - 1, amount)
  need = need - rounds * amount
  local later = math.min(period * rounds, WHOLE)
  local available = window.available(b) - kept
  if available >= need then
    return math.min(time + later, WHOLE)
  end
  for i = 1, #b.parts, 3 do
    available = available + b.parts[i + 2]
    if available >= need then
      return math.min(b.parts[i + 1] + period + later, WHOLE)
    end
  end
  return math.min(time + period + later, WHOLE)
end

-- Counts units taken at `time` as used at `til`, and with them those of their sub-window.
local function count(b, amount, time, til)
  b.used = capped(b.used + amount)
  local parts = b.parts
  local n = #parts
  local width = math.floor(b.spec[3] / SUB_WINDOWS)
  if n > 0 and (time < parts[n - 2] + width or time == parts[n - 1]) then
    parts[n - 1], parts[n] = math.max(parts[n - 1], til), capped(parts[n] + amount)
  else
    parts[n + 1], parts[n + 2], parts[n + 3] = time, math.max(til, parts[n - 1] or 0), amount
  end
end

function window.take(b, amount, time)
  count(b, amount, time, time)
end

-- Lends units that may be used until `til`.
function window.lend(b, amount, time, til)
  count(b, amount, time, til)
end

function window.counts_with_newest(b, taken_at)
  return #b.parts > 0 and b.parts[#b.parts - 2] <= taken_at
end

-- Gives back into the sub-window that held the charge, the newest that had begun by then; none when that is
-- past.
function window.give_back(b, amount, _, taken_at)
  for i = #b.parts - 2, 1, -3 do
    if b.parts[i] <= taken_at and taken_at <= b.parts[i + 1] then
      local given = math.max(math.min(amount, b.parts[i + 2]), 0)
      b.parts[i + 2] = b.parts[i + 2] - given
      b.used = b.used - given
      return given
    end
  end
  return 0
end

function window.lower_to(b, level, time)
  local excess = window.available(b) - level
  if excess > 0 then
    window.take(b, excess, time)
  end
end

