// route: mail for one domain goes its own way. It needs
//
//   [plugin.grant]
//   envelope = "write"
//
//   [plugin.config]
//   partner = "partner.test"
//   next_hop = "smtp:127.0.0.1:2526"

import { ACCEPT, CONTINUE, config, delivery, must } from "@wasmta/sdk";

let partner = "";
let nextHop = "";

export function mta1_init(): i32 {
  partner = config.getString("partner");
  nextHop = config.getString("next_hop");
  return config.status();
}

// Asked when recipients of one domain are due and nobody has said yet where they go.
export function mta1_on_route(): i32 {
  if (delivery.domain() != partner) return CONTINUE; // the routes of the server decide
  must(delivery.setNextHop(nextHop));
  return ACCEPT;
}
