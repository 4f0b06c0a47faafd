//! What stands in for the capabilities.
use super::{give, utf8, Host};
use crate::abi::{code, kv_flag, metric, send};
use crate::dns::RecordType;
use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

/// What a plugin meets besides the session. Changes here stay whatever the
/// verdict, as in the server.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// The plugin's memory by key. Time is [`Host::now`].
    pub kv: BTreeMap<String, Entry>,
    /// The answers of the DNS, by [`RecordType`] as a number and name; a code
    /// below 0 instead of records. What is not here does not exist.
    /// [`Host::record`] adds one record.
    pub dns: BTreeMap<(i32, String), Result<Vec<Vec<u8>>, i32>>,
    /// The responses by `METHOD URL`; [`Host::response`] adds one. What is not
    /// here is not granted.
    pub responses: BTreeMap<String, Given>,
    /// The requests that were made.
    pub requests: Vec<Sent>,
    /// The operator's tables, by table and key.
    pub tables: BTreeMap<(String, String), String>,
    /// The operator's secrets.
    pub secrets: BTreeMap<String, String>,
    /// The events, topic and data.
    pub events: Vec<(String, String)>,
    /// The metrics by name: of a histogram the sum of the samples.
    pub metrics: BTreeMap<String, i64>,
    /// The names of the operator's keys. A stand-in signs with them, whose
    /// signatures are good for the name as the public key.
    pub keys: Vec<String>,
    /// Passwords by their hashes.
    pub passwords: BTreeMap<String, String>,
    series: Vec<(i32, String)>,
    open: Vec<Option<Exchange>>,
    digests: Vec<Option<Vec<u8>>>,
}

/// A value in the plugin's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is kept.
    pub value: Kept,
    /// When it is gone, in milliseconds since 1970; 0: never.
    pub expires: i64,
}

/// What the plugin's memory keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Of set.
    Value(Vec<u8>),
    /// Of incr.
    Counter(i64),
    /// Of take: thousandths of a token, and when.
    Bucket(i64, i64),
}

/// A response that a test gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// 200 to 599, or a code below 0.
    pub status: i32,
    /// The header fields, name and value.
    pub header: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// A request that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// `GET`, and so on.
    pub method: String,
    /// Where to.
    pub url: String,
    /// Lines `Name: value`.
    pub header: String,
    /// The body.
    pub body: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Exchange {
    given: Given,
    read: usize,
}

/// mix is no digest of the name, only as long, and another for other data.
fn mix(alg: i32, data: &[u8]) -> Option<Vec<u8>> {
    let size = match alg {
        1 => 20,
        2 => 32,
        3 => 64,
        _ => return None,
    };
    let mut h = 0xcbf2_9ce4_8422_2325u64 ^ alg as u64;
    for b in data {
        h = (h ^ *b as u64).wrapping_mul(0x0100_0000_01b3);
    }
    Some((0..size).map(|i| (h.rotate_left(i * 7) ^ i as u64) as u8).collect())
}

fn signature(key: &[u8], dig: &[u8]) -> Vec<u8> {
    mix(3, &[key, b"/", dig].concat()).unwrap_or_default()
}

fn put(out: &mut [u8], b: Option<Vec<u8>>) -> i32 {
    let b = match b {
        Some(b) => b,
        None => return code::E_UNSUPPORTED,
    };
    if let Some(to) = out.get_mut(..b.len()) {
        to.copy_from_slice(&b);
    }
    b.len() as i32
}

impl Host {
    /// Adds a record to the DNS: 4 or 16 octets of an address, otherwise its
    /// text.
    pub fn record(mut self, t: RecordType, name: &str, record: impl AsRef<[u8]>) -> Host {
        let answer = self.services.dns.entry((t as i32, name.to_string())).or_insert_with(|| Ok(Vec::new()));
        match answer {
            Ok(list) => list.push(record.as_ref().to_vec()),
            Err(_) => *answer = Ok(Vec::from([record.as_ref().to_vec()])),
        }
        self
    }

    /// Adds a response to a request such as `GET https://example.org/`.
    pub fn response(mut self, request: &str, status: i32, body: impl AsRef<[u8]>) -> Host {
        let given = Given { status, header: Vec::new(), body: body.as_ref().to_vec() };
        self.services.responses.insert(request.to_string(), given);
        self
    }

    fn entry(&mut self, key: &[u8]) -> Option<Entry> {
        let e = self.services.kv.get(&utf8(key))?.clone();
        if e.expires == 0 || e.expires > self.now {
            return Some(e);
        }
        self.services.kv.remove(&utf8(key));
        None
    }

