/* mta1.hpp: what mta1.h has, for C++14 and later: texts that compare and join,
 * and requests and digests that end themselves. It needs no standard library,
 * neither exceptions nor RTTI. MTA1_INIT and MTA1_HOOK stay as they are. No code
 * runs before MTA1_INIT: globals begin empty, and are set there.
 *
 *   #include "mta1.hpp"
 *
 *   MTA1_INIT { return 0; }
 *
 *   MTA1_HOOK(rcpt) {
 *     if (mta1::kv::take(mta1::text("r:") + mta1::field(MTA1_F_REMOTE_IP), 1, 20, 500) > 0)
 *       return mta1_defer(450, "4.7.1", "slow down");
 *     return MTA1_CONTINUE;
 *   }
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MTA1_HPP
#define MTA1_HPP

#include "mta1.h"

namespace mta1 {

/* A text, as mta1_str: octets that live until the hook returns. False if there
 * is none. */
class text {
 public:
  constexpr text() : s_{nullptr, 0} {}
  text(const char *z) : s_(mta1_s(z)) {}
  text(mta1_str s) : s_(s) {}
  text(const char *ptr, uint32_t len) : s_(mta1_sub(ptr, len)) {}
  operator mta1_str() const { return s_; }
  explicit operator bool() const { return s_.ptr != nullptr; }

  const char *data() const { return s_.ptr; }
  uint32_t size() const { return s_.len; }
  bool empty() const { return s_.len == 0; }
  const char *begin() const { return s_.ptr; }
  const char *end() const { return s_.ptr + s_.len; }
  char operator[](uint32_t i) const { return s_.ptr[i]; }

  bool starts_with(const char *z) const { return mta1_starts(s_, z); }
  bool ends_with(const char *z) const { return mta1_ends(s_, z); }
  bool equals_ignoring_case(text o) const { return mta1_eq_fold(s_, o.s_); }
  friend bool operator==(text a, text b) { return mta1_eq(a.s_, b.s_); }
  friend bool operator!=(text a, text b) { return !mta1_eq(a.s_, b.s_); }
  friend text operator+(text a, text b) { return mta1_cat(a.s_, b.s_); }

 private:
  mta1_str s_;
};

/* A number in decimal. */
inline text decimal(int64_t v) { return mta1_dec(v); }

/* A list of texts. error() is below 0 if there is none. */
class texts {
 public:
  constexpr texts() : l_{nullptr, 0} {}
  texts(mta1_strs l) : l_(l) {}
  int32_t size() const { return l_.count < 0 ? 0 : l_.count; }
  int32_t error() const { return l_.count < 0 ? l_.count : 0; }
  text operator[](int32_t i) const { return l_.at[i]; }
  const mta1_str *begin() const { return l_.at; }
  const mta1_str *end() const { return l_.at + size(); }
  bool contains(text t) const { return mta1_in(l_, t); }

 private:
  mta1_strs l_;
};

/* A field of the kind "octets", MTA1_F_...; false if it is not there. */
inline text field(int32_t f) { return mta1_text(f); }

/* The plugin's memory; see mta1.h. */
namespace kv {
inline text get(text key) { return mta1_kv_get(key); }
inline int32_t set(text key, text value, int64_t ttl_ms = 0, int32_t flags = 0) { return mta1_kv_set(key, value, ttl_ms, flags); }
/* Sets a value if there is none, and tells whether it did. */
inline bool add(text key, text value, int64_t ttl_ms = 0) { return set(key, value, ttl_ms, MTA1_KV_IF_ABSENT) == 0; }
/* Sets a value if there is one, and tells whether it did. */
inline bool replace(text key, text value, int64_t ttl_ms = 0) { return set(key, value, ttl_ms, MTA1_KV_IF_PRESENT) == 0; }
inline bool compare_and_swap(text key, text old, text value, int64_t ttl_ms = 0) { return mta1_kv_cas(key, old, value, ttl_ms) == 0; }
inline bool erase(text key) { return mta1_kv_del(key) == 0; }
inline int64_t incr(text key, int64_t delta = 1, int64_t ttl_ms = 0, int32_t flags = 0) { return mta1_kv_incr(key, delta, ttl_ms, flags); }
inline int64_t take(text key, int32_t cost, int32_t burst, int64_t per_sec_milli) { return mta1_kv_take(key, cost, burst, per_sec_milli); }
}  // namespace kv

/* The DNS; see mta1.h. */
namespace dns {
inline int32_t prefetch(int32_t type, text name) { return mta1_dns_prefetch(type, name); }
inline texts query(int32_t type, text name) { return mta1_dns_query(type, name); }
inline texts a(text host) { return mta1_dns_a(host); }
inline texts aaaa(text host) { return mta1_dns_aaaa(host); }
inline texts mx(text domain) { return mta1_dns_mx(domain); }
inline texts txt(text name) { return mta1_dns_txt(name); }
inline texts ptr(text name) { return mta1_dns_ptr(name); }
/* What a DNS list says of an address, "127.0.0.2"; false: it does not list it. */
inline text listed(text zone, text ip) {
  mta1_str answer;
  mta1_dns_listed(zone, ip, &answer);
  return answer;
}
}  // namespace dns

