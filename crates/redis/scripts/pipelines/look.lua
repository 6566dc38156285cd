-- Tells what has changed since a change.
--
-- args     {number of the last change known (0: none), most records, most bytes}
-- Payload  {number up to which this tells, number of the last change forgotten, more 0|1, {{namespace and pipeline, version,
--          is gone 0|1}, ...}} by number; `values` what is set in those that are not gone, in the same order
--
-- At least one record is told where there is one, whatever its size. A daemon whose last change is older than one forgotten
-- must take everything anew: of what is gone it may have missed the end.
-- Atomic, because the number must stand for everything that is told with it.

local function op()
  local since, most, most_bytes = unpack(args)
  local fields = redis.call('ZRANGEBYSCORE', CHANGES, '(' .. whole(since), '+inf', 'LIMIT', 0, most)
  local told, bytes, upto = {}, 0, since
  for _, field in ipairs(fields) do
    if bytes >= most_bytes then
      break
    end
    local version, number, set = find(field)
    told[#told + 1] = {field, version, set and 0 or 1}
    if set then
      values[#values + 1] = set
    end
    bytes, upto = bytes + #field + #(set or ''), number
  end
  local more = (#told == most or #told < #fields) and 1 or 0
  return {upto, tonumber(redis.call('HGET', META, 'forgotten') or '0'), more, told}
end