    fn keep(&mut self, key: &[u8], value: Kept, ttl: i64) {
        let expires = if ttl == 0 { 0 } else { self.now + ttl };
        self.services.kv.insert(utf8(key), Entry { value, expires });
    }

    pub(crate) fn kv_get(&mut self, key: &[u8], buf: &mut [u8]) -> i32 {
        match self.entry(key).map(|e| e.value) {
            None => code::E_NOT_FOUND,
            Some(Kept::Value(v)) => put(buf, Some(v)),
            Some(Kept::Counter(n)) => put(buf, Some(n.to_string().into_bytes())),
            Some(Kept::Bucket(..)) => code::E_INVAL,
        }
    }

    pub(crate) fn kv_set(&mut self, key: &[u8], value: &[u8], ttl: i64, flags: i32) -> i32 {
        let there = self.entry(key).is_some();
        if there && flags & kv_flag::IF_ABSENT != 0 {
            return code::E_CONFLICT;
        }
        if !there && flags & kv_flag::IF_PRESENT != 0 {
            return code::E_NOT_FOUND;
        }
        self.keep(key, Kept::Value(value.to_vec()), ttl);
        0
    }

    pub(crate) fn kv_del(&mut self, key: &[u8]) -> i32 {
        let there = self.entry(key).is_some();
        self.services.kv.remove(&utf8(key));
        if there {
            0
        } else {
            code::E_NOT_FOUND
        }
    }

    pub(crate) fn kv_incr(&mut self, key: &[u8], delta: i64, ttl: i64, flags: i32) -> i64 {
        let (n, expires) = match self.entry(key) {
            None => (0, if ttl == 0 { 0 } else { self.now + ttl }),
            Some(Entry { value: Kept::Counter(n), expires }) => (n, expires),
            Some(_) => return code::E_INVAL as i64,
        };
        let n = n.saturating_add(delta).max(0);
        self.services.kv.insert(utf8(key), Entry { value: Kept::Counter(n), expires });
        if flags & kv_flag::REFRESH != 0 {
            self.keep(key, Kept::Counter(n), ttl);
        }
        n
    }

    pub(crate) fn kv_take(&mut self, key: &[u8], cost: i32, burst: i32, per_sec_milli: i64) -> i64 {
        if cost < 0 || burst <= 0 || cost > burst || per_sec_milli < 1 {
            return code::E_INVAL as i64;
        }
        let (full, cost, now) = (burst as i64 * 1000, cost as i64 * 1000, self.now);
        let have = match self.entry(key).map(|e| e.value) {
            None => full,
            Some(Kept::Bucket(n, at)) => n.saturating_add((now - at).saturating_mul(per_sec_milli) / 1000).min(full),
            Some(_) => return code::E_INVAL as i64,
        };
        let wait = ((cost - have).max(0) * 1000 + per_sec_milli - 1) / per_sec_milli;
        self.keep(key, Kept::Bucket(if wait == 0 { have - cost } else { have }, now), 0);
        wait
    }

    pub(crate) fn kv_cas(&mut self, key: &[u8], old: &[u8], new: &[u8], ttl: i64) -> i32 {
        match self.entry(key).map(|e| e.value) {
            None if old.is_empty() => {}
            Some(Kept::Value(v)) if v == old && !old.is_empty() => {}
            _ => return code::E_CONFLICT,
        }
        self.keep(key, Kept::Value(new.to_vec()), ttl);
        0
    }

    pub(crate) fn dns_prefetch(&mut self, _: i32, _: &[u8]) -> i32 {
        0
    }

    pub(crate) fn dns_query(&mut self, t: i32, name: &[u8], buf: &mut [u8]) -> i32 {
        let name = utf8(name).trim_end_matches('.').to_ascii_lowercase();
        match self.services.dns.get(&(t, name)) {
            None => code::E_NXDOMAIN,
            Some(Err(code)) => *code,
            Some(Ok(list)) => put(buf, Some(list.iter().flat_map(|r| [&(r.len() as u32).to_le_bytes(), r.as_slice()].concat()).collect())),
        }
    }

