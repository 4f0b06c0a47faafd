// headers: what a list does to the header section of a message. It needs
//
//   [plugin.grant]
//   headers = "write"

import { CONTINUE, headers, must } from "@wasmta/sdk";

const tag = "[list] ";

export function mta1_init(): i32 {
  return 0; // there is nothing to configure
}

// Asked when the content is complete.
export function mta1_on_message(): i32 {
  must(headers.remove("X-Spam-Flag")); // nobody outside says what is spam here
  const subject = headers.get("Subject");
  if (!subject.startsWith(tag)) must(headers.set("Subject", tag + subject));
  must(headers.prepend("X-Policy", "checked by wasmta"));
  return CONTINUE;
}
