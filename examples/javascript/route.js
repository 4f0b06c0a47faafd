// Route sends mail for one domain to a next hop of its own.
let partner, nextHop;

export function init(config) {
  partner = config.string("partner");
  nextHop = config.string("next_hop");
}

export function onRoute(s) {
  if (s.domain !== partner) return; // the configured routes decide
  s.nextHop = nextHop;
  return s.accept();
}
