// Uses the helpers as sdk/internal/exercise expects.
import { detachSession, detachTransaction, feature, monotonic, random, silently, text, DROP } from "mta";

export function init(config) {
  const list = config.strings("list"), number = config.int("number", 1), yes = config.bool("yes");
  console.log(`init ${list.join("|")} ${config.string("text")} ${number} ${yes} ${config.string("none", "missing")}`);
}

export function onEhlo(s) {
  console.log(`ehlo ${s.remoteIp} ${s.remotePort} ${s.helo} ${s.esmtp} ${s.listener} ${s.ptr}`);
  s.extensions = [...s.extensions, "X-TEST"];
}

export function onMail(s) {
  const from = s.mailFrom;
  switch (from) {
    case "reject@x.test": return s.reject(550, "5.7.1", "no\nthanks");
    case "defer@x.test": return s.defer(451, "4.3.0", "later");
    case "drop@x.test": return s.drop(421, "", "bye");
    case "silent@x.test": return silently(DROP);
    case "plain@x.test": return s.hold();
    case "detach@x.test": return detachSession(detachTransaction(0));
    case "fail@x.test": s.nextHop = "mx";
  }
  const clocks = Date.now() > 0 && monotonic() > 0 && random(8).length === 8 && feature("headersWrite");
  console.log(`mail ${from} ${clocks}`);
  s.mailFrom = "new@x.test";
  s.attrs.session.set("k", "v€");
  s.attrs.transaction.set("gone", "1").delete("gone");
}

export function onRcpt(s) {
  const to = s.rcpt;
  console.log(`rcpt ${to.local} ${to.domain} ${to.path} ${s.rcptCount} ${s.attrs.session.get("k") ?? "none"} ${s.attrs.transaction.get("gone") ?? "none"}`);
  if (to.local === "vip") return s.accept(250, "2.1.5", "welcome");
}

export function onMessage(s) {
  const h = s.headers;
  console.log(`message ${h.length} ${h.getAll("Received").join("|")} ${s.messageId} ${s.body.size} ${text(s.body.read(7, 5))}`);
  console.log(`subject ${h.get("subject").length}`);
  if (h.get("X-Odd") !== "a\ufffdb") console.error("wrong: what stands behind a stray octet is lost");
  h.set("X-Old", "new");
  h.set("X-Set", "é");
  h.delete("Received");
  h.prepend("X-Top", "1");
  s.removeRcpts((r) => r.local === "unwanted");
  s.rcpts[0].path = "first@z.test";
  s.addRcpt("more@x.test");
}

export function onRoute(s) {
  console.log(`route ${s.domain} ${s.attempt}`);
  s.nextHop = "smtp:127.0.0.1:2526";
  s.tlsPolicy = 2;
  s.priority = 7;
  return s.accept();
}
