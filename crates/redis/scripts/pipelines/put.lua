-- Sets what updates have set in a pipeline, provided that it still has the version that this was worked out from.
--
-- args     {namespace, name, version (0: nothing is known of it), is known as gone 0|1, is to be gone 0|1}
-- ARGV[6]  what is set, unless it is to be gone
-- Payload  {stored = version} | 'changed'
-- Fails    TOO_MANY_PIPELINES, TOO_MANY_NAMESPACES
--
-- Atomic, because of all that was worked out from one version only one may stand; and its version must lie above every
-- version given before.

local function op()
  local namespace, name, expected, known_gone, gone = unpack(args)
  local version, _, was = find(namespace .. '/' .. name)
  -- That one is gone may be forgotten here.
  if (version or 0) ~= expected and not (not version and known_gone == 1) then
    return 'changed'
  end
  if gone == 0 and not was then
    local code, bound = exceeded(namespace)
    if code then
      fail(code, bound)
    end
  end
  local token = mint(KEYS[1], 0)
  keep(namespace, name, token, token, gone == 0 and ARGV[6])
  tell(token)
  return {stored = token}
end
