-- Carries the operation out and answers; stands behind every limits script.

local function answer(reply)
  return cmsgpack.pack(reply)
end

local function publish(daemon, message)
  redis.call('PUBLISH', env.mailbox .. daemon, cmsgpack.pack(message))
end

local function publish_messages()
  for daemon, told in pairs(messages) do
    for _, message in ipairs(told) do
      publish(daemon, message)
    end
  end
end

-- What the server refused a command with, which comes out of `pcall` as text, behind a place in older versions;
-- anything else is a defect.
local function refusal_of(text)
  for _, word in ipairs({'READONLY ', 'NOREPLICAS ', 'OOM ', 'MISCONF ', 'NOPERM '}) do
    local at = text:find(word, 1, true)
    if at then
      return text:sub(at)
    end
  end
  return 'SCRIPT ' .. text
end

local done, payload = pcall(op)
if done then
  if rawget(line, 'waiters') then
    line.commit()
  end
  store.commit()
  publish_messages()
  for daemon, told in pairs(look_messages) do
    publish(daemon, {'look', env.namespace, told, now})
  end
  return answer({'ok', now, payload, results, looks})
end
local failure = payload
if type(failure) ~= 'table' then
  return redis.error_reply(refusal_of(tostring(failure)))
elseif failure.recalling then
  -- Nothing was changed but the recall.
  publish_messages()
  return answer({'recalling', now, failure.recalling})
elseif failure.fail then
  return answer({'error', now, unpack(failure.fail)})
elseif failure.period then
  return answer({'period', now, unpack(failure.period)})
elseif failure.replay then
  return answer({'replay', now, unpack(failure.replay)})
elseif failure.running then
  return answer({'running', now})
end
return redis.error_reply(failure.err or 'SCRIPT failed')
