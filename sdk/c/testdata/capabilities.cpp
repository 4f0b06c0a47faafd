// Uses the capabilities as sdk/internal/exercise expects.
#include "mta1.hpp"

using mta1::text;

static text url, hash, key;
static mta1::counter seen;
static mta1::gauge level;
static mta1::histogram size;

static text hex(text s) {
  char *p = static_cast<char *>(mta1_alloc(2 * s.size()));
  for (uint32_t i = 0; i < 2 * s.size(); i++) p[i] = "0123456789abcdef"[static_cast<unsigned char>(s[i / 2]) >> (i % 2 ? 0 : 4) & 15];
  return text(p, 2 * s.size());
}
static text unhex(text s) {
  char *p = static_cast<char *>(mta1_alloc(s.size() / 2));
  for (uint32_t i = 0; i < s.size(); i++) {
    char v = static_cast<char>(s[i] <= '9' ? s[i] - '0' : s[i] - 'a' + 10);
    p[i / 2] = static_cast<char>(i % 2 ? p[i / 2] | v : v << 4);
  }
  return text(p, s.size() / 2);
}

static text word(text s) { return s; }
static text word(bool b) { return b ? "true" : "false"; }
template <typename N>
static text word(N n) { return mta1::decimal(n); }
static text word(mta1::texts l) {
  text all = "";
  for (text t : l) all = all.empty() ? t : all + " " + t;
  return all;
}
static text line(text s) { return s; }
template <typename W, typename... More>
static text line(text s, W w, More... more) { return line(s + " " + word(w), more...); }
template <typename... W>
static void say(const char *first, W... more) { mta1_log_str(MTA1_LOG_INFO, line(first, more...)); }

MTA1_INIT {
  url = mta1_config("url");
  hash = mta1_config("hash");
  key = unhex(mta1_config("key"));
  seen = mta1::counter("seen");
  level = mta1::gauge("level");
  size = mta1::histogram("size");
  return 0;
}

MTA1_HOOK(connect) {
  namespace kv = mta1::kv;
  say("kv get", bool(kv::get("k")));
  mta1_must(kv::set("k", "v\xe2\x82\xac", 60000));
  say("kv set", kv::get("k"));
  bool first = kv::add("k", "x"), second = kv::add("n", "x", 60000);
  say("kv add", first, second);
  first = kv::replace("k", "w"), second = kv::replace("none", "w");
  say("kv replace", first, second);
  mta1_must(kv::set("sync", "1", 0, MTA1_KV_SYNC));
  say("kv sync", kv::get("sync"));
  first = kv::compare_and_swap("k", "wrong", "x"), second = kv::compare_and_swap("k", "w", "x");
  say("kv cas", first, second, kv::compare_and_swap("fresh", "", "y"));
  int64_t a = kv::incr("c", 5, 1000), b = kv::incr("c", -2), c = kv::incr("c", -9);
  say("kv incr", a, b, c);
  say("kv refresh", kv::incr("c", 1, 60000, MTA1_KV_REFRESH));
  a = kv::take("b", 2, 2, 500), b = kv::take("b", 1, 2, 500);
  say("kv take", a, b);
  say("kv error", kv::incr("k"));
  first = kv::erase("k"), second = kv::erase("k");
  say("kv delete", first, second);
  mta1_must(kv::set("e", ""));
  say("kv empty", bool(kv::get("e")), kv::get("e").size());
  text l = "xxxxxxxxxx";
  for (int i = 0; i < 3; i++) l = l + l + l + l + l + l + l + l + l + l;
  mta1_must(kv::set("long", l));
  say("kv long", kv::get("long").size());
  return MTA1_CONTINUE;
}

MTA1_HOOK(ehlo) {
  namespace dns = mta1::dns;
  mta1_must(dns::prefetch(MTA1_DNS_TXT, "a.example"));
  mta1::texts txt = dns::txt("a.example");
  say("dns txt", txt[0] + "|" + txt[1]);
  say("dns ttl", mta1_dns_ttl(), bool(mta1_dns_secure()));
  say("dns a", dns::a("a.example"));
  say("dns aaaa", dns::aaaa("a.example"));
  say("dns mx", dns::mx("a.example"));
  say("dns ptr", dns::ptr("1.2.0.192.in-addr.arpa"));
  say("dns srv", dns::query(MTA1_DNS_SRV, "_x._tcp.a.example"));
  say("dns none", dns::mx("empty.example").size());
  say("dns nxdomain", dns::txt("none.example").error());
  say("dns servfail", dns::txt("fail.example").error());
  say("dns listed", dns::listed("list.example", "192.0.2.1"));
  say("dns unlisted", bool(dns::listed("list.example", "192.0.2.2")));
  return MTA1_CONTINUE;
}

