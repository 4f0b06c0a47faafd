/* Rewrites header fields of a message that is complete. */
#include "mta1.h"

MTA1_INIT { return 0; }

MTA1_HOOK(message) {
  mta1_must(mta1_header_delete("X-Spam-Flag"));
  mta1_str subject = mta1_header("Subject");
  if (!mta1_starts(subject, "[list] ")) mta1_must(mta1_header_set("Subject", mta1_cat(mta1_s("[list] "), subject)));
  mta1_must(mta1_header_prepend("X-Policy", mta1_s("checked by wasmta")));
  return MTA1_CONTINUE;
}
