// Uses the helpers as sdk/internal/exercise expects.

import {
  ACCEPT, CONTINUE, DROP, HOLD, Feature, Scope,
  accept, attributes, config, content, decodeText, defer, delivery, detachSession, detachTransaction, drop, feature,
  headers, log, monotonic, must, now, random, reject, session, silently,
} from "@wasmta/sdk";

export function mta1_init(): i32 {
  const list = config.getStrings("list");
  log.info(
    "init " + list.join("|") + " " + config.getString("text") + " " + config.getInt("number", 1).toString() + " " +
    config.getBool("yes").toString() + " " + config.getString("none", "missing"));
  return config.status();
}

export function mta1_on_ehlo(): i32 {
  log.info("ehlo " + session.remoteIP() + " " + session.remotePort().toString() + " " + session.helo() + " " +
    session.esmtp().toString() + " " + session.listener() + " " + session.ptr());
  must(session.setExtensions(session.extensions() + "\nX-TEST"));
  return CONTINUE;
}

export function mta1_on_mail(): i32 {
  const from = session.reversePath();
  if (from == "reject@x.test") return reject(550, "5.7.1", "no\nthanks");
  if (from == "defer@x.test") return defer(451, "4.3.0", "later");
  if (from == "drop@x.test") return drop(421, "", "bye");
  if (from == "silent@x.test") return silently(DROP);
  if (from == "plain@x.test") return HOLD;
  if (from == "detach@x.test") return detachSession(detachTransaction(CONTINUE));
  if (from == "fail@x.test") must(delivery.setNextHop("mx"));
  const clocks = now() > 0 && monotonic() > 0 && random(8).length == 8 && feature(Feature.HEADERS_WRITE);
  log.info("mail " + from + " " + clocks.toString());
  must(session.setReversePath("new@x.test"));
  must(attributes.set(Scope.SESSION, "k", "v€"));
  must(attributes.set(Scope.TRANSACTION, "gone", "1"));
  must(attributes.remove(Scope.TRANSACTION, "gone"));
  return CONTINUE;
}

export function mta1_on_rcpt(): i32 {
  const to = session.recipient();
  const k = attributes.get(Scope.SESSION, "k");
  const gone = attributes.get(Scope.TRANSACTION, "gone");
  log.info("rcpt " + to.local + " " + to.domain + " " + to.forwardPath + " " + session.recipientCount().toString() + " " +
    (k === null ? "none" : k) + " " + (gone === null ? "none" : gone));
  return to.local == "vip" ? accept(250, "2.1.5", "welcome") : CONTINUE;
}

export function mta1_on_message(): i32 {
  const buf = new Uint8Array(5);
  must(content.readBody(7, buf));
  log.info("message " + headers.count().toString() + " " + headers.values("Received").join("|") + " " + content.messageID() + " " +
    content.bodySize().toString() + " " + decodeText(buf));
  log.info("subject " + headers.get("subject").length.toString());
  if (headers.get("X-Odd") != "a\uFFFDb") log.error("wrong: what stands behind a stray octet is lost");
  must(headers.set("X-Old", "new"));
  must(headers.set("X-Set", "é"));
  must(headers.remove("Received"));
  must(headers.prepend("X-Top", "1"));
  const all = session.recipients();
  for (let i = all.length - 1; i >= 0; i--) {
    if (all[i].local == "unwanted") must(all[i].remove());
  }
  must(all[0].setForwardPath("first@z.test"));
  must(session.addRecipient("more@x.test"));
  return CONTINUE;
}

export function mta1_on_route(): i32 {
  log.info("route " + delivery.domain() + " " + delivery.attempt().toString());
  must(delivery.setNextHop("smtp:127.0.0.1:2526"));
  must(delivery.setTLSPolicy(2));
  must(delivery.setPriority(7));
  return ACCEPT;
}
