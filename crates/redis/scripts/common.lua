-- Common functions; stands before every script.
--
-- Lua numbers are doubles and `tostring` keeps 14 digits only: a token is an integer below 2^53, and it
-- leaves Lua as text made by `whole`, or as an integer reply, never through `tostring` or `cjson`.

-- The text of a whole number. One is often written several times, which costs more than to remember it.
local texts = {}

local function whole(number)
  local text = texts[number]
  if not text then
    text = string.format('%.0f', number)
    texts[number] = text
  end
  return text
end

-- The store's time in microseconds. A script is one moment.
local moment

local function store_time()
  if not moment then
    local time = redis.call('TIME')
    moment = time[1] * 1000000 + time[2]
  end
  return moment
end

-- The last token minted, once it is known.
local minted

-- A new token: above every token minted before, above `floor`, and not below the store's time.
-- Generations, incarnations, versions, lease and fencing tokens all come from this one counter.
local function mint(guard, floor)
  local last = tonumber(minted or redis.call('HGET', guard, 'minted') or '0')
  local token = math.max(last + 1, floor + 1, store_time())
  if token >= 9007199254740992 then
    error({err = 'TOKENS_EXHAUSTED the next token would not fit 53 bits'})
  end
  redis.call('HSET', guard, 'minted', whole(token))
  minted = token
  return token
end

