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
}
