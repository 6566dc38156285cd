-- The state of one bucket.
--
-- args     {limit, key}
-- payload  {limit, key, spec, source, remaining, capacity, full_after, paused_for or -1, waiters,
--           sharing, slices, units in them, units over}

function op()
  return looking.bucket_state(looking.limit(args[1]), args[2])
end

