//! A stand-in for the server, to call hooks under `cargo test`.
//!
//! ```
//! use wasmta::{hook, init, testing::Host, Verdict};
//!
//! init!();
//! hook!(on_rcpt, |s| match s.recipient().local() == "nobody" {
//!     true => s.reject(550, "5.1.1", "there is no such mailbox"),
//!     false => Verdict::CONTINUE,
//! });
//!
//! # fn main() {
//! let mut host = Host::new();
//! host.recipients = vec!["nobody@example.org".into()];
//! assert_eq!(host.start(mta1_init), 0);
//! assert_eq!(host.ask(mta1_on_rcpt).to_string(), "reject 550 5.1.1 there is no such mailbox");
//! # }
//! ```
//!
//! It holds what the test puts into it, and grants everything. Which hook gives
//! what, which changes are well-formed and which verdicts fit are the rules of
//! the server: try the module there, too.
use crate::abi::{action, code, element, field, list};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{fmt, format};

mod services;
pub use services::{Entry, Given, Kept, Sent, Services};

std::thread_local! {
    static CURRENT: RefCell<Host> = RefCell::new(Host::new());
}

pub(crate) fn with<T>(f: impl FnOnce(&mut Host) -> T) -> T {
    CURRENT.with(|h| f(&mut h.borrow_mut()))
}

/// What the plugin meets.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The configuration: a member's text, or its JSON; "" is the whole.
    pub config: BTreeMap<String, String>,
    /// Fields with a text, by [`field`](crate::abi::field).
    pub texts: BTreeMap<i32, String>,
    /// Fields with a number.
    pub numbers: BTreeMap<i32, i64>,
    /// The forward-paths; the last one is the current one.
    pub recipients: Vec<String>,
    /// The header fields, name and value.
    pub header: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Attributes by scope and key.
    pub attrs: BTreeMap<(i32, String), String>,
    /// What the plugin logged, with its level.
    pub log: Vec<(i32, String)>,
    /// The reply of the last verdict.
    pub reply: Option<(i32, i32, String)>,
    /// The time in milliseconds since 1970.
    pub now: i64,
    /// What the capabilities stand on.
    pub services: Services,
    new_body: Option<Vec<u8>>,
}

/// A hook's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// One of [`action`](crate::abi::action).
    pub action: u8,
    /// One or more of [`flag`](crate::abi::flag).
    pub flags: u8,
    /// The reply's code; 0: the server's.
    pub code: i32,
    /// The reply's enhanced code; empty: the server's.
    pub enhanced: String,
    /// The reply's text.
    pub text: String,
}

/// For example `reject 550 5.7.1 this mailbox takes no mail`, `continue`, or
/// `failure` if the hook returned an error, which is in the log.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ["continue", "accept", "reject", "defer", "discard", "hold", "drop"];
        f.write_str(name.get(self.action as usize).unwrap_or(&"failure"))?;
        if self.code != 0 {
            write!(f, " {}", self.code)?;
        }
        for s in [&self.enhanced, &self.text] {
            if !s.is_empty() {
                write!(f, " {s}")?;
            }
        }
        Ok(())
    }
}

fn utf8(b: &[u8]) -> String {
    String::from_utf8_lossy(b).into_owned()
}

fn give(buf: &mut [u8], s: Option<&str>) -> i32 {
    match s {
        None => code::E_NOT_FOUND,
        Some(s) => {
            if let Some(to) = buf.get_mut(..s.len()) {
                to.copy_from_slice(s.as_bytes());
            }
            s.len() as i32
        }
    }
}

impl Host {
    /// A host without a message and with an empty configuration.
    pub fn new() -> Host {
        Host::default()
    }

    /// Sets a member of the configuration: a string's text, or JSON.
    pub fn config(mut self, key: &str, value: &str) -> Host {
        self.config.insert(key.to_string(), value.to_string());
        self
    }

    /// Calls `mta1_init`; 0 is success.
    pub fn start(&mut self, init: extern "C" fn() -> i32) -> i32 {
        self.run(init)
    }

