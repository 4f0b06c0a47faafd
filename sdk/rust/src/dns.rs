use crate::abi::field;
use crate::session::{number, Session};
use crate::text::Text;
use crate::verdict::{check, Error, Result};
use crate::{arena, host};
use core::fmt;
use core::marker::PhantomData;

impl Session {
    /// Asks the server's resolver, which caches. Needs the grant dns. A name
    /// without such records has none, which is no error.
    pub fn dns(&self) -> Dns<'_> {
        Dns { session: PhantomData }
    }
}

/// A type of DNS records, by its number in the RFCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum RecordType {
    /// An IPv4 address: 4 octets.
    A = 1,
    /// A name server: its host name.
    Ns = 2,
    /// The name that this one stands for.
    Cname = 5,
    /// A host name.
    Ptr = 12,
    /// A mail exchanger: `10 host`; `0 .` is a null MX.
    Mx = 15,
    /// A text, its strings joined.
    Txt = 16,
    /// An IPv6 address: 16 octets.
    Aaaa = 28,
    /// A service: `priority weight port host`.
    Srv = 33,
    /// A certificate: the octets of the record (RFC 6698 2.1).
    Tlsa = 52,
    /// Who may issue certificates: `flags tag value`.
    Caa = 257,
}

/// The module mta1_dns. In one call 30 different questions may be asked.
#[derive(Clone, Copy)]
pub struct Dns<'s> {
    session: PhantomData<&'s Session>,
}

impl<'s> Dns<'s> {
    /// Starts a question that will be asked later, at most 8 at a time.
    pub fn prefetch(self, t: RecordType, name: impl AsRef<[u8]>) -> Result {
        check(host::dns_prefetch(t as i32, name.as_ref()))
    }

    /// The records in the form of the contract, which [`RecordType`] tells. A
    /// name that does not exist is [`Error::NO_SUCH_DOMAIN`].
    pub fn query(self, t: RecordType, name: impl AsRef<[u8]>) -> Result<Records<'s>> {
        arena::read(|b| host::dns_query(t as i32, name.as_ref(), b)).map(|b| Records { rest: b })
    }

    /// The IPv4 addresses of a host.
    pub fn a(self, name: impl AsRef<[u8]>) -> Result<Addresses<'s>> {
        self.query(RecordType::A, name).map(Addresses)
    }

    /// The IPv6 addresses of a host.
    pub fn aaaa(self, name: impl AsRef<[u8]>) -> Result<Addresses<'s>> {
        self.query(RecordType::Aaaa, name).map(Addresses)
    }

    /// The mail exchangers of a domain, in no order.
    pub fn mx(self, domain: impl AsRef<[u8]>) -> Result<Exchanges<'s>> {
        self.query(RecordType::Mx, domain).map(Exchanges)
    }

    /// The TXT records, the strings of each joined.
    pub fn txt(self, name: impl AsRef<[u8]>) -> Result<Records<'s>> {
        self.query(RecordType::Txt, name)
    }

    /// The host names of a name like `1.2.0.192.in-addr.arpa`.
    pub fn ptr(self, name: impl AsRef<[u8]>) -> Result<Records<'s>> {
        self.query(RecordType::Ptr, name)
    }

    /// Asks a DNS list, such as `zen.example`, for an address, and gives the
    /// list's answer, such as 127.0.0.2; `None`: it does not list it.
    /// `E_UNAVAIL`: the list does not answer us.
    pub fn listed(self, zone: impl AsRef<[u8]>, ip: impl AsRef<[u8]>) -> Result<Option<Ip>> {
        let mut answer = [0; 4];
        let n = host::dnsbl(zone.as_ref(), ip.as_ref(), &mut answer);
        check(n)?;
        Ok(if n == 1 { Some(Ip::V4(answer)) } else { None })
    }

    /// How long the last answer holds, in seconds.
    pub fn ttl(self) -> i64 {
        number(field::DNS_TTL)
    }

    /// Whether DNSSEC proved the last answer.
    pub fn secure(self) -> bool {
        number(field::DNS_AD) == 1
    }
}

/// The records of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Records<'s> {
    rest: &'s [u8],
}

impl<'s> Iterator for Records<'s> {
    type Item = Text<'s>;
    fn next(&mut self) -> Option<Text<'s>> {
        let head = self.rest.get(..4)?;
        let n = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let record = self.rest.get(4..)?.get(..n)?;
        self.rest = &self.rest[4 + n..];
        Some(Text(record))
    }
}

/// The addresses of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Addresses<'s>(Records<'s>);

impl Iterator for Addresses<'_> {
    type Item = Ip;
    fn next(&mut self) -> Option<Ip> {
        self.0.find_map(|r| Ip::from_octets(r.octets()))
    }
}

/// A mail exchanger. A null MX has the host `.`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange<'s> {
    /// The lowest is asked first.
    pub preference: u16,
    /// Its name, in lower case.
    pub host: Text<'s>,
}

/// The mail exchangers of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Exchanges<'s>(Records<'s>);

