/* Sends mail for one domain to a next hop of its own. */
#include "mta1.h"

static mta1_str partner, next_hop;

MTA1_INIT {
  partner = mta1_config("partner");
  next_hop = mta1_config("next_hop");
  return 0;
}

MTA1_HOOK(route) {
  if (!mta1_eq(mta1_text(MTA1_F_DOMAIN), partner)) return MTA1_CONTINUE; /* the configured routes decide */
  mta1_must(mta1_set(MTA1_F_TRANSPORT, next_hop));
  return MTA1_ACCEPT;
}
