-- Block refuses recipients by local part or domain.

local blocked = {} -- local parts and domains that take no mail

function init(config)
  for _, name in ipairs(config:strings("blocked")) do
    blocked[name] = true
  end
end

function on_rcpt(s)
  local r = s.rcpt
  if blocked[r.local_part] or blocked[r.domain] then
    return s:reject(550, "5.7.1", "this mailbox takes no mail")
  end
  -- no opinion: the server's own rules decide
end
