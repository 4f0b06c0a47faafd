// Uses the capabilities as sdk/internal/exercise expects.

import {
  CONTINUE, Alg, Canon, Code, Counter, Digest, Feature, Gauge, Histogram, Method, RecordType, Request, Send,
  config, content, crypto, decodeText, dns, emit, encodeText, feature, kv, lastError, log, lookup, must, secret,
} from "@wasmta/sdk";

const seen = new Counter("seen");
const level = new Gauge("level");
const size = new Histogram("size");
let url = "";
let hash = "";
let key = new Uint8Array(0);

function hex(b: Uint8Array | null): string {
  let s = "";
  if (b !== null) for (let i = 0; i < b.length; i++) s += b[i].toString(16).padStart(2, "0");
  return s;
}

function join(list: string[] | null, between: string): string {
  return list === null ? "null" : list.join(between);
}

function or(s: string | null): string {
  return s === null ? "null" : s;
}

export function mta1_init(): i32 {
  url = config.getString("url");
  hash = config.getString("hash");
  const digits = config.getString("key");
  key = new Uint8Array(digits.length / 2);
  for (let i = 0; i < key.length; i++) key[i] = <u8>U8.parseInt(digits.substring(2 * i, 2 * i + 2), 16);
  seen.define();
  level.define();
  size.define();
  return config.status();
}

export function mta1_on_connect(): i32 {
  log.info("kv get " + (kv.get("k") !== null).toString());
  must(kv.set("k", "v€", 60000));
  log.info("kv set " + or(kv.get("k")));
  let first = kv.add("k", "x");
  let second = kv.add("n", "x", 60000);
  log.info("kv add " + first.toString() + " " + second.toString());
  first = kv.replace("k", "w");
  second = kv.replace("none", "w");
  log.info("kv replace " + first.toString() + " " + second.toString());
  must(kv.setSync("sync", "1"));
  log.info("kv sync " + or(kv.get("sync")));
  first = kv.compareAndSwap("k", "wrong", "x");
  second = kv.compareAndSwap("k", "w", "x");
  const third = kv.compareAndSwap("fresh", "", "y");
  log.info("kv cas " + first.toString() + " " + second.toString() + " " + third.toString());
  let a = kv.increment("c", 5, 1000);
  let b = kv.increment("c", -2);
  const c = kv.increment("c", -9);
  log.info("kv incr " + a.toString() + " " + b.toString() + " " + c.toString());
  log.info("kv refresh " + kv.increment("c", 1, 60000, true).toString());
  a = kv.take("b", 2, 2, 0.5);
  b = kv.take("b", 1, 2, 0.5);
  log.info("kv take " + a.toString() + " " + b.toString());
  log.info("kv error " + kv.increment("k").toString());
  first = kv.remove("k");
  second = kv.remove("k");
  log.info("kv delete " + first.toString() + " " + second.toString());
  must(kv.set("e", ""));
  const e = kv.get("e");
  log.info("kv empty " + (e !== null).toString() + " " + or(e).length.toString());
  const long = new Uint8Array(10000);
  long.fill(0x78);
  must(kv.setOctets("long", long));
  const back = kv.getOctets("long");
  log.info("kv long " + (back === null || back[9999] != 0x78 ? 0 : back.length).toString());
  return CONTINUE;
}

export function mta1_on_ehlo(): i32 {
  must(dns.prefetch(RecordType.TXT, "a.example"));
  log.info("dns txt " + join(dns.txt("a.example"), "|"));
  log.info("dns ttl " + dns.ttl().toString() + " " + dns.secure().toString());
  log.info("dns a " + join(dns.a("a.example"), " "));
  log.info("dns aaaa " + join(dns.aaaa("a.example"), " "));
  const mx = dns.mx("a.example");
  let line = "dns mx";
  if (mx !== null) for (let i = 0; i < mx.length; i++) line += " " + mx[i].preference.toString() + " " + mx[i].host;
  log.info(line);
  log.info("dns ptr " + join(dns.ptr("1.2.0.192.in-addr.arpa"), " "));
  const srv = dns.query(RecordType.SRV, "_x._tcp.a.example");
  log.info("dns srv " + (srv === null ? "null" : decodeText(srv[0])));
  const none = dns.mx("empty.example");
  log.info("dns none " + (none === null ? "null" : none.length.toString()));
  log.info("dns nxdomain " + (dns.txt("none.example") === null ? lastError() : 0).toString());
  log.info("dns servfail " + (dns.txt("fail.example") === null ? lastError() : 0).toString());
  log.info("dns listed " + or(dns.listed("list.example", "192.0.2.1")));
  log.info("dns unlisted " + (dns.listed("list.example", "192.0.2.2") !== null || lastError() != 0).toString());
  return CONTINUE;
}