    /// Calls a hook. Its changes are in `self` if it says CONTINUE or ACCEPT.
    pub fn ask(&mut self, hook: extern "C" fn() -> i32) -> Asked {
        let before = self.clone();
        self.reply = None;
        let v = self.run(hook);
        self.over();
        let new_body = self.new_body.take();
        let (log, reply, services) = (self.log.clone(), self.reply.clone(), self.services.clone());
        if v == -1 {
            *self = Host { log, reply, services, ..before };
            return Asked { action: u8::MAX, flags: 0, code: 0, enhanced: String::new(), text: String::new() };
        }
        let mut a = Asked { action: v as u8, flags: (v >> 8) as u8, code: v >> 16 & 0xffff, enhanced: String::new(), text: String::new() };
        if let (Some((code, enh, text)), true) = (&reply, a.action != action::CONTINUE) {
            if *code != 0 {
                a.code = *code;
            }
            if *enh != 0 {
                a.enhanced = format!("{}.{}.{}", enh >> 20, enh >> 10 & 0x3ff, enh & 0x3ff);
            }
            a.text = text.clone();
        }
        if a.action != action::CONTINUE && a.action != action::ACCEPT {
            *self = Host { log, reply, services, ..before };
        } else if let Some(b) = new_body {
            self.body = b;
        }
        a
    }

    fn run(&mut self, f: extern "C" fn() -> i32) -> i32 {
        with(|h| core::mem::swap(h, self));
        let code = f();
        with(|h| core::mem::swap(h, self));
        code
    }

    fn raw_headers(&self) -> String {
        let mut s: String = self.header.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        s += "\r\n";
        s
    }

    pub(crate) fn get(&mut self, f: i32, buf: &mut [u8]) -> i32 {
        if f == field::RAW_HEADERS {
            return give(buf, Some(&self.raw_headers()));
        }
        give(buf, self.texts.get(&f).map(|s| s.as_str()))
    }

    pub(crate) fn get_num(&mut self, f: i32) -> i64 {
        match f {
            field::CUR_RCPT => self.recipients.len() as i64 - 1,
            field::RCPT_COUNT => self.recipients.len() as i64,
            field::BODY_SIZE => self.body.len() as i64,
            field::HEADER_COUNT => self.header.len() as i64,
            _ => *self.numbers.get(&f).unwrap_or(&(code::E_NOT_FOUND as i64)),
        }
    }

    pub(crate) fn set(&mut self, f: i32, value: &[u8]) -> i32 {
        self.texts.insert(f, utf8(value));
        0
    }

    pub(crate) fn set_num(&mut self, f: i32, value: i64) -> i32 {
        self.numbers.insert(f, value);
        0
    }

    pub(crate) fn list_len(&mut self, l: i32) -> i32 {
        match l {
            list::RCPT => self.recipients.len() as i32,
            list::HEADER => self.header.len() as i32,
            _ => code::E_UNSUPPORTED,
        }
    }

    pub(crate) fn list_get(&mut self, l: i32, i: i32, f: i32, buf: &mut [u8]) -> i32 {
        let i = i as usize;
        match (l, f) {
            (list::HEADER, element::HEADER_NAME) => give(buf, self.header.get(i).map(|h| h.0.as_str())),
            (list::HEADER, element::HEADER_VALUE) => give(buf, self.header.get(i).map(|h| h.1.as_str())),
            (list::RCPT, _) => {
                let path = match self.recipients.get(i) {
                    Some(p) => p.clone(),
                    None => return code::E_NOT_FOUND,
                };
                let (local, domain) = path.rsplit_once('@').unwrap_or((&path, ""));
                match f {
                    element::RCPT_ADDR => give(buf, Some(&path)),
                    element::RCPT_LOCAL => give(buf, Some(local)),
                    element::RCPT_DOMAIN => give(buf, Some(&domain.to_ascii_lowercase())),
                    _ => code::E_NOT_FOUND,
                }
            }
            _ => code::E_UNSUPPORTED,
        }
    }

    pub(crate) fn list_num(&mut self, l: i32, i: i32, _: i32) -> i64 {
        if l == list::RCPT && (i as usize) < self.recipients.len() {
            return 0;
        }
        code::E_NOT_FOUND as i64
    }

