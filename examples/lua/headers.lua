-- Headers rewrites header fields of a message that is complete.

function on_message(s)
  local h = s.headers
  h:remove("X-Spam-Flag")
  local subject = h:get("Subject") or ""
  if subject:sub(1, 7) ~= "[list] " then
    h:set("Subject", "[list] " .. subject)
  end
  h:prepend("X-Policy", "checked by wasmta")
end
