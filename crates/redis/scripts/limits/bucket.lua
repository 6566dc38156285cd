-- One bucket of any kind. Every reading needs it brought to the present first, by `bucket.advance`.
-- Mirrors `core/src/limits/bucket.rs`.

function bucket.capacity(spec)
  return KINDS[spec[1]].capacity(spec)
end

function bucket.holds_slots(b)
  return b.spec[1] == 4
end

-- What an entry's record says of the entry, and the bucket in it, which has at most three fields of its kind.
function bucket.unpack(record, place)
  local paused, filled, version, waited, lease, spec, one, two, three = cmsgpack.unpack(record)
  return paused, filled, version, waited, lease, KINDS[spec[1]].of(spec, place, one, two, three)
end

-- The record of an entry and its bucket.
function bucket.pack(paused, filled, version, waited, lease, b)
  return cmsgpack.pack(paused, filled, version, waited, lease, b.spec, KINDS[b.spec[1]].fields(b))
end

-- A bucket with `available` units, at most its capacity. Slots start free.
function bucket.holding(spec, available, time, place)
  local b = KINDS[spec[1]].new(spec, available, time)
  b.place = place
  return b
end

function bucket.full(spec, time, place)
  return bucket.holding(spec, bucket.capacity(spec), time, place)
end

-- Brings the bucket to `time`; tells whether something changed that time alone would not tell again.
function bucket.advance(b, time)
  return KINDS[b.spec[1]].advance(b, time) or false
end

function bucket.available(b)
  return KINDS[b.spec[1]].available(b)
end

function bucket.is_full(b)
  return KINDS[b.spec[1]].available(b) >= bucket.capacity(b.spec)
end

-- What of it can be taken now: all that is available but the shares of silent members.
function bucket.free(b)
  local available = KINDS[b.spec[1]].available(b)
  return env.withheld and available - withheld.of(b) or available
end

-- When `need` units are free, of which `claimed` (none) are for others. What is above the capacity less the
-- withheld shares waits until they are withheld no more.
function bucket.ready_at(b, need, time, claimed)
  if not env.withheld then
    return KINDS[b.spec[1]].ready_at(b, need, time, 0)
  end
  local capacity, last = bucket.capacity(b.spec), time
  for _, span in ipairs(env.withheld) do
    if span[2] > time then
      local kept = withheld.units(capacity, span)
      if need - (claimed or 0) + kept <= capacity then
        local ready = math.max(KINDS[b.spec[1]].ready_at(b, need, time, kept), span[1])
        if ready < span[2] then
          return ready
        end
      end
      last = span[2]
    end
  end
  return math.max(KINDS[b.spec[1]].ready_at(b, need, time, 0), last)
end

function bucket.take(b, amount, time, hold, til)
  KINDS[b.spec[1]].take(b, amount, time, hold, til)
end

-- Takes units that may be used until `til`. Slots are not lent.
function bucket.lend(b, amount, time, til)
  KINDS[b.spec[1]].lend(b, amount, time, til)
end

function bucket.give_back(b, amount, hold, taken_at)
  return KINDS[b.spec[1]].give_back(b, amount, hold, taken_at)
end

-- Gives back what was taken by a call that never used it, so that no more is admitted than without that call.
function bucket.take_back(b, amount, hold, taken_at)
  if b.spec[1] == 1 then
    return rate.take_back(b, amount, taken_at)
  end
  return bucket.give_back(b, amount, hold, taken_at)
end

function bucket.counts_with_newest(b, taken_at)
  return KINDS[b.spec[1]].counts_with_newest(b, taken_at)
end

function bucket.lower_to(b, level, time)
  KINDS[b.spec[1]].lower_to(b, level, time)
end

-- The bucket under another spec, its level treated as `policy` says. Held slots stay held.
function bucket.respec(b, spec, policy, time)
  local place = b.place
  local changed
  if b.spec[1] == 4 and spec[1] == 4 then
    changed = slots.respec(b, spec)
  else
    local available = bucket.available(b)
    local capacity = bucket.capacity(spec)
    if policy == REFILL then
      changed = bucket.full(spec, time)
    elseif policy == KEEP_PROPORTION then
      available = scale(available, capacity, bucket.capacity(b.spec))
      if b.spec[1] == 2 and spec[1] == 2 then
        changed = window.rescale(b, spec, available)
      else
        changed = bucket.holding(spec, available, time)
      end
    elseif b.spec[1] == spec[1] then
      changed = KINDS[b.spec[1]].respec(b, spec, time)
    else
      changed = bucket.holding(spec, math.min(available, capacity), time)
    end
  end
  changed.place = place
  return changed
end

