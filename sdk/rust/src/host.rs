//! The functions of the host with slices for pointer and length: in a guest the
//! imports, under test those of [`testing::Host`](crate::testing::Host).
#[cfg(target_arch = "wasm32")]
use crate::abi;

macro_rules! functions {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty = $import:expr;)*) => {$(
        pub(crate) fn $name($($arg: $type),*) -> $result {
            // The host checks pointer and length against the memory and keeps neither.
            #[cfg(target_arch = "wasm32")]
            return unsafe { $import };
            #[cfg(not(target_arch = "wasm32"))]
            return crate::testing::with(|h| h.$name($($arg),*));
        }
    )*};
}

functions! {
    get(field: i32, buf: &mut [u8]) -> i32 = abi::get(field, buf.as_mut_ptr(), buf.len());
    get_num(field: i32) -> i64 = abi::get_num(field);
    set(field: i32, value: &[u8]) -> i32 = abi::set(field, value.as_ptr(), value.len());
    set_num(field: i32, value: i64) -> i32 = abi::set_num(field, value);
    list_len(list: i32) -> i32 = abi::list_len(list);
    list_get(list: i32, i: i32, field: i32, buf: &mut [u8]) -> i32 = abi::list_get(list, i, field, buf.as_mut_ptr(), buf.len());
    list_num(list: i32, i: i32, field: i32) -> i64 = abi::list_num(list, i, field);
    list_set(list: i32, i: i32, field: i32, value: &[u8]) -> i32 = abi::list_set(list, i, field, value.as_ptr(), value.len());
    list_insert(list: i32, i: i32, value: &[u8]) -> i32 = abi::list_insert(list, i, value.as_ptr(), value.len());
    list_remove(list: i32, i: i32) -> i32 = abi::list_remove(list, i);
    list_find(list: i32, from: i32, key: &[u8]) -> i32 = abi::list_find(list, from, key.as_ptr(), key.len());
    reply(code: i32, enhanced: i32, text: &[u8]) -> i32 = abi::reply(code, enhanced, text.as_ptr(), text.len());
    body_read(off: i64, buf: &mut [u8]) -> i32 = abi::body_read(off, buf.as_mut_ptr(), buf.len());
    body_write(data: &[u8]) -> i32 = abi::body_write(data.as_ptr(), data.len());
    body_splice(off: i64, len: i64) -> i32 = abi::body_splice(off, len);
    attr_get(scope: i32, key: &[u8], buf: &mut [u8]) -> i32 = abi::attr_get(scope, key.as_ptr(), key.len(), buf.as_mut_ptr(), buf.len());
    attr_set(scope: i32, key: &[u8], value: &[u8]) -> i32 = abi::attr_set(scope, key.as_ptr(), key.len(), value.as_ptr(), value.len());
    attr_del(scope: i32, key: &[u8]) -> i32 = abi::attr_del(scope, key.as_ptr(), key.len());
    config_get(key: &[u8], buf: &mut [u8]) -> i32 = abi::config(key.as_ptr(), key.len(), buf.as_mut_ptr(), buf.len());
    log(level: i32, text: &[u8]) -> i32 = abi::log(level, text.as_ptr(), text.len());
    log_level() -> i32 = abi::log_level();
    now_ms() -> i64 = abi::now_ms();
    mono_ns() -> i64 = abi::mono_ns();
    random(buf: &mut [u8]) -> i32 = abi::random(buf.as_mut_ptr(), buf.len());
    feature(id: i32) -> i32 = abi::feature(id);
    secret(name: &[u8], buf: &mut [u8]) -> i32 = abi::secret(name.as_ptr(), name.len(), buf.as_mut_ptr(), buf.len());
    metric_def(kind: i32, name: &[u8]) -> i32 = abi::metric_def(kind, name.as_ptr(), name.len());
    metric_add(id: i32, value: i64) -> i32 = abi::metric_add(id, value);

    kv_get(key: &[u8], buf: &mut [u8]) -> i32 = abi::kv::get(key.as_ptr(), key.len(), buf.as_mut_ptr(), buf.len());
    kv_set(key: &[u8], value: &[u8], ttl: i64, flags: i32) -> i32 = abi::kv::set(key.as_ptr(), key.len(), value.as_ptr(), value.len(), ttl, flags);
    kv_del(key: &[u8]) -> i32 = abi::kv::del(key.as_ptr(), key.len());
    kv_incr(key: &[u8], delta: i64, ttl: i64, flags: i32) -> i64 = abi::kv::incr(key.as_ptr(), key.len(), delta, ttl, flags);
    kv_take(key: &[u8], cost: i32, burst: i32, per_sec_milli: i64) -> i64 = abi::kv::take(key.as_ptr(), key.len(), cost, burst, per_sec_milli);
    kv_cas(key: &[u8], old: &[u8], new: &[u8], ttl: i64) -> i32 =
        abi::kv::cas(key.as_ptr(), key.len(), old.as_ptr(), old.len(), new.as_ptr(), new.len(), ttl);

    dns_prefetch(t: i32, name: &[u8]) -> i32 = abi::dns::prefetch(t, name.as_ptr(), name.len());
    dns_query(t: i32, name: &[u8], buf: &mut [u8]) -> i32 = abi::dns::query(t, name.as_ptr(), name.len(), buf.as_mut_ptr(), buf.len());
    dnsbl(zone: &[u8], ip: &[u8], out: &mut [u8; 4]) -> i32 = abi::dns::dnsbl(zone.as_ptr(), zone.len(), ip.as_ptr(), ip.len(), out.as_mut_ptr());

    http_start(method: i32, url: &[u8], header: &[u8], body: &[u8], timeout: i32) -> i32 =
        abi::http::start(method, url.as_ptr(), url.len(), header.as_ptr(), header.len(), body.as_ptr(), body.len(), timeout);
    http_start_msg(url: &[u8], header: &[u8], what: i32, timeout: i32) -> i32 =
        abi::http::start_msg(url.as_ptr(), url.len(), header.as_ptr(), header.len(), what, timeout);
    http_wait(handle: i32, timeout: i32) -> i32 = abi::http::wait(handle, timeout);
    http_header(handle: i32, name: &[u8], buf: &mut [u8]) -> i32 =
        abi::http::header(handle, name.as_ptr(), name.len(), buf.as_mut_ptr(), buf.len());
    http_read(handle: i32, buf: &mut [u8]) -> i32 = abi::http::read(handle, buf.as_mut_ptr(), buf.len());
    http_close(handle: i32) -> i32 = abi::http::close(handle);

    digest(alg: i32, data: &[u8], out: &mut [u8]) -> i32 = abi::crypto::digest(alg, data.as_ptr(), data.len(), out.as_mut_ptr(), out.len());
    digest_open(alg: i32) -> i32 = abi::crypto::digest_open(alg);
    digest_update(handle: i32, data: &[u8]) -> i32 = abi::crypto::digest_update(handle, data.as_ptr(), data.len());
    digest_body(handle: i32, off: i64, len: i64, canon: i32) -> i32 = abi::crypto::digest_body(handle, off, len, canon);
    digest_final(handle: i32, out: &mut [u8]) -> i32 = abi::crypto::digest_final(handle, out.as_mut_ptr(), out.len());
    verify(alg: i32, key: &[u8], sig: &[u8], dig: &[u8]) -> i32 =
        abi::crypto::verify(alg, key.as_ptr(), key.len(), sig.as_ptr(), sig.len(), dig.as_ptr(), dig.len());
    sign(key: &[u8], alg: i32, dig: &[u8], out: &mut [u8]) -> i32 =
        abi::crypto::sign(key.as_ptr(), key.len(), alg, dig.as_ptr(), dig.len(), out.as_mut_ptr(), out.len());
    hmac(key: &[u8], alg: i32, data: &[u8], out: &mut [u8]) -> i32 =
        abi::crypto::hmac(key.as_ptr(), key.len(), alg, data.as_ptr(), data.len(), out.as_mut_ptr(), out.len());
    password_verify(hash: &[u8], password: &[u8]) -> i32 =
        abi::crypto::password_verify(hash.as_ptr(), hash.len(), password.as_ptr(), password.len());

    table_lookup(table: &[u8], key: &[u8], buf: &mut [u8]) -> i32 =
        abi::table::lookup(table.as_ptr(), table.len(), key.as_ptr(), key.len(), buf.as_mut_ptr(), buf.len());
    event_emit(topic: &[u8], data: &[u8]) -> i32 = abi::event::emit(topic.as_ptr(), topic.len(), data.as_ptr(), data.len());
}
