//! Plugins for the mail server wasmta, ABI v1.
//!
//! ```
//! use wasmta::{hook, init, Global, List, Verdict};
//!
//! static BLOCKED: Global<List> = Global::new(List::EMPTY);
//!
//! init!(|c| {
//!     BLOCKED.set(c.strings("blocked"));
//!     Ok(())
//! });
//!
//! hook!(on_rcpt, |s| {
//!     let r = s.recipient();
//!     if BLOCKED.get().contains(r.local()) || BLOCKED.get().contains(r.domain()) {
//!         return s.reject(550, "5.7.1", "this mailbox takes no mail");
//!     }
//!     Verdict::CONTINUE
//! });
//! # fn main() {}
//! ```
//!
//! To export a hook with [`hook!`] is to subscribe to it. [`init!`] is required:
//! it reads the configuration. Build a `cdylib` for `wasm32-unknown-unknown`;
//! README.md says how.
//!
//! # What to expect
//!
//! The server runs an instance for each session and for each delivery; statics
//! live as long, and no two calls run at once. What must last longer is an
//! attribute ([`Session::set_attr`]).
//!
//! A method that reads gives an empty [`Text`] or 0 for what is not there, not
//! known at this hook or not granted. A method that changes something gives an
//! [`Error`], and changes nothing then. A hook may return a [`Result`], so that
//! `?` fails the plugin: its `on_error` is the verdict. The changes of a hook
//! are kept if it returns [`Verdict::CONTINUE`] or [`Verdict::ACCEPT`].
//!
//! Texts are octets: mail is not always UTF-8. They live until the hook returns,
//! those of [`Config`] for ever.
//!
//! # Without std
//!
//! The crate needs neither std nor an allocator. A plugin without them is a
//! tenth of the size; see [`panic_handler!`].
#![no_std]
#![deny(missing_docs)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", not(target_arch = "wasm32")))]
extern crate std;

#[rustfmt::skip]
pub mod abi;
mod arena;
mod config;
mod content;
mod crypto;
mod dns;
mod envelope;
mod global;
mod host;
mod http;
mod kv;
mod metric;
mod session;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod text;
mod verdict;

pub use config::Config;
pub use content::{Header, Values};
pub use crypto::{Algorithm, Canonicalization, Crypto, Digest};
pub use dns::{Addresses, Dns, Exchange, Exchanges, Ip, IpText, RecordType, Records};
pub use envelope::{Recipient, Recipients};
pub use global::Global;
pub use http::{Http, Method, Part, Request, Response};
pub use kv::Kv;
pub use metric::{Counter, Gauge, Histogram};
pub use session::{Level, Scope, Session, TlsPolicy};
pub use text::{List, Text};
pub use verdict::{Answer, Error, Result, Verdict};

/// Gives the function that answers at a hook, a closure or a function of
/// [`&Session`](Session): `hook!(on_rcpt, |s| Verdict::CONTINUE)`. It returns a
/// [`Verdict`] or a [`Result`] of one. The names are `on_` and one of connect,
/// tls, ehlo, auth, command, mail, rcpt, data, headers, message, reset, close,
/// route, attempt, result, dsn, tick.
#[macro_export]
macro_rules! hook {
    ($name:ident, $body:expr $(,)?) => {
        $crate::__export!($name, $body);
    };
}

/// Gives the function that reads the configuration, a closure or a function of
/// [`&Config`](Config): `init!(|c| Ok(()))`, or `init!()` if there is nothing
/// to read. An error is logged and refuses the plugin.
#[macro_export]
macro_rules! init {
    () => {
        $crate::init!(|_c| Ok(()));
    };
    ($body:expr $(,)?) => {
        #[no_mangle]
        pub extern "C" fn mta1_init() -> i32 {
            $crate::__init($body)
        }
    };
}

/// The panic handler of a plugin without std: it logs message and place and
/// traps, which fails the plugin.
///
/// ```ignore
/// #![cfg_attr(target_arch = "wasm32", no_std)]
/// wasmta::panic_handler!();
/// ```
///
/// The message makes a plugin that formats nothing else some 10 KB larger;
/// `panic_handler!(place)` logs the place only.
#[macro_export]
macro_rules! panic_handler {
    (place) => {
        #[cfg(target_arch = "wasm32")]
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo) -> ! {
            $crate::__panic_place(info)
        }
    };
    () => {
        #[cfg(target_arch = "wasm32")]
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo) -> ! {
            $crate::__panic(info)
        }
    };
}

#[doc(hidden)]
pub fn __call<A: Answer>(f: impl FnOnce(&Session) -> A) -> i32 {
    arena::reset();
    match f(&Session::new()).answer() {
        Ok(v) => v.0,
        Err(e) => fail("a call was refused: ", e.text()),
    }
}

#[doc(hidden)]
pub fn __init(f: impl FnOnce(&Config) -> core::result::Result<(), &'static str>) -> i32 {
    #[cfg(all(feature = "std", target_arch = "wasm32"))]
    std::panic::set_hook(std::boxed::Box::new(|info| log_display(info)));
    let c = Config::new();
    let result = f(&c);
    arena::keep();
    match result {
        Ok(()) => c.failed(),
        Err(why) => {
            log(Level::Error, why);
            abi::code::E_INVAL
        }
    }
}

/// log_display logs what a panic says of itself, with its place.
#[cfg(target_arch = "wasm32")]
#[inline]
fn log_display(info: &dyn core::fmt::Display) {
    let mut line = text::Line::new();
    let _ = core::fmt::write(&mut line, format_args!("{}", info));
    log(Level::Error, line.octets());
}

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub fn __panic(info: &core::panic::PanicInfo) -> ! {
    log_display(info);
    core::arch::wasm32::unreachable()
}

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub fn __panic_place(info: &core::panic::PanicInfo) -> ! {
    let mut line = text::Line::new();
    line.add(b"panic");
    if let Some(l) = info.location() {
        line.add(b" at ");
        line.add(l.file().as_bytes());
        line.add(b":");
        line.number(l.line() as i64);
    }
    log(Level::Error, line.octets());
    core::arch::wasm32::unreachable()
}

/// fail logs why and traps; under test it gives what no verdict is.
fn fail(what: &str, why: &str) -> i32 {
    let mut line = text::Line::new();
    line.add(what.as_bytes());
    line.add(why.as_bytes());
    log(Level::Error, line.octets());
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    -1
}

/// Writes a line to the server's log, which adds plugin, session and message.
pub fn log(level: Level, text: impl AsRef<[u8]>) {
    let t = text.as_ref();
    host::log(level as i32, t);
}

/// The lowest level that is kept: making a text that nobody reads can be spared.
pub fn log_level() -> i32 {
    host::log_level()
}

/// The time in milliseconds since 1970.
pub fn now_ms() -> i64 {
    host::now_ms()
}

/// A clock in nanoseconds that is never set, for measuring.
pub fn mono_ns() -> i64 {
    host::mono_ns()
}

/// Fills `buf` with cryptographic random octets. Draw in a hook what must
/// differ between sessions.
pub fn random(buf: &mut [u8]) -> Result {
    verdict::check(host::random(buf))
}

/// Whether the server has a feature, one of [`abi::feature`], and grants it.
pub fn feature(id: i32) -> bool {
    host::feature(id) == 1
}
