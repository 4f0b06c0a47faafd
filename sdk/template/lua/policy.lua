-- Refuses recipients at one domain: config.domain, which takes no mail.

-- Asked at each RCPT TO. No answer is no opinion: the server's own rules decide.
function on_rcpt(s)
  if s.rcpt.domain == config.domain then
    return s:reject(550, "5.7.1", "this domain takes no mail")
  end
end
