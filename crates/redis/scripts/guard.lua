-- The guard; stands before the body of every script that changes state.
--
-- KEYS[1]  the guard: a hash of `generation`, `minted`, `run_id`, `repl_id` and, per live daemon,
--          `m:<daemon>` = "<incarnation>.<link>"
-- ARGV[1]  the caller's generation
-- ARGV[2]  the caller's daemon id
-- ARGV[3]  the caller's stamp, "<incarnation>.<link>"
--
-- Refuses: STALE_GENERATION    the store's history is another one, or is not known yet
--          STALE_INCARNATION   the caller was declared dead, has left, or its command comes from a
--                              connection that a later one has replaced
--
-- Atomic with the body, because Redis runs a script whole: nothing can be declared between the two.

local held = redis.call('HMGET', KEYS[1], 'generation', 'm:' .. ARGV[2], 'minted')
if held[1] ~= ARGV[1] then
  return redis.error_reply('STALE_GENERATION the store is at generation ' .. (held[1] or 'none'))
end
if held[2] ~= ARGV[3] then
  return redis.error_reply('STALE_INCARNATION the daemon stands as ' .. (held[2] or 'absent'))
end
minted = held[3]
