use core::fmt;
use core::ops::Deref;

/// Octets, mostly ASCII. It compares with `str`, `[u8]` and other texts.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<'a>(pub(crate) &'a [u8]);

impl<'a> Text<'a> {
    /// The empty text.
    pub const EMPTY: Text<'static> = Text(&[]);

    /// The octets.
    pub const fn octets(self) -> &'a [u8] {
        self.0
    }

    /// As a `str`, if it is UTF-8.
    pub fn to_str(self) -> Option<&'a str> {
        core::str::from_utf8(self.0).ok()
    }

    /// Compares without regard to the case of ASCII letters.
    pub fn eq_ignore_case(self, other: impl AsRef<[u8]>) -> bool {
        self.0.eq_ignore_ascii_case(other.as_ref())
    }

    /// What follows a prefix.
    pub fn after(self, prefix: &str) -> Option<Text<'a>> {
        self.0.strip_prefix(prefix.as_bytes()).map(Text)
    }
}

#[cfg(feature = "alloc")]
impl Text<'_> {
    /// A copy; what is not UTF-8 becomes U+FFFD.
    pub fn to_string_lossy(self) -> alloc::string::String {
        alloc::string::String::from_utf8_lossy(self.0).into_owned()
    }
}

impl Deref for Text<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0
    }
}

impl AsRef<[u8]> for Text<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, s: &str) -> bool {
        self.0 == s.as_bytes()
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, s: &&str) -> bool {
        self.0 == s.as_bytes()
    }
}

impl PartialEq<[u8]> for Text<'_> {
    fn eq(&self, s: &[u8]) -> bool {
        self.0 == s
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        loop {
            match core::str::from_utf8(rest) {
                Ok(s) => return f.write_str(s),
                Err(e) => {
                    let (good, bad) = rest.split_at(e.valid_up_to());
                    f.write_str(core::str::from_utf8(good).unwrap_or(""))?;
                    f.write_str("\u{fffd}")?;
                    rest = &bad[e.error_len().unwrap_or(bad.len())..];
                }
            }
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A list of texts of the configuration.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct List(pub(crate) &'static [Text<'static>]);

impl List {
    /// The empty list.
    pub const EMPTY: List = List(&[]);

    /// Whether one of the texts is equal.
    pub fn contains(self, text: impl AsRef<[u8]>) -> bool {
        self.0.iter().any(|t| t.0 == text.as_ref())
    }
}

impl Deref for List {
    type Target = [Text<'static>];
    fn deref(&self) -> &Self::Target {
        self.0
    }
}

/// Line is a text being made that needs no memory but its own; what does not
/// fit is cut.
pub(crate) struct Line {
    b: [u8; 480],
    n: usize,
}

impl Line {
    pub(crate) fn new() -> Line {
        Line { b: [0; 480], n: 0 }
    }

    pub(crate) fn add(&mut self, s: &[u8]) {
        for (to, from) in self.b.iter_mut().skip(self.n).zip(s) {
            *to = if *from == b'\n' { b' ' } else { *from };
            self.n += 1;
        }
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn number(&mut self, v: i64) {
        let (digits, from) = decimal(v);
        self.add(&digits[from..]);
    }

    pub(crate) fn octets(&self) -> &[u8] {
        self.b.get(..self.n).unwrap_or(&[])
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.add(s.as_bytes());
        Ok(())
    }
}

/// decimal is v in the octets from the index on.
pub(crate) fn decimal(v: i64) -> ([u8; 20], usize) {
    let (mut b, mut i, mut u) = ([0; 20], 20, v.unsigned_abs());
    loop {
        i -= 1;
        b[i] = b'0' + (u % 10) as u8;
        u /= 10;
        if u == 0 {
            break;
        }
    }
    if v < 0 {
        i -= 1;
        b[i] = b'-';
    }
    (b, i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn texts() {
        let t = Text(b"a\xffb");
        assert!(t == *b"a\xffb".as_slice() && t != "a" && t.to_str().is_none());
        assert_eq!(format!("{t} {t:?}"), "a\u{fffd}b \"a\\xffb\"");
        assert!(Text(b"Ex").eq_ignore_case("eX"));
        assert_eq!(Text(b"[list] x").after("[list] "), Some(Text(b"x")));
    }

    #[test]
    fn numbers() {
        for v in [0, 7, -1, 1234567890, i64::MIN, i64::MAX] {
            let (b, i) = decimal(v);
            assert_eq!(core::str::from_utf8(&b[i..]).unwrap(), format!("{v}"));
        }
    }

    #[test]
    fn a_line_is_cut() {
        let mut l = Line::new();
        l.add(&[b'x'; 300]);
        l.add(&[b'x'; 300]);
        assert_eq!(l.octets().len(), 480);
    }
}
