-- The call of every limits script: what it is given, how it fails, how it answers.
--
-- KEYS[1]  the guard    KEYS[2]  <root>, before all keys of the namespace    KEYS[3]  set of all namespaces
-- ARGV[1..3]  the guard's    ARGV[4]  the environment, below    ARGV[5]  `args`; both msgpack
--
-- Result   msgpack: {"ok", now, payload, results, looks}: what was asked for, the ends of waiting calls of
--          the caller, and when it should look at which bucket again; or, nothing changed:
--          {"error", now, code, index, detail}, {"period", now, unit, zone}, {"replay", now, at, payload,
--          until}, {"running", now}, {"recalling", now, until}
--
-- Atomic, because Redis runs a script whole; and a script fails before it writes: failures are raised while
-- buckets are looked up, and everything kept in Lua tables is written by `commit` at the end.

local root, spaces = KEYS[2], KEYS[3]
local me = ARGV[2]
local my_life = ARGV[3]:match('^(%d+)')
local e, args = cmsgpack.unpack(ARGV[4]), cmsgpack.unpack(ARGV[5])
local now = store_time()

local env = {
  max_limits = e[1], max_buckets = e[2], max_waiters = e[3], max_reservations = e[4],
  max_request_ids = e[5], hold_after = e[6], request_window = e[7], settle_window = e[8],
  default_ttl = e[9], mailbox = e[10], withheld = e[11], periods = e[12], max_namespaces = e[13], namespace = e[14],
  -- When the generation began, if data may have been lost then; what buckets nobody knows count as; for how
  -- long the daemons are waited for.
  lost = e[15], after_loss = e[16], settle = e[17],
}

local WHOLE = 9007199254740991
local GRANTED, DENIED, NEVER, TIMED_OUT, QUEUED, DELETED = 1, 2, 3, 4, 6, 7
local INLINE, SET_LIMIT = 0, 2
-- Whether slices are handed out: `exact` (1) never, `leased` (2) whenever possible.
local AUTO = 0
local NONE = -1
local KEEP_AMOUNT, KEEP_PROPORTION, REFILL, REFILL_ALL = 0, 1, 2, 3
local MAX_CHANGES = 64

-- Ends of the caller's waiting calls, and what other daemons are told.
local results, looks, messages, look_messages = {}, {}, {}, {}

local function tell(daemon, message)
  local told = messages[daemon] or {}
  told[#told + 1] = message
  messages[daemon] = told
end

local function tell_look(daemon, look)
  local told = look_messages[daemon] or {}
  told[#told + 1] = look
  look_messages[daemon] = told
end

-- Ends the call with an error; nothing has been changed.
local function fail(code, index, detail)
  error({fail = {code, index or NONE, detail or false}})
end

-- What a charge met.
local function state_of(remaining, wait, spec, source, replaced)
  return {remaining, wait or NONE, spec, source, replaced or false}
end

-- The libraries. Making a function costs a call about 0.2 us, so each library is made when its first function
-- is asked for.
local divide, muldiv, ceil_divide, scale, capped, same, op
local rate, window, calendar, slots, bucket = {}, {}, {}, {}, {}
local store, requests, fair, queue, line, schedule = {}, {}, {}, {}, {}, {}
local reservations, charges, looking = {}, {}, {}
local leases, shares, withheld, losses = {}, {}, {}, {}
local KINDS = {rate, window, calendar, slots}

-- A bucket of a calendar must know its period; see `calendar`. False once something has been changed.
local strict = true

local function library(module, make)
  setmetatable(module, {__index = function(_, name)
    setmetatable(module, nil)
    make()
    return module[name]
  end})
end

