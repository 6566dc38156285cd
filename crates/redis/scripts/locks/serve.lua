-- Lets in whoever is at the head of any line, once grants begin.
--
-- args     {}
-- Payload  true
--
-- Atomic, because each grant must see the one before.

function op()
  serve(redis.call('ZRANGE', NAMES, 0, -1))
  return true
end
