// Uses the capabilities as sdk/internal/exercise expects.
import { counter, crypto, dns, event, feature, gauge, histogram, http, kv, octets, secret, table } from "mta";

const seen = counter("seen"), level = gauge("level"), size = histogram("size");
let url, hash, key;

export function init(config) {
  url = config.string("url");
  hash = config.string("hash");
  key = Uint8Array.fromHex(config.string("key"));
}

const say = (...words) => console.log(words.join(" "));

// The number of the error that f throws; 0: it throws none.
const code = (f) => {
  try {
    f();
    return 0;
  } catch (e) {
    return e.number ?? String(e);
  }
};

export function onConnect() {
  say("kv get", kv.get("k") !== undefined);
  kv.set("k", "v€", 60_000);
  say("kv set", kv.get("k"));
  say("kv add", kv.add("k", "x"), kv.add("n", "x", 60_000));
  say("kv replace", kv.replace("k", "w"), kv.replace("none", "w"));
  kv.setSync("sync", "1");
  say("kv sync", kv.get("sync"));
  say("kv cas", kv.compareAndSwap("k", "wrong", "x"), kv.compareAndSwap("k", "w", "x"), kv.compareAndSwap("fresh", "", "y"));
  say("kv incr", kv.incr("c", 5, 1000), kv.incr("c", -2), kv.incr("c", -9));
  say("kv refresh", kv.incrRefresh("c", 1, 60_000));
  say("kv take", kv.take("b", 2, 2, 0.5), kv.take("b", 1, 2, 0.5));
  say("kv error", code(() => kv.incr("k")));
  say("kv delete", kv.delete("k"), kv.delete("k"));
  kv.set("e", "");
  say("kv empty", kv.get("e") !== undefined, kv.get("e").length);
  kv.set("long", "x".repeat(10000));
  say("kv long", kv.getOctets("long").length);
}

export function onEhlo() {
  dns.prefetch("TXT", "a.example");
  say("dns txt", dns.txt("a.example").join("|"));
  say("dns ttl", dns.ttl, dns.secure);
  say("dns a", dns.query("A", "a.example").join(" "));
  say("dns aaaa", dns.query("AAAA", "a.example").join(" "));
  say("dns mx", dns.mx("a.example").map((x) => `${x.preference} ${x.host}`).join(" "));
  say("dns ptr", dns.query("PTR", "1.2.0.192.in-addr.arpa").join(" "));
  say("dns srv", dns.query("SRV", "_x._tcp.a.example").join(" "));
  say("dns none", dns.mx("empty.example").length);
  say("dns nxdomain", code(() => dns.txt("none.example")));
  say("dns servfail", code(() => dns.addresses("fail.example")));
  say("dns listed", dns.listed("list.example", "192.0.2.1"));
  say("dns unlisted", dns.listed("list.example", "192.0.2.2") !== "");
}

export function onMail() {
  const get = http.start(url + "echo", { headers: { "X-Test": "one" }, timeout: 5000 });
  const post = http.start(url + "echo", { method: "POST", body: "données" });
  say("http get", get.status, get.header("Content-Type"), get.text());
  say("http header", `[${get.header("X-None")}]`);
  say("http post", post.status, post.text());
  say("http ready", post.ready(0));
  get.close();
  post.close();
  say("http closed", code(() => get.status));
  const long = http.fetch(url + "long");
  say("http long", long.octets().length);
  long.close();
  say("http denied", code(() => http.fetch("https://elsewhere.example/")));
}

export function onData() {
  say("table", table.lookup("users", "bob@example.org"));
  const empty = table.lookup("users", "empty");
  say("table empty", empty !== undefined, empty.length);
  say("table none", table.lookup("users", "eve") !== undefined);
  say("table net", table.lookup("nets", "192.0.2.9"));
  say("event", code(() => event.emit("seen", "d€")), code(() => event.emit("bad topic", "")));
  say("secret", secret("api"), code(() => secret("other")));
  seen.add();
  seen.add(2);
  level.set(5);
  level.set(-7);
  size.observe(1);
  size.observe(8);
  say("feature", ["kv", "dns", "http", "crypto", "table", "event"].map(feature).join(" "));
}

export function onMessage(s) {
  const post = (path, options) => {
    const r = http.sendMessage(url + path, options);
    const line = `${r.status} ${r.text()}`;
    r.close();
    return line.trim();
  };
  say("http body", post("echo", { what: "body", headers: { "X-Test": "two" } }));
  say("http message", post("length"));
  const sum = crypto.digest("sha256", "abc");
  say("digest", sum.toHex());
  say("digest", crypto.createDigest("sha256").update("a").update(octets("bc")).final().toHex() === sum.toHex());
  const part = crypto.createDigest("sha256").update("x").body("raw", 0, 5).final();
  say("digest part", part.toHex());
  say("digest body", crypto.bodyDigest("sha256", "simple").toHex());
  const signature = crypto.sign("dkim", "ed25519", sum);
  say("sign", signature.length, crypto.verify("ed25519", key, signature, sum), crypto.verify("ed25519", key, signature, part));
  say("sign error", code(() => crypto.sign("other", "ed25519", sum)));
  say("hmac", crypto.hmac("mac", "sha256", "abc").toHex());
  say("password", crypto.checkPassword(hash, "secret"), crypto.checkPassword(hash, "wrong"));
  say("password error", code(() => crypto.checkPassword("secret", "secret")));
  say("body", code(() => s.body.write("[top]\r\n")), code(() => s.body.splice(0, 7)), code(() => s.body.write("[end]\r\n")));
}
