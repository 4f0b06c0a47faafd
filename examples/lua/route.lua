-- Route sends mail for one domain to a next hop of its own.

function on_route(s)
  if s.domain ~= config.partner then
    return -- the configured routes decide
  end
  s.next_hop = config.next_hop
  return s:accept()
end
