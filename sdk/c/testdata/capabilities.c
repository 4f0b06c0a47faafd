/* Uses the capabilities as sdk/internal/exercise expects. */
#include "mta1.h"

static mta1_str url, hash, key;
static int32_t seen, level, size;

static mta1_str hex(mta1_str s) {
  char *p = (char *)mta1_alloc(2 * s.len);
  for (uint32_t i = 0; i < 2 * s.len; i++) p[i] = "0123456789abcdef"[(unsigned char)s.ptr[i / 2] >> (i % 2 ? 0 : 4) & 15];
  return mta1_sub(p, 2 * s.len);
}
static mta1_str unhex(mta1_str s) {
  char *p = (char *)mta1_alloc(s.len / 2);
  for (uint32_t i = 0; i < s.len; i++) {
    char v = (char)(s.ptr[i] <= '9' ? s.ptr[i] - '0' : s.ptr[i] - 'a' + 10);
    p[i / 2] = (char)(i % 2 ? p[i / 2] | v : v << 4);
  }
  return mta1_sub(p, s.len / 2);
}

/* The line that is made; say() logs it. */
static mta1_str line;
static void begin(const char *z) { line = mta1_s(z); }
static void text(mta1_str s) { line = mta1_cat(mta1_cat(line, mta1_s(" ")), s); }
static void number(int64_t v) { text(mta1_dec(v)); }
static void yes(int b) { text(mta1_s(b ? "true" : "false")); }
static void say(void) { mta1_log_str(MTA1_LOG_INFO, line); }
static void list(mta1_strs l, const char *between) {
  mta1_str all = mta1_s("");
  for (int32_t i = 0; i < l.count; i++) all = mta1_cat(mta1_cat(all, mta1_s(i ? between : "")), l.at[i]);
  text(all);
}

MTA1_INIT {
  url = mta1_config("url");
  hash = mta1_config("hash");
  key = unhex(mta1_config("key"));
  seen = mta1_counter("seen");
  level = mta1_gauge("level");
  size = mta1_histogram("size");
  return 0;
}

MTA1_HOOK(connect) {
  mta1_str k = mta1_s("k"), c = mta1_s("c"), b = mta1_s("b"), e = mta1_s("e"), x = mta1_s("x"), w = mta1_s("w");
  begin("kv get"), yes(mta1_kv_get(k).ptr != NULL), say();
  mta1_must(mta1_kv_set(k, mta1_s("v\xe2\x82\xac"), 60000, 0));
  begin("kv set"), text(mta1_kv_get(k)), say();
  begin("kv add"), yes(mta1_kv_set(k, x, 0, MTA1_KV_IF_ABSENT) == 0), yes(mta1_kv_set(mta1_s("n"), x, 60000, MTA1_KV_IF_ABSENT) == 0), say();
  begin("kv replace"), yes(mta1_kv_set(k, w, 0, MTA1_KV_IF_PRESENT) == 0), yes(mta1_kv_set(mta1_s("none"), w, 0, MTA1_KV_IF_PRESENT) == 0), say();
  mta1_must(mta1_kv_set(mta1_s("sync"), mta1_s("1"), 0, MTA1_KV_SYNC));
  begin("kv sync"), text(mta1_kv_get(mta1_s("sync"))), say();
  begin("kv cas"), yes(mta1_kv_cas(k, mta1_s("wrong"), x, 0) == 0), yes(mta1_kv_cas(k, w, x, 0) == 0);
  yes(mta1_kv_cas(mta1_s("fresh"), mta1_s(""), mta1_s("y"), 0) == 0), say();
  begin("kv incr"), number(mta1_kv_incr(c, 5, 1000, 0)), number(mta1_kv_incr(c, -2, 0, 0)), number(mta1_kv_incr(c, -9, 0, 0)), say();
  begin("kv refresh"), number(mta1_kv_incr(c, 1, 60000, MTA1_KV_REFRESH)), say();
  begin("kv take"), number(mta1_kv_take(b, 2, 2, 500)), number(mta1_kv_take(b, 1, 2, 500)), say();
  begin("kv error"), number(mta1_kv_incr(k, 1, 0, 0)), say();
  begin("kv delete"), yes(mta1_kv_del(k) == 0), yes(mta1_kv_del(k) == 0), say();
  mta1_must(mta1_kv_set(e, mta1_s(""), 0, 0));
  begin("kv empty"), yes(mta1_kv_get(e).ptr != NULL), number(mta1_kv_get(e).len), say();
  char *l = (char *)mta1_alloc(10000);
  for (int i = 0; i < 10000; i++) l[i] = 'x';
  mta1_must(mta1_kv_set(mta1_s("long"), mta1_sub(l, 10000), 0, 0));
  begin("kv long"), number(mta1_kv_get(mta1_s("long")).len), say();
  return MTA1_CONTINUE;
}

