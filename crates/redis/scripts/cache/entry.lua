-- Entries: a format byte, the header's length in two bytes, the header, eight digits of the header's SHA-1,
-- the content. The header is msgpack of
--
--   {version, as_of, written, fresh_until, stale_until, refresh_at (-1: never), kind (0 value, 1 none),
--    CRC-32 of the content, its bytes, content type, {calls, tokens, money}, {tag, ...}}
--
-- What is not whole is no entry. Only the header is looked at here; whoever reads the content checks it.

local FORMAT, FAILURE = 1, 2
local VERSION, AS_OF, WRITTEN, FRESH, STALE, REFRESH, KIND, CRC, SIZE, TAGGED = 1, 2, 3, 4, 5, 6, 7, 8, 9, 12
local HEAD = 1024

local function sealed(format, header)
  local packed = cmsgpack.pack(header)
  return struct.pack('>BH', format, #packed) .. packed .. redis.sha1hex(packed):sub(1, 8)
end

local function value_key(key)
  return root .. ':v:' .. key
end

-- The header of the entry under a key, if there is a whole one.
local function header_of(key)
  local head = redis.pcall('GETRANGE', value_key(key), 0, HEAD - 1)
  if type(head) ~= 'string' or #head < 11 then
    return nil
  end
  local format, size = struct.unpack('>BH', head)
  if format ~= FORMAT then
    return nil
  end
  if #head < size + 11 then
    head = redis.call('GETRANGE', value_key(key), 0, size + 10)
  end
  local packed = head:sub(4, size + 3)
  if redis.sha1hex(packed):sub(1, 8) ~= head:sub(size + 4, size + 11) then
    return nil
  end
  local done, header = pcall(cmsgpack.unpack, packed)
  return done and header or nil
end

-- Whether a value made as of a number, with these tags, is hidden by a clear.
local function hidden(as_of, tags)
  local clears = redis.call('HMGET', CLEARS, 'all', 'forgotten', 'tagged')
  if not clears[1] or as_of <= tonumber(clears[1]) then
    return true
  end
  if #tags == 0 or as_of > tonumber(clears[3] or '0') then
    return false
  end
  if as_of <= tonumber(clears[2] or '0') then
    return true
  end
  for _, number in ipairs(redis.call('HMGET', TAGS, unpack(tags))) do
    if number and as_of <= tonumber(number) then
      return true
    end
  end
  return false
end

-- The entry that is there, and whether it is fresh; nil when none can be seen.
local function find(key)
  local header = header_of(key)
  if not header or now >= header[STALE] or hidden(header[AS_OF], header[TAGGED]) then
    return nil, false
  end
  return header, now < header[FRESH]
end

local function drop_entry(key)
  redis.call('UNLINK', value_key(key))
  redis.call('ZREM', INDEX, key)
  local size = redis.call('HGET', SIZES, key)
  if size then
    redis.call('HDEL', SIZES, key)
    redis.call('HINCRBY', META, 'bytes', -tonumber(size))
  end
end

-- The parts of an entry before its content. `new` is {ttl, stale_for, refresh_after (-1: never), kind, crc, size,
-- content type, cost, tags,
-- fence: see `fence`}.
local function header(new, version, as_of)
  local fresh = now + new[1]
  local refresh = new[3] >= 0 and now + new[3] or -1
  return {
    version, as_of, now, fresh, fresh + new[2], refresh, new[4], new[5], new[6], new[7], new[8], new[9],
  }
end

-- Takes note of the size of an entry. By powers of two, so that what daemons were told changes seldom. Where there are
-- entries of which no note was taken, the note having been deleted, each may be as large as any.
local function note_largest(size)
  local told = tonumber(redis.call('GET', LARGEST) or '0')
  if size > told then
    local unnoted = told == 0 and redis.call('EXISTS', SIZES) == 1
    local least, bound = math.max(size, unnoted and env.max_value or 0), 1024
    while bound < least do
      bound = bound * 2
    end
    redis.call('SET', LARGEST, whole(bound))
  end
end

-- Keeps an entry for as long as it may be served.
local function keep(key, head, packed)
  drop_entry(key)
  note_largest(#packed)
  local span = math.max(1, math.ceil((head[STALE] - now) / 1000))
  redis.call('SET', value_key(key), packed, 'PX', whole(span))
  redis.call('ZADD', INDEX, whole(head[STALE]), key)
  local size = #packed + #key
  redis.call('HSET', SIZES, key, size)
  redis.call('HINCRBY', META, 'bytes', size)
end

-- Whether the fresh entry has the version that must be in force (0: there is none; -1: any), and which it has.
local function meets(key, condition)
  if condition < 0 then
    return true
  end
  local found, fresh = find(key)
  local actual = fresh and found[VERSION] or 0
  return actual == condition, actual
end
