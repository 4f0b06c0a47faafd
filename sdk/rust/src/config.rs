use crate::abi::code;
use crate::text::{List, Text};
use crate::verdict::{Error, Result};
use crate::{arena, host, log, Level};
use core::cell::Cell;

/// The table `[plugin.config]` of the server's configuration. What it gives
/// lives as long as the instance. A value of the wrong type refuses the plugin
/// when the function of [`init!`](crate::init) returns.
pub struct Config {
    failed: Cell<i32>,
}

impl Config {
    pub(crate) fn new() -> Config {
        Config { failed: Cell::new(0) }
    }

    pub(crate) fn failed(&self) -> i32 {
        self.failed.get()
    }

    fn fail<T>(&self, key: &str, want: &str, value: T) -> T {
        self.failed.set(code::E_INVAL);
        let mut line = crate::text::Line::new();
        for s in ["config: ", key, " must be ", want] {
            line.add(s.as_bytes());
        }
        log(Level::Error, line.octets());
        value
    }

    pub(crate) fn series(&self, kind: i32, name: &str) -> i32 {
        let id = host::metric_def(kind, name.as_bytes());
        if id < 0 {
            self.failed.set(id);
            let mut line = crate::text::Line::new();
            for s in ["metric ", name, ": ", Error(id).text()] {
                line.add(s.as_bytes());
            }
            log(Level::Error, line.octets());
        }
        id
    }

    /// One of the operator's secrets. Needs the grant secrets.
    pub fn secret(&self, name: &str) -> Result<Text<'static>> {
        arena::read(|b| host::secret(name.as_bytes(), b)).map(|b| Text(b))
    }

    fn lookup(&self, key: &str) -> Option<&'static mut [u8]> {
        if key.is_empty() {
            return None; // would be the whole
        }
        arena::read(|b| host::config_get(key.as_bytes(), b)).ok()
    }

    /// The whole configuration, a JSON object.
    pub fn json(&self) -> Text<'static> {
        arena::read(|b| host::config_get(b"", b)).map_or(Text(b"{}"), |b| Text(b))
    }

    /// Whether there is a value.
    pub fn has(&self, key: &str) -> bool {
        self.lookup(key).is_some()
    }

    /// A text; of another type, its JSON. Empty if it is missing.
    pub fn text(&self, key: &str) -> Text<'static> {
        self.lookup(key).map_or(Text::EMPTY, |b| Text(b))
    }

    /// A list of texts; empty if it is missing.
    pub fn strings(&self, key: &str) -> List {
        match self.lookup(key) {
            None => List::EMPTY,
            Some(json) => parse_strings(json).unwrap_or_else(|| self.fail(key, "a list of strings", List::EMPTY)),
        }
    }

    /// A whole number; `default` if it is missing.
    pub fn int(&self, key: &str, default: i64) -> i64 {
        match self.lookup(key) {
            None => default,
            Some(b) => parse_int(b).unwrap_or_else(|| self.fail(key, "a whole number", default)),
        }
    }

    /// True or false; `default` if it is missing.
    pub fn bool(&self, key: &str, default: bool) -> bool {
        match self.lookup(key) {
            None => default,
            Some(b) if b == b"true" => true,
            Some(b) if b == b"false" => false,
            Some(_) => self.fail(key, "true or false", default),
        }
    }
}

fn parse_int(b: &[u8]) -> Option<i64> {
    let digits = b.strip_prefix(b"-").unwrap_or(b);
    if digits.is_empty() {
        return None;
    }
    digits
        .iter()
        .try_fold(0i64, |n, c| match c {
            b'0'..=b'9' => n.checked_mul(10)?.checked_sub((c - b'0') as i64), // below zero, where there is one more
            _ => None,
        })
        .and_then(|n| if b[0] == b'-' { Some(n) } else { n.checked_neg() })
}

