// Refuses recipients at one domain.

import { CONTINUE, config, reject, session } from "./wasmta/index";

let domain = ""; // takes no mail

export function mta1_init(): i32 {
  domain = config.getString("domain");
  return config.status();
}

// Asked at each RCPT TO.
export function mta1_on_rcpt(): i32 {
  if (session.recipient().domain == domain) {
    return reject(550, "5.7.1", "this domain takes no mail");
  }
  return CONTINUE; // no opinion: the server's own rules decide
}
