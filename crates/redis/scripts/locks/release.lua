-- Ends a lease by its holder's will, and hands its locks on.
--
-- args     {lease, claim}
-- Payload  true, also when the holder has ended it before
--
-- Atomic, because the next in line must hold the locks as soon as this one does not.

function op()
  if handing_on then
    serve({handing_on})
    return true
  end
  local number, claim = unpack(args)
  local lease = find_lease(number)
  if not lease or lease[CLAIM] ~= claim then
    gone(number, claim)
    return true
  end
  local names = {}
  end_lease(number, lease, names, RELEASED)
  serve(names)
  return true
end
