-- Gives a plain lock to the next if it is still its holder's: the least that a hand-off can be.
--
-- KEYS[1]  the lock    ARGV[1]  the holder's token    ARGV[2]  the next one's    ARGV[3]  its TTL in ms
-- Result   1, or 0 where it is not
--
-- Atomic, because nobody may take it between the two.

if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
return 0