MTA1_HOOK(mail) {
  using mta1::request;
  int32_t closed;
  {
    mta1::response get = request(url + "echo").header("X-Test", "one").timeout(5000).start();
    mta1::response post = request(MTA1_HTTP_POST, url + "echo").body("donn\xc3\xa9" "es").start();
    say("http get", get.status(), get.header("Content-Type"), get.body());
    say("http header", text("[") + get.header("X-None") + "]");
    say("http post", post.status(), post.body());
    say("http ready", post.ready());
    closed = get.get();
    mta1::response moved = static_cast<mta1::response &&>(post);
    if (post || !moved) return MTA1_REJECT;
  }
  say("http closed", mta1_http_status(closed));
  mta1::response l = request(url + "long").start();
  say("http long", l.body().size());
  char end[4];
  mta1_must(l.read(end, sizeof end));
  l.close();
  mta1::response denied = request("https://elsewhere.example/").start();
  say("http denied", denied.status());
  return MTA1_CONTINUE;
}

MTA1_HOOK(data) {
  say("table", text(mta1_table("users", text("bob@example.org"))));
  text empty = mta1_table("users", text("empty"));
  say("table empty", bool(empty), empty.size());
  say("table none", bool(text(mta1_table("users", text("eve")))));
  say("table net", text(mta1_table("nets", text("192.0.2.9"))));
  say("event", mta1_event("seen", text("d\xe2\x82\xac")), mta1_event("bad topic", text("")));
  text secret = mta1_secret("api");
  say("secret", secret, mta1_secret("other").ptr ? 0 : mta1_errno);
  seen.add(), seen.add(2);
  level.set(5), level.set(-7);
  size.observe(1), size.observe(8);
  text features;
  for (int32_t id = MTA1_FEATURE_KV; id <= MTA1_FEATURE_EVENT; id++) features = features + " " + (mta1_feature(id) ? "true" : "false");
  mta1_log_str(MTA1_LOG_INFO, text("feature") + features);
  return MTA1_CONTINUE;
}

MTA1_HOOK(message) {
  mta1::response r = mta1::request(url + "echo").header("X-Test", "two").start_msg(MTA1_SEND_BODY);
  say("http body", r.status(), r.body());
  r = mta1::request(url + "length").start_msg(MTA1_SEND_MESSAGE);
  say("http message", r.status(), r.body());

  text sum = mta1_digest(MTA1_ALG_SHA256, text("abc"));
  say("digest", hex(sum));
  for (int i = 0; i < 20; i++) mta1::digest(MTA1_ALG_SHA256).update("not summed"); // eight may be open
  say("digest", mta1::digest(MTA1_ALG_SHA256).update("a").update("bc").sum() == sum);
  text part = mta1::digest(MTA1_ALG_SHA256).update("x").body(0, 5).sum();
  say("digest part", hex(part));
  say("digest body", hex(mta1::digest(MTA1_ALG_SHA256).body(0, -1, MTA1_CANON_SIMPLE).sum()));
  text sig = mta1_sign("dkim", MTA1_ALG_ED25519, sum);
  say("sign", sig.size(), mta1_verify(MTA1_ALG_ED25519, key, sig, sum) == 0, mta1_verify(MTA1_ALG_ED25519, key, sig, part) != MTA1_E_BAD_SIG);
  say("sign error", mta1_sign("other", MTA1_ALG_ED25519, sum).ptr ? 0 : mta1_errno);
  say("hmac", hex(mta1_hmac("mac", MTA1_ALG_SHA256, text("abc"))));
  say("password", mta1_password_verify(hash, text("secret")) == 1, mta1_password_verify(hash, text("wrong")) == 1);
  say("password error", mta1_password_verify(text("secret"), text("secret")));

  int32_t top = mta1_body_write(text("[top]\r\n")), middle = mta1_body_splice(0, 7), end = mta1_body_write(text("[end]\r\n"));
  say("body", top, middle, end);
  return MTA1_CONTINUE;
}