MTA1_HOOK(ehlo) {
  mta1_str a = mta1_s("a.example"), answer;
  mta1_must(mta1_dns_prefetch(MTA1_DNS_TXT, a));
  begin("dns txt"), list(mta1_dns_txt(a), "|"), say();
  begin("dns ttl"), number(mta1_dns_ttl()), yes(mta1_dns_secure()), say();
  begin("dns a"), list(mta1_dns_a(a), " "), say();
  begin("dns aaaa"), list(mta1_dns_aaaa(a), " "), say();
  begin("dns mx");
  mta1_strs mx = mta1_dns_mx(a);
  for (int32_t i = 0; i < mx.count; i++) number(mta1_mx_of(mx.at[i]).preference), text(mta1_mx_of(mx.at[i]).host);
  say();
  begin("dns ptr"), list(mta1_dns_ptr(mta1_s("1.2.0.192.in-addr.arpa")), " "), say();
  begin("dns srv"), list(mta1_dns_query(MTA1_DNS_SRV, mta1_s("_x._tcp.a.example")), " "), say();
  begin("dns none"), number(mta1_dns_mx(mta1_s("empty.example")).count), say();
  begin("dns nxdomain"), number(mta1_dns_txt(mta1_s("none.example")).count), say();
  begin("dns servfail"), number(mta1_dns_txt(mta1_s("fail.example")).count), say();
  mta1_must(mta1_dns_listed(mta1_s("list.example"), mta1_s("192.0.2.1"), &answer));
  begin("dns listed"), text(answer), say();
  begin("dns unlisted"), yes(mta1_dns_listed(mta1_s("list.example"), mta1_s("192.0.2.2"), NULL)), say();
  return MTA1_CONTINUE;
}

MTA1_HOOK(mail) {
  mta1_request r = mta1_request_to(MTA1_HTTP_GET, mta1_cat(url, mta1_s("echo")));
  mta1_request_header(&r, "X-Test", mta1_s("one"));
  r.timeout_ms = 5000;
  int32_t get = mta1_http_start(&r);
  r = mta1_request_to(MTA1_HTTP_POST, mta1_cat(url, mta1_s("echo")));
  r.body = mta1_s("donn\xc3\xa9" "es");
  int32_t post = mta1_http_start(&r);
  mta1_must(get), mta1_must(post);
  begin("http get"), number(mta1_http_status(get)), text(mta1_http_header(get, "Content-Type")), text(mta1_http_body(get)), say();
  begin("http header"), text(mta1_cat(mta1_cat(mta1_s("["), mta1_http_header(get, "X-None")), mta1_s("]"))), say();
  begin("http post"), number(mta1_http_status(post)), text(mta1_http_body(post)), say();
  begin("http ready"), yes(mta1_http_wait(post, 0) != MTA1_E_TIMEOUT), say();
  mta1_must(mta1_http_close(get)), mta1_must(mta1_http_close(post));
  begin("http closed"), number(mta1_http_status(get)), say();
  r = mta1_request_to(MTA1_HTTP_GET, mta1_cat(url, mta1_s("long")));
  int32_t l = mta1_http_start(&r);
  mta1_must(l);
  begin("http long"), number(mta1_http_body(l).len), say();
  char end[4];
  mta1_must(mta1_http_read(l, end, sizeof end));
  mta1_must(mta1_http_close(l));
  r.url = mta1_s("https://elsewhere.example/");
  int32_t code = mta1_http_start(&r);
  begin("http denied"), number(code), say();
  return MTA1_CONTINUE;
}

