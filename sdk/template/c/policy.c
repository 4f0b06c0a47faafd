/* Refuses recipients at one domain. */
#include "mta1.h"

static mta1_str domain; /* takes no mail */

MTA1_INIT {
  domain = mta1_config("domain");
  return 0;
}

/* Asked at each RCPT TO. */
MTA1_HOOK(rcpt) {
  if (mta1_eq(mta1_rcpt_text(mta1_rcpt(), MTA1_RCPT_DOMAIN), domain))
    return mta1_reject(550, "5.7.1", "this domain takes no mail");
  return MTA1_CONTINUE; /* no opinion: the server's own rules decide */
}