/* A handle of the server that ends with its scope. */
template <int32_t (*Close)(int32_t)>
class handle {
 public:
  explicit handle(int32_t h) : h_(h) {}
  handle(handle &&o) : h_(o.release()) {}
  handle &operator=(handle &&o) {
    if (this != &o) {
      close();
      h_ = o.release();
    }
    return *this;
  }
  handle(const handle &) = delete;
  handle &operator=(const handle &) = delete;
  ~handle() { close(); }

  explicit operator bool() const { return h_ >= 0; }
  /* Below 0: why there is none. */
  int32_t error() const { return h_ < 0 ? h_ : 0; }
  int32_t get() const { return h_; }
  int32_t release() {
    int32_t h = h_;
    h_ = MTA1_E_NOT_FOUND;
    return h;
  }
  void close() {
    int32_t h = release();
    if (h >= 0) Close(h);
  }

 private:
  int32_t h_;
};

/* A response, or one that is still to come. */
class response : public handle<mta1_http_close> {
 public:
  explicit response(int32_t h) : handle(h) {}
  /* Waits for the status, 200 to 599; below 0: an error. */
  int32_t status() const { return *this ? mta1_http_status(get()) : error(); }
  /* Whether it, or an error, is there after so many milliseconds. */
  bool ready(int32_t ms = 0) const { return mta1_http_wait(get(), ms) != MTA1_E_TIMEOUT; }
  text header(const char *name) const { return mta1_http_header(get(), name); }
  int32_t read(void *buf, uint32_t cap) { return mta1_http_read(get(), buf, cap); }
  /* The rest of it. */
  text body() { return mta1_http_body(get()); }
};

/* A request: request(MTA1_HTTP_POST, url).header("X", "y").body("z").start() */
class request {
 public:
  request(int32_t method, text url) : r_(mta1_request_to(method, url)) {}
  explicit request(text url) : request(MTA1_HTTP_GET, url) {}
  request &header(const char *name, text value) {
    mta1_request_header(&r_, name, value);
    return *this;
  }
  request &body(text b) {
    r_.body = b;
    return *this;
  }
  request &timeout(int32_t ms) {
    r_.timeout_ms = ms;
    return *this;
  }
  response start() const { return response(mta1_http_start(&r_)); }
  /* Posts MTA1_SEND_MESSAGE, _BODY or _HEADERS. */
  response start_msg(int32_t what) const { return response(mta1_http_start_msg(&r_, what)); }

 private:
  mta1_request r_;
};

inline int32_t end_digest(int32_t h) {
  char sum[64];
  return mta1_host_crypto_digest_final(h, sum, sizeof sum);
}

/* A digest that grows: digest(MTA1_ALG_SHA256).update("a").update("b").sum() */
class digest : public handle<end_digest> {
 public:
  explicit digest(int32_t alg) : handle(mta1_digest_open(alg)) {}
  /* An error shows in sum(). */
  digest &update(text data) { return fail(mta1_digest_update(get(), data)); }
  digest &body(int64_t off = 0, int64_t len = -1, int32_t canon = MTA1_CANON_RAW) { return fail(mta1_digest_body(get(), off, len, canon)); }
  /* The digest, which ends; false: there was an error, which is mta1_errno. */
  text sum() {
    mta1_str s = mta1_digest_final(release());
    return code_ < 0 ? mta1_no_text(code_) : s;
  }

 private:
  int32_t code_ = 0;
  digest &fail(int32_t code) {
    if (code < 0 && code_ == 0) code_ = code;
    return *this;
  }
};

/* Series of metrics; define them in MTA1_INIT, as g = counter("seen"). */
class metric {
 public:
  constexpr metric() : id_(MTA1_E_NOT_FOUND) {}
  metric(int32_t kind, const char *name) : id_(mta1_metric(kind, name)) {}

 protected:
  void sample(int64_t v) const { mta1_sample(id_, v); }

 private:
  int32_t id_;
};

class counter : public metric {
 public:
  constexpr counter() {}
  explicit counter(const char *name) : metric(MTA1_METRIC_COUNTER, name) {}
  void add(int64_t n = 1) const { sample(n); }
};

class gauge : public metric {
 public:
  constexpr gauge() {}
  explicit gauge(const char *name) : metric(MTA1_METRIC_GAUGE, name) {}
  void set(int64_t n) const { sample(n); }
};

class histogram : public metric {
 public:
  constexpr histogram() {}
  explicit histogram(const char *name) : metric(MTA1_METRIC_HISTOGRAM, name) {}
  void observe(int64_t n) const { sample(n); }
};

}  // namespace mta1

#endif /* MTA1_HPP */