    pub(crate) fn list_set(&mut self, l: i32, i: i32, f: i32, value: &[u8]) -> i32 {
        let i = i as usize;
        match (l, f) {
            (list::HEADER, element::HEADER_VALUE) if i < self.header.len() => self.header[i].1 = utf8(value),
            (list::RCPT, element::RCPT_ADDR) if i < self.recipients.len() => self.recipients[i] = utf8(value),
            (list::HEADER, element::HEADER_VALUE) | (list::RCPT, element::RCPT_ADDR) => return code::E_NOT_FOUND,
            _ => return code::E_UNSUPPORTED,
        }
        0
    }

    pub(crate) fn list_insert(&mut self, l: i32, i: i32, value: &[u8]) -> i32 {
        let value = utf8(value);
        match l {
            list::RCPT => self.recipients.push(value),
            list::HEADER => {
                let (name, text) = match value.split_once(": ") {
                    Some(x) => x,
                    None => return code::E_INVAL,
                };
                let at = if i < 0 { self.header.len() } else { (i as usize).min(self.header.len()) };
                self.header.insert(at, (name.to_string(), text.to_string()));
            }
            _ => return code::E_UNSUPPORTED,
        }
        0
    }

    pub(crate) fn list_remove(&mut self, l: i32, i: i32) -> i32 {
        let i = i as usize;
        match l {
            list::RCPT if i < self.recipients.len() => drop(self.recipients.remove(i)),
            list::HEADER if i < self.header.len() => drop(self.header.remove(i)),
            list::RCPT | list::HEADER => return code::E_NOT_FOUND,
            _ => return code::E_UNSUPPORTED,
        }
        0
    }

    pub(crate) fn list_find(&mut self, l: i32, from: i32, key: &[u8]) -> i32 {
        let same = |s: &String| s.as_bytes().eq_ignore_ascii_case(key);
        let from = from.max(0) as usize;
        let found = match l {
            list::HEADER => self.header.iter().skip(from).position(|h| same(&h.0)),
            list::RCPT => self.recipients.iter().skip(from).position(same),
            _ => return code::E_UNSUPPORTED,
        };
        found.map_or(code::E_NOT_FOUND, |i| (i + from) as i32)
    }

    pub(crate) fn reply(&mut self, code: i32, enhanced: i32, text: &[u8]) -> i32 {
        self.reply = Some((code, enhanced, utf8(text)));
        0
    }

    pub(crate) fn body_read(&mut self, off: i64, buf: &mut [u8]) -> i32 {
        let rest = self.body.get(off.max(0) as usize..).unwrap_or(&[]);
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        n as i32
    }

    pub(crate) fn attr_get(&mut self, scope: i32, key: &[u8], buf: &mut [u8]) -> i32 {
        give(buf, self.attrs.get(&(scope, utf8(key))).map(|s| s.as_str()))
    }

    pub(crate) fn attr_set(&mut self, scope: i32, key: &[u8], value: &[u8]) -> i32 {
        self.attrs.insert((scope, utf8(key)), utf8(value));
        0
    }

    pub(crate) fn attr_del(&mut self, scope: i32, key: &[u8]) -> i32 {
        self.attrs.remove(&(scope, utf8(key))).map_or(code::E_NOT_FOUND, |_| 0)
    }

    pub(crate) fn config_get(&mut self, key: &[u8], buf: &mut [u8]) -> i32 {
        give(buf, self.config.get(&utf8(key)).map(|s| s.as_str()))
    }

    pub(crate) fn log(&mut self, level: i32, text: &[u8]) -> i32 {
        self.log.push((level, utf8(text)));
        0
    }

    pub(crate) fn log_level(&mut self) -> i32 {
        0
    }

    pub(crate) fn now_ms(&mut self) -> i64 {
        self.now
    }

    pub(crate) fn mono_ns(&mut self) -> i64 {
        self.now.saturating_mul(1_000_000)
    }

    pub(crate) fn random(&mut self, buf: &mut [u8]) -> i32 {
        for (i, b) in buf.iter_mut().enumerate() {
            *b = i as u8; // the same in every run
        }
        0
    }

    pub(crate) fn feature(&mut self, _: i32) -> i32 {
        1
    }
}