export function mta1_on_mail(): i32 {
  const get = new Request(url + "echo").header("X-Test", "one").timeout(5000).start();
  const post = new Request(url + "echo", Method.POST).body("données").start();
  log.info("http get " + get.status().toString() + " " + get.header("Content-Type") + " " + get.text());
  log.info("http header [" + get.header("X-None") + "]");
  log.info("http post " + post.status().toString() + " " + post.text());
  log.info("http ready " + post.ready().toString());
  must(get.close());
  must(post.close());
  log.info("http closed " + get.status().toString());
  const long = new Request(url + "long").send();
  const b = long.octets();
  log.info("http long " + (b === null ? 0 : b.length).toString());
  must(long.read(new Uint8Array(4)));
  must(long.close());
  log.info("http denied " + new Request("https://elsewhere.example/").send().status().toString());
  return CONTINUE;
}

export function mta1_on_data(): i32 {
  log.info("table " + or(lookup("users", "bob@example.org")));
  const empty = lookup("users", "empty");
  log.info("table empty " + (empty !== null).toString() + " " + or(empty).length.toString());
  log.info("table none " + (lookup("users", "eve") !== null).toString());
  log.info("table net " + or(lookup("nets", "192.0.2.9")));
  log.info("event " + emit("seen", "d€").toString() + " " + emit("bad topic", "").toString());
  const api = or(secret("api"));
  log.info("secret " + api + " " + (secret("other") === null ? lastError() : 0).toString());
  seen.add();
  seen.add(2);
  level.set(5);
  level.set(-7);
  size.observe(1);
  size.observe(8);
  let line = "feature";
  for (let id = Feature.KV; id <= Feature.EVENT; id++) line += " " + feature(id).toString();
  log.info(line);
  return CONTINUE;
}

export function mta1_on_message(): i32 {
  let r = new Request(url + "echo").header("X-Test", "two").startMessage(Send.BODY);
  log.info("http body " + r.status().toString() + " " + r.text());
  r.close();
  r = new Request(url + "length").bodyOctets(encodeText("not sent")).startMessage(Send.MESSAGE);
  log.info("http message " + r.status().toString() + " " + r.text());

  const sum = crypto.digest(Alg.SHA256, encodeText("abc"))!;
  log.info("digest " + hex(sum));
  log.info("digest " + (hex(new Digest(Alg.SHA256).update(encodeText("a")).update(encodeText("bc")).sum()) == hex(sum)).toString());
  const part = new Digest(Alg.SHA256).update(encodeText("x")).body(0, 5, Canon.RAW).sum()!;
  log.info("digest part " + hex(part));
  log.info("digest body " + hex(crypto.bodyDigest(Alg.SHA256, Canon.SIMPLE)));
  const sig = crypto.sign("dkim", Alg.ED25519, sum)!;
  const good = crypto.verify(Alg.ED25519, key, sig, sum) == 0;
  const bad = crypto.verify(Alg.ED25519, key, sig, part) != Code.E_BAD_SIG;
  log.info("sign " + sig.length.toString() + " " + good.toString() + " " + bad.toString());
  log.info("sign error " + (crypto.sign("other", Alg.ED25519, sum) === null ? lastError() : 0).toString());
  log.info("hmac " + hex(crypto.hmac("mac", Alg.SHA256, encodeText("abc"))));
  const right = crypto.checkPassword(hash, "secret") == 1;
  const wrong = crypto.checkPassword(hash, "wrong") == 1;
  log.info("password " + right.toString() + " " + wrong.toString());
  log.info("password error " + crypto.checkPassword("secret", "secret").toString());

  const top = content.writeBody("[top]\r\n");
  const middle = content.spliceBody(0, 7);
  const end = content.writeBodyOctets(encodeText("[end]\r\n"));
  log.info("body " + top.toString() + " " + middle.toString() + " " + end.toString());
  return CONTINUE;
}
