use crate::abi::{code, kv_flag};
use crate::session::Session;
use crate::text::Text;
use crate::verdict::{check, unless, Error, Result};
use crate::{arena, host};
use core::marker::PhantomData;
use core::time::Duration;

impl Session {
    /// The plugin's memory, which outlives sessions, restarts and new versions
    /// of the plugin. Needs the grant kv.
    pub fn kv(&self) -> Kv<'_> {
        Kv { session: PhantomData }
    }

    /// The value of a key in one of the operator's tables, if it is there.
    /// Needs the grant tables.
    pub fn lookup(&self, table: &str, key: impl AsRef<[u8]>) -> Option<Text<'_>> {
        arena::read(|b| host::table_lookup(table.as_bytes(), key.as_ref(), b)).ok().map(|b| Text(b))
    }

    /// Hands an event to the operator's sinks for its topic: 16 in one call, of
    /// at most 65536 octets. Needs the grant events.
    pub fn emit(&self, topic: &str, data: impl AsRef<[u8]>) -> Result {
        check(host::event_emit(topic.as_bytes(), data.as_ref()))
    }

    /// One of the operator's secrets. Needs the grant secrets;
    /// [`Config::secret`](crate::Config::secret) reads one for good.
    pub fn secret(&self, name: &str) -> Result<Text<'_>> {
        arena::read(|b| host::secret(name.as_bytes(), b)).map(|b| Text(b))
    }
}

/// The module mta1_kv: 64 operations in one call, keys of 1 to 512 octets,
/// values of at most 65536. A time to live of [`Duration::ZERO`] is for ever,
/// and milliseconds count. Each operation is atomic, among all sessions.
#[derive(Clone, Copy)]
pub struct Kv<'s> {
    session: PhantomData<&'s Session>,
}

/// millis is a time of the contract, at most what it can say.
pub(crate) fn millis(d: Duration) -> i64 {
    let ms = d.as_secs().saturating_mul(1000).saturating_add(d.subsec_millis() as u64);
    ms.min(i64::MAX as u64) as i64
}

fn wide(n: i64) -> Result<i64> {
    if n < 0 {
        Err(Error(n as i32))
    } else {
        Ok(n)
    }
}

impl<'s> Kv<'s> {
    /// A value if it is there. A counter is its number in decimal digits.
    pub fn get(self, key: impl AsRef<[u8]>) -> Option<Text<'s>> {
        arena::read(|b| host::kv_get(key.as_ref(), b)).ok().map(|b| Text(b))
    }

    /// Sets a value for a time.
    pub fn set(self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, ttl: Duration) -> Result {
        check(host::kv_set(key.as_ref(), value.as_ref(), millis(ttl), 0))
    }

    /// Is [`set`](Kv::set), and returns when the value is on disk.
    pub fn set_sync(self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, ttl: Duration) -> Result {
        check(host::kv_set(key.as_ref(), value.as_ref(), millis(ttl), kv_flag::SYNC))
    }

    /// Sets a value if there is none, and tells whether it did.
    pub fn add(self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, ttl: Duration) -> Result<bool> {
        unless(code::E_CONFLICT, host::kv_set(key.as_ref(), value.as_ref(), millis(ttl), kv_flag::IF_ABSENT))
    }

    /// Sets a value if there is one, and tells whether it did.
    pub fn replace(self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, ttl: Duration) -> Result<bool> {
        unless(code::E_NOT_FOUND, host::kv_set(key.as_ref(), value.as_ref(), millis(ttl), kv_flag::IF_PRESENT))
    }

    /// Sets a value if it is `old`, or, with an empty `old`, if there is none,
    /// and tells whether it did.
    pub fn compare_and_swap(self, key: impl AsRef<[u8]>, old: impl AsRef<[u8]>, new: impl AsRef<[u8]>, ttl: Duration) -> Result<bool> {
        unless(code::E_CONFLICT, host::kv_cas(key.as_ref(), old.as_ref(), new.as_ref(), millis(ttl)))
    }

    /// Deletes a value, and tells whether there was one.
    pub fn delete(self, key: impl AsRef<[u8]>) -> Result<bool> {
        unless(code::E_NOT_FOUND, host::kv_del(key.as_ref()))
    }

    /// Adds `delta` to a counter, which does not go below 0, and returns its
    /// new value. A counter that is new lives for `ttl`; one that is there keeps
    /// its time.
    pub fn incr(self, key: impl AsRef<[u8]>, delta: i64, ttl: Duration) -> Result<i64> {
        wide(host::kv_incr(key.as_ref(), delta, millis(ttl), 0))
    }

    /// Is [`incr`](Kv::incr), and the counter lives for `ttl` from now on.
    pub fn incr_refresh(self, key: impl AsRef<[u8]>, delta: i64, ttl: Duration) -> Result<i64> {
        wide(host::kv_incr(key.as_ref(), delta, millis(ttl), kv_flag::REFRESH))
    }

    /// Takes `cost` tokens from a bucket that holds `burst` of them, begins
    /// full, and gains `per_second` in a second, down to a thousandth. If it has
    /// fewer, none is taken, and the result is the time until it has enough;
    /// zero: they were taken.
    pub fn take(self, key: impl AsRef<[u8]>, cost: i32, burst: i32, per_second: f64) -> Result<Duration> {
        wide(host::kv_take(key.as_ref(), cost, burst, (per_second * 1000.0 + 0.5) as i64)).map(|ms| Duration::from_millis(ms as u64))
    }
}
