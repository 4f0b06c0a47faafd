// Block refuses recipients by local part or domain.
let blocked; // local parts and domains that take no mail

export function init(config) {
  blocked = config.strings("blocked");
}

export function onRcpt(s) {
  const r = s.rcpt;
  if (blocked.includes(r.local) || blocked.includes(r.domain)) {
    return s.reject(550, "5.7.1", "this mailbox takes no mail");
  }
  // no opinion: the server's own rules decide
}
