//! Uses the capabilities as sdk/internal/exercise expects.
use core::time::Duration;
use wasmta::{
    abi, hook, init, log, Algorithm, Canonicalization, Counter, Gauge, Global, Histogram, Ip, Level, Method, Part,
    RecordType, Result, Session, Text, Verdict,
};

static URL: Global<Text> = Global::new(Text::EMPTY);
static HASH: Global<Text> = Global::new(Text::EMPTY);
static KEY: Global<[u8; 32]> = Global::new([0; 32]);
static SEEN: Global<Counter> = Global::new(Counter::NONE);
static LEVEL: Global<Gauge> = Global::new(Gauge::NONE);
static SIZE: Global<Histogram> = Global::new(Histogram::NONE);

macro_rules! say {
    ($($arg:tt)*) => { log(Level::Info, format!($($arg)*)) };
}

fn code<T>(r: Result<T>) -> i32 {
    r.err().map_or(0, |e| e.0)
}

fn hex(b: impl AsRef<[u8]>) -> String {
    b.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

fn join<T: std::fmt::Display>(list: impl Iterator<Item = T>, between: &str) -> String {
    list.map(|t| t.to_string()).collect::<Vec<_>>().join(between)
}

init!(|c| {
    URL.set(c.text("url"));
    HASH.set(c.text("hash"));
    let (key, mut octets) = (c.text("key"), [0; 32]);
    for (i, o) in octets.iter_mut().enumerate() {
        *o = u8::from_str_radix(key.to_str().and_then(|k| k.get(2 * i..2 * i + 2)).unwrap_or(""), 16).map_err(|_| "key")?;
    }
    KEY.set(octets);
    SEEN.set(c.counter("seen"));
    LEVEL.set(c.gauge("level"));
    SIZE.set(c.histogram("size"));
    if c.secret("api") != Ok(c.secret("api").unwrap()) || c.secret("other").is_ok() {
        return Err("secrets");
    }
    Ok(())
});

hook!(on_connect, |s| {
    const EVER: Duration = Duration::ZERO;
    const MINUTE: Duration = Duration::from_secs(60);
    let kv = s.kv();
    say!("kv get {}", kv.get("k").is_some());
    kv.set("k", "v€", MINUTE)?;
    say!("kv set {}", kv.get("k").unwrap());
    say!("kv add {} {}", kv.add("k", "x", EVER)?, kv.add("n", "x", MINUTE)?);
    say!("kv replace {} {}", kv.replace("k", "w", EVER)?, kv.replace("none", "w", EVER)?);
    kv.set_sync("sync", "1", EVER)?;
    say!("kv sync {}", kv.get("sync").unwrap());
    let (a, b) = (kv.compare_and_swap("k", "wrong", "x", EVER)?, kv.compare_and_swap("k", "w", "x", EVER)?);
    say!("kv cas {a} {b} {}", kv.compare_and_swap("fresh", "", "y", EVER)?);
    say!("kv incr {} {} {}", kv.incr("c", 5, Duration::from_secs(1))?, kv.incr("c", -2, EVER)?, kv.incr("c", -9, EVER)?);
    say!("kv refresh {}", kv.incr_refresh("c", 1, MINUTE)?);
    say!("kv take {} {}", kv.take("b", 2, 2, 0.5)?.as_millis(), kv.take("b", 1, 2, 0.5)?.as_millis());
    say!("kv error {}", code(kv.incr("k", 1, EVER)));
    say!("kv delete {} {}", kv.delete("k")?, kv.delete("k")?);
    kv.set("e", "", EVER)?;
    say!("kv empty {} {}", kv.get("e").is_some(), kv.get("e").unwrap().len());
    kv.set("long", [b'x'; 10000], EVER)?;
    say!("kv long {}", kv.get("long").unwrap().len());
    Ok(Verdict::CONTINUE)
});

hook!(on_ehlo, |s| {
    let dns = s.dns();
    dns.prefetch(RecordType::Txt, "a.example")?;
    say!("dns txt {}", join(dns.txt("a.example")?, "|"));
    say!("dns ttl {} {}", dns.ttl(), dns.secure());
    say!("dns a {}", join(dns.a("a.example")?, " "));
    say!("dns aaaa {}", join(dns.aaaa("a.example")?, " "));
    say!("dns mx {}", join(dns.mx("a.example")?.map(|x| format!("{} {}", x.preference, x.host)), " "));
    say!("dns ptr {}", join(dns.ptr("1.2.0.192.in-addr.arpa")?, " "));
    say!("dns srv {}", join(dns.query(RecordType::Srv, "_x._tcp.a.example")?, " "));
    say!("dns none {}", dns.mx("empty.example")?.count());
    say!("dns nxdomain {}", code(dns.txt("none.example")));
    say!("dns servfail {}", code(dns.txt("fail.example")));
    let ip = Ip::V4([192, 0, 2, 1]).text();
    say!("dns listed {}", dns.listed("list.example", AsRef::<[u8]>::as_ref(&ip))?.unwrap());
    say!("dns unlisted {}", dns.listed("list.example", "192.0.2.2")?.is_some());
    Ok(Verdict::CONTINUE)
});

hook!(on_mail, |s| {
    let (echo, long) = (format!("{}echo", URL.get()), format!("{}long", URL.get()));
    let closed = {
        let mut get = s.http().get(&echo).header("X-Test", "one").timeout(Duration::from_secs(5)).start()?;
        let mut post = s.http().post(&echo, "données").start()?;
        say!("http get {} {} {}", get.status()?, get.header("Content-Type").unwrap(), get.text()?);
        say!("http header [{}]", get.header("X-None").unwrap_or_default());
        say!("http post {} {}", post.status()?, post.text()?);
        say!("http ready {}", post.ready(Duration::ZERO));
        1 // the first handle
    };
    say!("http closed {}", unsafe { abi::http::wait(closed, -1) });
    let mut l = s.http().request(Method::Get, &long).send()?;
    say!("http long {}", l.text()?.len());
    assert_eq!(l.read(&mut [0; 4])?, 0);
    drop(l);
    say!("http denied {}", code(s.http().get("https://elsewhere.example/").send()));
    Ok(Verdict::CONTINUE)
});

hook!(on_data, |s| {
    say!("table {}", s.lookup("users", "bob@example.org").unwrap());
    let empty = s.lookup("users", "empty");
    say!("table empty {} {}", empty.is_some(), empty.unwrap_or_default().len());
    say!("table none {}", s.lookup("users", "eve").is_some());
    say!("table net {}", s.lookup("nets", "192.0.2.9").unwrap());
    say!("event {} {}", code(s.emit("seen", "d€")), code(s.emit("bad topic", "")));
    say!("secret {} {}", s.secret("api")?, code(s.secret("other")));
    SEEN.get().add(1);
    SEEN.get().add(2);
    LEVEL.get().set(5);
    LEVEL.get().set(-7);
    SIZE.get().observe(1);
    SIZE.get().observe(8);
    say!("feature {}", join((abi::feature::KV..=abi::feature::EVENT).map(wasmta::feature), " "));
    Ok(Verdict::CONTINUE)
});

hook!(on_message, message);

fn message(s: &Session) -> Result<Verdict> {
    let (echo, length) = (format!("{}echo", URL.get()), format!("{}length", URL.get()));
    let mut r = s.http().get(&echo).header("X-Test", "two").start_message(Part::Body)?;
    say!("http body {} {}", r.status()?, r.text()?);
    r = s.http().get(&length).start_message(Part::Message)?;
    say!("http message {} {}", r.status()?, r.text()?);

    let c = s.crypto();
    let sum = c.digest(Algorithm::Sha256, "abc")?;
    say!("digest {}", hex(sum));
    for _ in 0..20 {
        c.new_digest(Algorithm::Sha1)?.update("never asked for")?; // eight may be open
    }
    let mut d = c.new_digest(Algorithm::Sha256)?;
    d.update("a")?;
    d.update("bc")?;
    say!("digest {}", d.sum()? == sum);
    d = c.new_digest(Algorithm::Sha256)?;
    d.update("x")?;
    d.body(0, Some(5), Canonicalization::Raw)?;
    let part = d.sum()?;
    say!("digest part {}", hex(part));
    say!("digest body {}", hex(c.body_digest(Algorithm::Sha256, Canonicalization::Simple, None)?));
    let sig = c.sign("dkim", Algorithm::Ed25519, sum)?;
    let (good, bad) = (c.verify(Algorithm::Ed25519, KEY.get(), sig, sum)?, c.verify(Algorithm::Ed25519, KEY.get(), sig, part)?);
    say!("sign {} {good} {bad}", sig.len());
    say!("sign error {}", code(c.sign("other", Algorithm::Ed25519, sum)));
    say!("hmac {}", hex(c.hmac("mac", Algorithm::Sha256, "abc")?));
    say!("password {} {}", c.check_password(HASH.get(), "secret")?, c.check_password(HASH.get(), "wrong")?);
    say!("password error {}", code(c.check_password("secret", "secret")));

    let (top, middle, end) = (s.body_write("[top]\r\n"), s.body_splice(0, 7), s.body_write("[end]\r\n"));
    say!("body {} {} {}", code(top), code(middle), code(end));
    Ok(Verdict::CONTINUE)
}
