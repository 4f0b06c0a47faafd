
const unless = (n, no, what) => (n === no ? false : check(n, what) >= 0);
const time = (ms) => whole(ms, "kv: a lifetime in milliseconds");
export const kv = Object.freeze({
  get: (key) => found(host.kv_get(string(key))),
  getOctets: (key) => found(host.kv_get(string(key), true)),
  set: (key, value, ttl = 0) => { check(host.kv_set(string(key), data(value), time(ttl), 0), `kv: set ${key}`); },
  setSync: (key, value, ttl = 0) => { check(host.kv_set(string(key), data(value), time(ttl), 4), `kv: set ${key}`); },
  add: (key, value, ttl = 0) => unless(host.kv_set(string(key), data(value), time(ttl), 1), -9, `kv: add ${key}`),
  replace: (key, value, ttl = 0) => unless(host.kv_set(string(key), data(value), time(ttl), 2), -2, `kv: replace ${key}`),
  compareAndSwap: (key, old, value, ttl = 0) =>
    unless(host.kv_cas(string(key), data(old), data(value), time(ttl)), -9, `kv: swap ${key}`),
  delete: (key) => unless(host.kv_del(string(key)), -2, `kv: delete ${key}`),
  incr: (key, delta = 1, ttl = 0) => check(host.kv_incr(string(key), whole(delta, "kv: incr"), time(ttl), 0), `kv: incr ${key}`),
  incrRefresh: (key, delta = 1, ttl = 0) => check(host.kv_incr(string(key), whole(delta, "kv: incr"), time(ttl), 1), `kv: incr ${key}`),
  take: (key, cost, burst, perSecond) =>
    check(host.kv_take(string(key), whole(cost, "kv: take"), whole(burst, "kv: take"), whole(perSecond * 1000, "kv: take")), `kv: take ${key}`),
});
