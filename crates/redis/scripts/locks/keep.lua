-- Makes a lease last its TTL from now, through a daemon that does not time it, or is not certain that it does.
--
-- args     {lease, claim}
-- Payload  {kept = ttl}: its host will let it last | {yours = {lease, lease as it is}}: this daemon is its host now
--
-- The host is left as it is while it lives, since it may acknowledge renewals at any time. It is told of this one; should
-- that be lost, it learns of it before it ends the lease: `expire` names the count that it knows. Atomic, because a lease that has ended must not be kept.

function op()
  local number, claim = unpack(args)
  local lease = find_lease(number)
  if not lease or lease[CLAIM] ~= claim then
    gone(number, claim)
    fail('LEASE_RELEASED')
  elseif lease[SESSION] ~= 0 then
    fail('OF_SESSION')
  end
  redis.call('ZADD', ENDS, whole(now + lease[TTL]), whole(number))
  lease[KEPT] = lease[KEPT] + 1
  if lease[HOST] ~= here and lives(lease[HOST]) then
    keep_lease(number, lease)
    tell(lease[HOST], {'kept', number, lease[KEPT]})
    return {kept = lease[TTL]}
  end
  take(lease[HOST], claim)
  lease[HOST] = here
  keep_lease(number, lease)
  give(here, claim, 'l' .. whole(number))
  return {yours = {number, lease}}
end
