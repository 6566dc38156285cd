-- Puts back what a daemon knows, after a history in which it may have been lost: of each pipeline the higher version stands.
--
-- args     {{namespace, name, version, is gone 0|1}, ...}
-- ARGV[6..]  what is set in those that are not gone, in the same order
-- Payload  {pipelines put back, pipelines for which there is no room}
--
-- Harmless where nothing was lost, and as often as it is repeated. Atomic, because a version must not be replaced by a lower one
-- that was compared with an older.

local function op()
  local put_back, refused, at = 0, 0, 6
  for _, known in ipairs(args) do
    local namespace, name, version, gone = unpack(known)
    local set = false
    if gone == 0 then
      set, at = ARGV[at], at + 1
    end
    local stands, _, was = find(namespace .. '/' .. name)
    if not stands or stands < version then
      if set and not was and exceeded(namespace) then
        refused = refused + 1
      else
        keep(namespace, name, version, mint(KEYS[1], version), set)
        put_back = put_back + 1
      end
    end
  end
  if put_back > 0 then
    tell(tonumber(redis.call('HGET', KEYS[1], 'minted')))
  end
  return {put_back, refused}
end