    pub(crate) fn dnsbl(&mut self, zone: &[u8], ip: &[u8], out: &mut [u8; 4]) -> i32 {
        let labels: Vec<String> = match utf8(ip).parse() {
            Ok(std::net::IpAddr::V4(a)) => a.octets().iter().rev().map(|o| o.to_string()).collect(),
            Ok(std::net::IpAddr::V6(a)) => {
                a.octets().iter().rev().flat_map(|o| [format!("{:x}", o & 15), format!("{:x}", o >> 4)]).collect()
            }
            Err(_) => return code::E_INVAL,
        };
        match self.services.dns.get(&(RecordType::A as i32, format!("{}.{}", labels.join("."), utf8(zone)))) {
            None => 0,
            Some(Err(code::E_NXDOMAIN)) => 0,
            Some(Err(code)) => *code,
            Some(Ok(list)) => match list.iter().filter_map(|r| <[u8; 4]>::try_from(r.as_slice()).ok()).min() {
                Some(a) if a[0] == 127 && a[1..3] != [255, 255] => {
                    *out = a;
                    1
                }
                Some(_) => code::E_UNAVAIL,
                None => 0,
            },
        }
    }

    fn exchange(&mut self, sent: Sent) -> i32 {
        match self.services.responses.get(&format!("{} {}", sent.method, sent.url)) {
            None => code::E_DENIED,
            Some(given) => {
                let given = given.clone();
                self.services.requests.push(sent);
                self.services.open.push(Some(Exchange { given, read: 0 }));
                self.services.open.len() as i32
            }
        }
    }

