-- Ends a reservation: refunds, adds debt, frees slots, once.
--
-- args     {env, reservation, usage}; usage: true refunds all, or {{limit, key, amount}, ...}
-- payload  {{limit, key, reserved, actual, refunded, remaining}, ...}

function op()
  return reservations.settle(args[2], args[3])
end

