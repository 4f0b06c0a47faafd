use crate::abi::{action, code, flag};
use core::fmt;

/// What a hook answers. Without a reply of its own it gets the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict(pub(crate) i32);

impl Verdict {
    /// No opinion: ask the next plugin, finally the server's rules.
    pub const CONTINUE: Verdict = Verdict(action::CONTINUE as i32);
    /// Stop asking at this hook; at rcpt: take the recipient.
    pub const ACCEPT: Verdict = Verdict(action::ACCEPT as i32);
    /// Refuse permanently; after acceptance: bounce.
    pub const REJECT: Verdict = Verdict(action::REJECT as i32);
    /// Try again later.
    pub const DEFER: Verdict = Verdict(action::DEFER as i32);
    /// Take it and forget it.
    pub const DISCARD: Verdict = Verdict(action::DISCARD as i32);
    /// Take it and keep it for an operator.
    pub const HOLD: Verdict = Verdict(action::HOLD as i32);
    /// Reply and close the connection.
    pub const DROP: Verdict = Verdict(action::DROP as i32);

    pub(crate) fn new(action: u8, code: i32) -> Verdict {
        Verdict(code << 16 | action as i32)
    }

    /// Also ends the asking of this plugin for the transaction.
    pub fn detach_transaction(self) -> Verdict {
        Verdict(self.0 | (flag::DETACH_TX as i32) << 8)
    }

    /// Also ends the asking of this plugin for the session.
    pub fn detach_session(self) -> Verdict {
        Verdict(self.0 | (flag::DETACH_SESSION as i32) << 8)
    }

    /// Makes DROP silent.
    pub fn no_reply(self) -> Verdict {
        Verdict(self.0 | (flag::NO_REPLY as i32) << 8)
    }
}

/// What the function of a hook may return.
pub trait Answer {
    #[doc(hidden)]
    fn answer(self) -> Result<Verdict>;
}

impl Answer for Verdict {
    fn answer(self) -> Result<Verdict> {
        Ok(self)
    }
}

impl Answer for Result<Verdict> {
    fn answer(self) -> Result<Verdict> {
        self
    }
}

/// Why the server did not do something: one of [`abi::code`](crate::abi::code).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub i32);

/// The result of a change.
pub type Result<T = ()> = core::result::Result<T, Error>;

impl Error {
    pub(crate) fn text(self) -> &'static str {
        match self.0 {
            code::E_INVAL => "invalid argument",
            code::E_NOT_FOUND => "not found",
            code::E_DENIED => "not granted",
            code::E_STATE => "not possible in this hook",
            code::E_LIMIT => "limit reached",
            code::E_TIMEOUT => "timed out",
            code::E_UNSUPPORTED => "not supported by this host",
            code::E_UNAVAIL => "temporarily unavailable",
            code::E_CONFLICT => "conflict",
            code::E_TOO_LARGE => "too large",
            code::E_BAD_SIG => "the signature is not good",
            code::E_NXDOMAIN => "no such domain",
            code::E_SERVFAIL => "name server failure",
            code::E_BOGUS => "DNSSEC validation failed",
            _ => "other error",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(feature = "std")]
impl std::error::Error for Error {}

/// unless is false for the code `no`.
pub(crate) fn unless(no: i32, code: i32) -> Result<bool> {
    if code == no {
        return Ok(false);
    }
    check(code).map(|_| true)
}

pub(crate) fn check(code: i32) -> Result {
    length(code).map(|_| ())
}

pub(crate) fn length(code: i32) -> Result<usize> {
    if code < 0 {
        Err(Error(code))
    } else {
        Ok(code as usize)
    }
}

/// enhanced reads "5.7.1"; anything else is 0, the server's choice.
pub(crate) fn enhanced(s: &str) -> i32 {
    let (mut part, mut i, mut digits) = ([0i32; 3], 0, 0);
    for c in s.bytes() {
        match c {
            b'0'..=b'9' if digits < 3 => {
                part[i] = part[i] * 10 + (c - b'0') as i32;
                digits += 1;
            }
            b'.' if digits > 0 && i < 2 => {
                i += 1;
                digits = 0;
            }
            _ => return 0,
        }
    }
    if i == 2 && digits > 0 {
        part[0] << 20 | part[1] << 10 | part[2]
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes() {
        assert_eq!(enhanced("5.7.1"), 5 << 20 | 7 << 10 | 1);
        assert_eq!(enhanced("4.4.316"), 4 << 20 | 4 << 10 | 316);
        for s in ["", "5", "5.7", "5.7.", ".7.1", "5.7.1.1", "5.7.1000", "5.7.x"] {
            assert_eq!(enhanced(s), 0, "{s}");
        }
    }

    #[test]
    fn verdicts() {
        assert_eq!(Verdict::new(action::REJECT, 550).0, 550 << 16 | 2);
        assert_eq!(Verdict::CONTINUE.detach_transaction().0, 1 << 8);
        assert_eq!(Verdict::DROP.no_reply().detach_session().0, 6 << 8 | 6);
    }
}
