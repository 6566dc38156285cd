-- Deletes a plain lock if it is still its holder's.
--
-- KEYS[1]  the lock    ARGV[1]  the holder's token
-- Result   1, or 0 where it is not
--
-- Atomic, because nobody may take it between the look and the end.

if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
