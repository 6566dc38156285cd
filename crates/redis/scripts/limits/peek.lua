-- The state of one bucket.
--
-- args     {env, limit, key}
-- payload  {limit, key, spec, source, remaining, capacity, full_after, paused_for or -1, waiters,
--           sharing, slices, units in them}

function op()
  return looking.bucket_state(looking.limit(args[2]), args[3])
end

