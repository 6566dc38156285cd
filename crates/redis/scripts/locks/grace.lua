-- The grace after a generation has begun before which data may have been lost: nothing is granted until the daemons
-- have told what they have the care of.
--
-- KEYS[1]  the guard    KEYS[2]  the grace: a hash of the `generation` that it is of, `over`: the generation in which
--          it is over, d:<daemon> for those who have told, w:<daemon> for those who are waited for
-- ARGV[1..3]  the guard's
-- ARGV[4]  before the name of a mailbox
-- ARGV[5]  '0'  the caller has told all, and knows nothing of the generation before
--          '1'  the caller has told all, and knows who was there before: ARGV[6] and up
--          '2'  the caller has waited long enough: whoever has not told by now is taken for dead
--
-- Result   1 when the grace is over, else 0; whoever ends it tells all daemons
--
-- Atomic, because the last to tell must find that all others have.

local grace, mailbox, how = KEYS[2], ARGV[4], ARGV[5]
local generation = ARGV[1]
if redis.call('HGET', grace, 'generation') ~= generation then
  redis.call('DEL', grace)
  redis.call('HSET', grace, 'generation', generation)
end
if redis.call('HGET', grace, 'over') == generation then
  return 1
end
redis.call('HSET', grace, 'd:' .. ARGV[2], 1)
if how == '0' then
  return 0
elseif how == '1' then
  for i = 6, #ARGV do
    redis.call('HSET', grace, 'w:' .. ARGV[i], 1)
  end
  for _, field in ipairs(redis.call('HKEYS', grace)) do
    local daemon = field:match('^w:(.*)$')
    if daemon and redis.call('HEXISTS', grace, 'd:' .. daemon) == 0 then
      return 0
    end
  end
end
redis.call('HSET', grace, 'over', generation)
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local daemon = field:match('^m:(.*)$')
  if daemon then
    redis.call('PUBLISH', mailbox .. daemon, cmsgpack.pack({'locks', '', {{'begun'}}}))
  end
end
return 1