/// parse_strings reads a JSON array of strings and decodes them in their place.
fn parse_strings(json: &'static mut [u8]) -> Option<List> {
    let most = json.iter().filter(|c| **c == b',').count() + 1;
    let list = arena::list(most, Text::EMPTY).ok()?;
    let (mut n, mut rest) = (0, next(json, b'[')?);
    loop {
        rest = blanks(rest);
        match *rest.first()? {
            b']' if n == 0 => break,
            b'"' if n < most => {}
            _ => return None,
        }
        let (text, after) = string(&mut rest[1..])?;
        list[n] = Text(text);
        n += 1;
        rest = blanks(after);
        match *rest.first()? {
            b',' => rest = &mut rest[1..],
            b']' => break,
            _ => return None,
        }
    }
    let rest = next(rest, b']')?;
    if !blanks(rest).is_empty() {
        return None;
    }
    Some(List(&list[..n]))
}

fn blanks(b: &'static mut [u8]) -> &'static mut [u8] {
    let n = b.iter().take_while(|c| matches!(c, b' ' | b'\t' | b'\n' | b'\r')).count();
    &mut b[n..]
}

fn next(b: &'static mut [u8], c: u8) -> Option<&'static mut [u8]> {
    let b = blanks(b);
    if *b.first()? != c {
        return None;
    }
    Some(&mut b[1..])
}

/// string decodes what follows a quote, up to the closing one.
fn string(b: &'static mut [u8]) -> Option<(&'static [u8], &'static mut [u8])> {
    let (mut i, mut out) = (0, 0);
    loop {
        let mut c = *b.get(i)?;
        i += 1;
        match c {
            b'"' => break,
            0..=0x1f => return None,
            b'\\' => {
                c = *b.get(i)?;
                i += 1;
                c = match c {
                    b'"' | b'\\' | b'/' => c,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'u' => {
                        let mut r = hex4(b.get(i..i + 4)?)?;
                        i += 4;
                        if (0xd800..0xdc00).contains(&r) && b.get(i..i + 2) == Some(b"\\u") {
                            let low = hex4(b.get(i + 2..i + 6)?)?;
                            if (0xdc00..0xe000).contains(&low) {
                                r = 0x10000 + ((r - 0xd800) << 10) + (low - 0xdc00);
                                i += 6;
                            }
                        }
                        // Half a pair becomes U+FFFD. The text never gets longer than what was read.
                        let ch = char::from_u32(r).unwrap_or('\u{fffd}');
                        out += ch.encode_utf8(&mut b[out..]).len();
                        continue;
                    }
                    _ => return None,
                };
            }
            _ => {}
        }
        b[out] = c;
        out += 1;
    }
    let (head, rest) = b.split_at_mut(i);
    Some((&head[..out], rest))
}

fn hex4(b: &[u8]) -> Option<u32> {
    b.iter().try_fold(0, |n, c| Some(n << 4 | (*c as char).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn parse(s: &str) -> Option<Vec<&'static str>> {
        let b = Vec::from(s.as_bytes()).leak();
        parse_strings(b).map(|l| l.iter().map(|t| t.to_str().unwrap()).collect())
    }

    #[test]
    fn strings() {
        assert_eq!(parse("[]"), Some([].to_vec()));
        assert_eq!(parse(r#" [ "a" , "b\"\\\/\n" ] "#), Some(["a", "b\"\\/\n"].to_vec()));
        assert_eq!(parse(r#"["a,b","\u00e4\u20ac\ud83d\ude00\ud83dx\udc00"]"#), Some(["a,b", "ä€😀\u{fffd}x\u{fffd}"].to_vec()));
        for bad in
            ["", "[", "[]x", "[,]", "[\"a\",]", "[\"a\"", "[\"a]", "[1]", "{}", "[\"\\x\"]", "[\"\\u12\"]", "[\"\u{1}\"]", "[\"a\" \"b\"]"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn ints() {
        for (s, want) in [
            ("0", Some(0)),
            ("-12", Some(-12)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("1.5", None),
            ("1e3", None),
        ] {
            assert_eq!(parse_int(s.as_bytes()), want, "{s}");
        }
    }
}
