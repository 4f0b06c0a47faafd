-- A policy that keeps what it is told in every place that Lua has for it, and
-- rejects if a session before it has left something there.
local number, text, list, closure = 0, "", {}, nil
local meta = getmetatable("")

-- What a hook costs: the reverse-path and the first recipient are asked for.
function on_data(s)
  if s.mail_from == "" or s.recipients[1].local_part == "" then
    return s:reject()
  end
end

function on_rcpt(s)
  if number ~= 0 or text ~= "" or next(list) ~= nil or closure ~= nil or left ~= nil or string.left ~= nil or
      (meta and meta.left ~= nil) then
    return s:reject()
  end
  local kept = 1
  number = 1
  text = string.rep("secret ", 100)
  for k = 1, 100 do
    list[k] = "secret " .. k
  end
  closure = function() kept = kept + 1 return kept end
  left = closure()
  string.left = list
  if meta then
    meta.left = text
  end
  return s:accept()
end
