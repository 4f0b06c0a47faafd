// block: recipients that take no mail.
//
//   [plugin.config]
//   blocked = ["blocked", "spam.test"]      # local parts and domains

import { CONTINUE, config, reject, session } from "@wasmta/sdk";

let blocked: string[] = [];

export function mta1_init(): i32 {
  blocked = config.getStrings("blocked");
  return config.status();
}

// Asked at each RCPT TO.
export function mta1_on_rcpt(): i32 {
  const to = session.recipient();
  if (blocked.includes(to.local) || blocked.includes(to.domain)) {
    return reject(550, "5.7.1", "this mailbox takes no mail");
  }
  return CONTINUE; // no opinion: the server's own rules decide
}