MTA1_HOOK(data) {
  begin("table"), text(mta1_table("users", mta1_s("bob@example.org"))), say();
  mta1_str empty = mta1_table("users", mta1_s("empty"));
  begin("table empty"), yes(empty.ptr != NULL), number(empty.len), say();
  begin("table none"), yes(mta1_table("users", mta1_s("eve")).ptr != NULL), say();
  begin("table net"), text(mta1_table("nets", mta1_s("192.0.2.9"))), say();
  begin("event"), number(mta1_event("seen", mta1_s("d\xe2\x82\xac"))), number(mta1_event("bad topic", mta1_s(""))), say();
  begin("secret"), text(mta1_secret("api"));
  if (!mta1_secret("other").ptr) number(mta1_errno);
  say();
  mta1_sample(seen, 1), mta1_sample(seen, 2);
  mta1_sample(level, 5), mta1_sample(level, -7);
  mta1_sample(size, 1), mta1_sample(size, 8);
  begin("feature");
  for (int32_t id = MTA1_FEATURE_KV; id <= MTA1_FEATURE_EVENT; id++) yes(mta1_feature(id));
  say();
  return MTA1_CONTINUE;
}

MTA1_HOOK(message) {
  mta1_request r = mta1_request_to(0, mta1_cat(url, mta1_s("echo")));
  mta1_request_header(&r, "X-Test", mta1_s("two"));
  int32_t h = mta1_http_start_msg(&r, MTA1_SEND_BODY);
  mta1_must(h);
  begin("http body"), number(mta1_http_status(h)), text(mta1_http_body(h)), say();
  r = mta1_request_to(0, mta1_cat(url, mta1_s("length")));
  h = mta1_http_start_msg(&r, MTA1_SEND_MESSAGE);
  mta1_must(h);
  begin("http message"), number(mta1_http_status(h)), text(mta1_http_body(h)), say();

  mta1_str sum = mta1_digest(MTA1_ALG_SHA256, mta1_s("abc"));
  begin("digest"), text(hex(sum)), say();
  h = mta1_digest_open(MTA1_ALG_SHA256);
  mta1_must(mta1_digest_update(h, mta1_s("a"))), mta1_must(mta1_digest_update(h, mta1_s("bc")));
  begin("digest"), yes(mta1_eq(mta1_digest_final(h), sum)), say();
  h = mta1_digest_open(MTA1_ALG_SHA256);
  mta1_must(mta1_digest_update(h, mta1_s("x"))), mta1_must(mta1_digest_body(h, 0, 5, MTA1_CANON_RAW));
  mta1_str part = mta1_digest_final(h);
  begin("digest part"), text(hex(part)), say();
  begin("digest body"), text(hex(mta1_body_digest(MTA1_ALG_SHA256, MTA1_CANON_SIMPLE, -1))), say();
  mta1_str sig = mta1_sign("dkim", MTA1_ALG_ED25519, sum);
  begin("sign"), number(sig.len), yes(mta1_verify(MTA1_ALG_ED25519, key, sig, sum) == 0);
  yes(mta1_verify(MTA1_ALG_ED25519, key, sig, part) != MTA1_E_BAD_SIG), say();
  begin("sign error"), number(mta1_sign("other", MTA1_ALG_ED25519, sum).ptr ? 0 : mta1_errno), say();
  begin("hmac"), text(hex(mta1_hmac("mac", MTA1_ALG_SHA256, mta1_s("abc")))), say();
  begin("password"), yes(mta1_password_verify(hash, mta1_s("secret")) == 1), yes(mta1_password_verify(hash, mta1_s("wrong")) == 1), say();
  begin("password error"), number(mta1_password_verify(mta1_s("secret"), mta1_s("secret"))), say();

  int32_t top = mta1_body_write(mta1_s("[top]\r\n")), middle = mta1_body_splice(0, 7), end = mta1_body_write(mta1_s("[end]\r\n"));
  begin("body"), number(top), number(middle), number(end), say();
  return MTA1_CONTINUE;
}
