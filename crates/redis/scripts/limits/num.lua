-- Exact integers in a language of doubles: every number here is whole and below 2^53, or is capped there.

-- Quotient and remainder of 0 <= x <= 2^53 by y > 0.
function divide(x, y)
  local q = math.floor(x / y)
  local r = x - q * y
  if r < 0 then
    return q - 1, r + y
  elseif r >= y then
    return q + 1, r - y
  end
  return q, r
end

-- Quotient and remainder of a * b by c, for 0 <= a, b < 2^53 and 0 < c < 2^45; a quotient above 2^53 is
-- capped. The product is taken apart into digits of 7 bits of `b` (Horner), so that no step passes 2^53.
function muldiv(a, b, c)
  local product = a * b
  if product <= WHOLE then
    return divide(product, c)
  end
  if a / c * b > WHOLE then
    return WHOLE, 0
  end
  local whole_part, part = divide(a, c)
  local digits = {}
  local rest = b
  while rest > 0 do
    local higher = math.floor(rest / 128)
    digits[#digits + 1] = rest - higher * 128
    rest = higher
  end
  local q, r = 0, 0
  for i = #digits, 1, -1 do
    local more
    more, r = divide(r * 128 + part * digits[i], c)
    q = q * 128 + more
  end
  return math.min(whole_part * b + q, WHOLE), r
end

-- The least whole number not below x / y, for any x and y > 0.
function ceil_divide(x, y)
  if x <= 0 then
    return -(divide(-x, y))
  end
  local q, r = divide(x, y)
  return r > 0 and q + 1 or q
end

-- floor(a * b / c) for any a.
function scale(a, b, c)
  if a >= 0 then
    return (muldiv(a, b, c))
  end
  local q, r = muldiv(-a, b, c)
  return r > 0 and -q - 1 or -q
end

function capped(number)
  return math.max(-WHOLE, math.min(WHOLE, number))
end

-- Whether two flat lists, such as specs, are equal.
function same(one, other)
  if #one ~= #other then
    return false
  end
  for i = 1, #one do
    if one[i] ~= other[i] then
      return false
    end
  end
  return true
end