    pub(crate) fn http_start(&mut self, method: i32, url: &[u8], header: &[u8], body: &[u8], _: i32) -> i32 {
        let method = match ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"].get((method as usize).wrapping_sub(1)) {
            Some(m) => m.to_string(),
            None => return code::E_UNSUPPORTED,
        };
        self.exchange(Sent { method, url: utf8(url), header: utf8(header), body: body.to_vec() })
    }

    pub(crate) fn http_start_msg(&mut self, url: &[u8], header: &[u8], what: i32, _: i32) -> i32 {
        let mut body = Vec::new();
        if what != send::BODY {
            body.extend(self.raw_headers().into_bytes());
        }
        if what != send::HEADERS {
            body.extend_from_slice(&self.body);
        }
        self.exchange(Sent { method: "POST".to_string(), url: utf8(url), header: utf8(header), body })
    }

    fn open(&mut self, handle: i32) -> Option<&mut Exchange> {
        self.services.open.get_mut((handle as usize).wrapping_sub(1))?.as_mut()
    }

    pub(crate) fn http_wait(&mut self, handle: i32, _: i32) -> i32 {
        self.open(handle).map_or(code::E_NOT_FOUND, |e| e.given.status)
    }

    pub(crate) fn http_header(&mut self, handle: i32, name: &[u8], buf: &mut [u8]) -> i32 {
        let list: Vec<String> = match self.open(handle) {
            None => return code::E_NOT_FOUND,
            Some(e) => e.given.header.iter().filter(|h| h.0.as_bytes().eq_ignore_ascii_case(name)).map(|h| h.1.clone()).collect(),
        };
        give(buf, if list.is_empty() { None } else { Some(list.join(", ")) }.as_deref())
    }

    pub(crate) fn http_read(&mut self, handle: i32, buf: &mut [u8]) -> i32 {
        match self.open(handle) {
            None => code::E_NOT_FOUND,
            Some(e) if e.given.status < 0 => e.given.status,
            Some(e) => {
                let n = buf.len().min(e.given.body.len() - e.read);
                buf[..n].copy_from_slice(&e.given.body[e.read..e.read + n]);
                e.read += n;
                n as i32
            }
        }
    }

    pub(crate) fn http_close(&mut self, handle: i32) -> i32 {
        match self.services.open.get_mut((handle as usize).wrapping_sub(1)).and_then(|e| e.take()) {
            None => code::E_NOT_FOUND,
            Some(_) => 0,
        }
    }

    pub(crate) fn digest(&mut self, alg: i32, data: &[u8], out: &mut [u8]) -> i32 {
        put(out, mix(alg, data))
    }

    pub(crate) fn digest_open(&mut self, alg: i32) -> i32 {
        if mix(alg, b"").is_none() {
            return code::E_UNSUPPORTED;
        }
        self.services.digests.push(Some(Vec::from([alg as u8])));
        self.services.digests.len() as i32
    }

    fn hashing(&mut self, handle: i32) -> Option<&mut Vec<u8>> {
        self.services.digests.get_mut((handle as usize).wrapping_sub(1))?.as_mut()
    }

    pub(crate) fn digest_update(&mut self, handle: i32, data: &[u8]) -> i32 {
        self.hashing(handle).map_or(code::E_NOT_FOUND, |d| {
            d.extend_from_slice(data);
            0
        })
    }

    pub(crate) fn digest_body(&mut self, handle: i32, off: i64, len: i64, _: i32) -> i32 {
        let rest = self.body.get(off.max(0) as usize..).unwrap_or(&[]);
        let n = if len < 0 { rest.len() } else { rest.len().min(len as usize) };
        let data = rest[..n].to_vec();
        self.digest_update(handle, &data)
    }

    pub(crate) fn digest_final(&mut self, handle: i32, out: &mut [u8]) -> i32 {
        let sum = match self.hashing(handle) {
            None => return code::E_NOT_FOUND,
            Some(d) => mix(d[0] as i32, &d[1..]),
        };
        let n = put(out, sum);
        if n as usize <= out.len() {
            self.services.digests[handle as usize - 1] = None;
        }
        n
    }

    pub(crate) fn verify(&mut self, _: i32, key: &[u8], sig: &[u8], dig: &[u8]) -> i32 {
        if signature(key, dig) == sig {
            0
        } else {
            code::E_BAD_SIG
        }
    }

    pub(crate) fn sign(&mut self, key: &[u8], _: i32, dig: &[u8], out: &mut [u8]) -> i32 {
        if !self.services.keys.contains(&utf8(key)) {
            return code::E_DENIED;
        }
        put(out, Some(signature(key, dig)))
    }

    pub(crate) fn hmac(&mut self, key: &[u8], alg: i32, data: &[u8], out: &mut [u8]) -> i32 {
        if !self.services.keys.contains(&utf8(key)) {
            return code::E_DENIED;
        }
        put(out, mix(alg, &[key, b"/", data].concat()))
    }

    pub(crate) fn password_verify(&mut self, hash: &[u8], password: &[u8]) -> i32 {
        self.services.passwords.get(&utf8(hash)).map_or(code::E_UNSUPPORTED, |p| (p.as_bytes() == password) as i32)
    }

    pub(crate) fn table_lookup(&mut self, table: &[u8], key: &[u8], buf: &mut [u8]) -> i32 {
        give(buf, self.services.tables.get(&(utf8(table), utf8(key))).map(|s| s.as_str()))
    }

    pub(crate) fn event_emit(&mut self, topic: &[u8], data: &[u8]) -> i32 {
        let fine = |c: &u8| c.is_ascii_alphanumeric() || b"._-".contains(c);
        if topic.is_empty() || topic.len() > 64 || !topic.iter().all(fine) {
            return code::E_INVAL;
        }
        self.services.events.push((utf8(topic), utf8(data)));
        0
    }

    pub(crate) fn secret(&mut self, name: &[u8], buf: &mut [u8]) -> i32 {
        match self.services.secrets.get(&utf8(name)) {
            None => code::E_DENIED,
            s => give(buf, s.map(|s| s.as_str())),
        }
    }

    pub(crate) fn metric_def(&mut self, kind: i32, name: &[u8]) -> i32 {
        let fine = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'_';
        if name.is_empty() || name.len() > 64 || name[0].is_ascii_digit() || !name.iter().all(fine) {
            return code::E_INVAL;
        }
        let name = utf8(name);
        match self.services.series.iter().position(|s| s.1 == name) {
            Some(i) if self.services.series[i].0 == kind => i as i32,
            Some(_) => code::E_CONFLICT,
            None => {
                self.services.metrics.insert(name.clone(), 0);
                self.services.series.push((kind, name));
                self.services.series.len() as i32 - 1
            }
        }
    }

    pub(crate) fn metric_add(&mut self, id: i32, value: i64) -> i32 {
        let (kind, name) = match self.services.series.get(id as usize) {
            Some(s) => s,
            None => return code::E_NOT_FOUND,
        };
        let v = self.services.metrics.entry(name.clone()).or_default();
        match *kind {
            metric::GAUGE => *v = value,
            _ if value < 0 => return code::E_INVAL,
            _ => *v += value,
        }
        0
    }

    pub(crate) fn body_write(&mut self, data: &[u8]) -> i32 {
        self.new_body.get_or_insert_with(Vec::new).extend_from_slice(data);
        0
    }

    pub(crate) fn body_splice(&mut self, off: i64, len: i64) -> i32 {
        let part = match off.checked_add(len) {
            Some(end) if off >= 0 && len >= 0 => self.body.get(off as usize..end as usize),
            _ => None,
        };
        match part {
            None => code::E_INVAL,
            Some(b) => {
                let b = b.to_vec();
                self.body_write(&b)
            }
        }
    }

    /// over ends what lasts as long as a call.
    pub(super) fn over(&mut self) {
        self.services.open.clear();
        self.services.digests.clear();
    }
}
