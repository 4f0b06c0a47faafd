/* Refuses recipients by local part or domain. */
#include "mta1.h"

static mta1_strs blocked; /* local parts and domains that take no mail */

MTA1_INIT {
  blocked = mta1_config_strings("blocked");
  return 0;
}

MTA1_HOOK(rcpt) {
  int32_t r = mta1_rcpt();
  if (mta1_in(blocked, mta1_rcpt_text(r, MTA1_RCPT_LOCAL)) || mta1_in(blocked, mta1_rcpt_text(r, MTA1_RCPT_DOMAIN)))
    return mta1_reject(550, "5.7.1", "this mailbox takes no mail");
  return MTA1_CONTINUE; /* no opinion: the server's own rules decide */
}