impl<'s> Iterator for Exchanges<'s> {
    type Item = Exchange<'s>;
    fn next(&mut self) -> Option<Exchange<'s>> {
        self.0.find_map(|r| {
            let r = r.octets();
            let blank = r.iter().position(|c| *c == b' ')?;
            let digit = |n: u16, c: &u8| n.checked_mul(10)?.checked_add(c.checked_sub(b'0').filter(|d| *d < 10)? as u16);
            let preference = r[..blank].iter().try_fold(0, digit)?;
            Some(Exchange { preference, host: Text(&r[blank + 1..]) })
        })
    }
}

/// An address. It is displayed as RFC 5952 says, and [`text`](Ip::text) is
/// that without the 10 KB of `core::fmt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ip {
    /// An IPv4 address.
    V4([u8; 4]),
    /// An IPv6 address.
    V6([u8; 16]),
}

/// The text of an address.
#[derive(Clone, Copy)]
pub struct IpText {
    b: [u8; 40],
    n: usize,
}

impl IpText {
    fn push(&mut self, c: u8) {
        if let Some(to) = self.b.get_mut(self.n) {
            *to = c;
            self.n += 1;
        }
    }
}

impl AsRef<[u8]> for IpText {
    fn as_ref(&self) -> &[u8] {
        self.b.get(..self.n).unwrap_or(&[])
    }
}

impl AsRef<str> for IpText {
    fn as_ref(&self) -> &str {
        core::str::from_utf8(self.as_ref()).unwrap_or("")
    }
}

impl Ip {
    /// The address of 4 or 16 octets.
    pub fn from_octets(b: &[u8]) -> Option<Ip> {
        if let Ok(b) = b.try_into() {
            return Some(Ip::V4(b));
        }
        b.try_into().ok().map(Ip::V6)
    }

    /// Its 4 or 16 octets.
    pub fn octets(&self) -> &[u8] {
        match self {
            Ip::V4(b) => b,
            Ip::V6(b) => b,
        }
    }

    /// Its text, such as `192.0.2.1` and `2001:db8::1`.
    pub fn text(&self) -> IpText {
        let mut t = IpText { b: [0; 40], n: 0 };
        match self {
            Ip::V4(b) => {
                for (i, v) in b.iter().enumerate() {
                    if i > 0 {
                        t.push(b'.');
                    }
                    let (digits, from) = crate::text::decimal(*v as i64);
                    digits[from..].iter().for_each(|d| t.push(*d));
                }
            }
            Ip::V6(b) => {
                let mut group = [0u16; 8];
                for (g, pair) in group.iter_mut().zip(b.chunks_exact(2)) {
                    *g = u16::from_be_bytes([pair[0], pair[1]]);
                }
                let (mut from, mut zeros) = (8, 1); // the first longest run of two and more
                for i in 0..8 {
                    let n = group[i..].iter().take_while(|g| **g == 0).count();
                    if n > zeros {
                        (from, zeros) = (i, n);
                    }
                }
                for (i, g) in group.iter().enumerate() {
                    if i >= from && i < from + zeros {
                        if i == from {
                            t.push(b':');
                            t.push(b':');
                        }
                        continue;
                    }
                    if i > 0 && i != from + zeros {
                        t.push(b':');
                    }
                    let digits = (4 - g.leading_zeros() / 4).max(1);
                    for d in (0..digits).rev() {
                        t.push(b"0123456789abcdef"[(g >> (4 * d) & 15) as usize]);
                    }
                }
            }
        }
        t
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_ref())
    }
}

#[cfg(feature = "std")]
impl From<Ip> for std::net::IpAddr {
    fn from(ip: Ip) -> std::net::IpAddr {
        match ip {
            Ip::V4(b) => b.into(),
            Ip::V6(b) => b.into(),
        }
    }
}

impl Error {
    /// The name does not exist.
    pub const NO_SUCH_DOMAIN: Error = Error(crate::abi::code::E_NXDOMAIN);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn addresses_are_written_as_in_rfc_5952() {
        for s in [
            "192.0.2.1",
            "0.0.0.0",
            "255.255.255.255",
            "::",
            "::1",
            "1::",
            "2001:db8::1",
            "2001:db8::1:0:0:1",
            "1:0:2:3:4:5:6:7",
            "1:0:0:2::3",
        ] {
            let octets: Vec<u8> = match s.parse().unwrap() {
                std::net::IpAddr::V4(a) => a.octets().to_vec(),
                std::net::IpAddr::V6(a) => a.octets().to_vec(),
            };
            assert_eq!(Ip::from_octets(&octets).unwrap().to_string(), s);
        }
        assert_eq!(Ip::from_octets(&[1, 2, 3]), None);
    }

    #[test]
    fn answers_that_end_early() {
        let records = |b: &'static [u8]| Records { rest: b }.map(|t| t.octets().to_vec()).collect::<Vec<_>>();
        assert_eq!(records(b"\x01\0\0\0a\x02\0\0\0bc"), [b"a".to_vec(), b"bc".to_vec()]);
        assert_eq!(records(b"\x01\0\0\0a\x02\0\0\0b"), [b"a".to_vec()]);
        assert!(records(b"\xff\xff\xff\xff").is_empty() && records(b"\x01\0").is_empty());
        let mx: Vec<_> = Exchanges(Records { rest: b"\x04\0\0\010 a\x01\0\0\0x\x07\0\0\065536 b\x03\0\0\00 ." }).collect();
        assert_eq!(mx, [Exchange { preference: 10, host: Text(b"a") }, Exchange { preference: 0, host: Text(b".") }]);
    }
}
