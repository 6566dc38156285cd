-- Ends a reservation: refunds, adds debt, frees slots, once.
--
-- args     {reservation, usage}; usage: true refunds all, or {{limit, key, amount}, ...}
-- payload  {{limit, key, reserved, actual, refunded, remaining}, ...}

function op()
  return reservations.settle(args[1], args[2])
end

