//! Asks what the crate gives once in a guest; what is not as expected is the
//! reply.
use wasmta::{abi::code, hook, init, log, Error, Global, Level, List, Result, Scope, Session, Text, TlsPolicy, Verdict};

static LIST: Global<List> = Global::new(List::EMPTY);
static WHOLE: Global<Text> = Global::new(Text::EMPTY);
static FINE: Global<bool> = Global::new(false);

init!(|c| {
    WHOLE.set(c.json());
    LIST.set(c.strings("list"));
    FINE.set(
        c.text("text") == "some text"
            && c.int("number", 0) == -12
            && c.bool("yes", false)
            && !c.bool("no", true)
            && c.int("absent", 7) == 7
            && c.bool("absent", true)
            && !c.has("absent")
            && c.strings("absent").is_empty(),
    );
    Ok(())
});

macro_rules! check {
    ($s:ident, $cond:expr) => {
        if !$cond {
            return Ok($s.reject(550, "5.0.0", stringify!($cond)));
        }
    };
}

hook!(on_mail, |s| {
    check!(s, FINE.get());
    check!(s, LIST.get().len() == 4 && LIST.get()[1] == "\"b\\\n" && LIST.get()[2] == "ä€😀\u{fffd}" && LIST.get()[3].is_empty());
    check!(s, WHOLE.get().starts_with(b"{\"list\":[") && WHOLE.get().ends_with(b"}"));
    check!(s, s.reverse_path() == "ann@example.com" && s.declared_size() == 1234 && s.attempt() == 0 && s.queue_id().is_empty());
    s.set_reverse_path("bob@example.com")?;
    check!(s, s.set_size_limit(1) == Err(Error(code::E_STATE)));
    check!(s, s.set_reverse_path("<>") == Err(Error(code::E_INVAL)));
    check!(s, s.set_tls_policy(TlsPolicy::Verify) == Err(Error(code::E_STATE)));
    s.set_attr(Scope::Session, "k", "v")?;
    check!(s, s.attr(Scope::Session, "k") == Some(s.concat(&[&"v"])) && s.attr(Scope::Session, "none").is_none());
    s.delete_attr(Scope::Session, "k")?;
    check!(s, s.delete_attr(Scope::Session, "k") == Err(Error(code::E_NOT_FOUND)));
    check!(s, s.decimal(i64::MIN) == "-9223372036854775808" && s.format(format_args!("{}-{:02}", "a", 7)) == "a-07");
    let mut random = [0; 16];
    wasmta::random(&mut random)?;
    check!(s, random != [0; 16] && wasmta::now_ms() > 1_600_000_000_000 && wasmta::mono_ns() > 0);
    log(Level::Info, "as expected");
    Ok(Verdict::CONTINUE.detach_transaction())
});

hook!(on_rcpt, rcpt);

fn rcpt(s: &Session) -> Result<Verdict> {
    let r = s.recipient();
    match r.local().octets() {
        b"later" => return Ok(s.defer(450, "4.7.1", "come again")),
        b"drop" => return Ok(s.drop(421, "4.7.0", "two\nlines")),
        b"must" => s.set_size_limit(-1)?,
        _ => {}
    }
    r.set_forward_path(s.concat(&[&r.local(), &"@new.test"]))?;
    s.add_recipient("copy@new.test")?;
    Ok(Verdict::CONTINUE)
}

hook!(on_command, |s| s.accept(250, "2.0.0", "fine"));

hook!(on_message, |s| {
    let (mut off, mut sum, mut b) = (0, 0u32, [0; 8]);
    loop {
        let n = s.body_read(off, &mut b)?;
        if n == 0 {
            break;
        }
        off += n as i64;
        sum += b[..n].iter().map(|c| *c as u32).sum::<u32>();
    }
    check!(s, off == s.body_size() && sum == 20 * 'x' as u32);
    check!(s, s.recipients().count() == 1 && s.recipients().all(|r| r.domain() == "example.com"));
    s.remove_recipients(|_| true)?;
    check!(s, s.recipient_count() == 0);

    // Each is more than the arena; all must stay.
    let h = s.header();
    let (a, b) = (h.get("A").unwrap(), h.get("b").unwrap());
    check!(s, a.len() == 40000 && b.len() == 90000 && a.iter().all(|c| *c == b'a') && b.iter().all(|c| *c == b'b'));
    check!(s, h.values("a").map(|v| v.len()).eq([40000, 5]) && h.at(1).0 == "B" && h.count() == 3 && !h.has("c"));
    check!(s, h.raw()?.len() > 130000 && a[0] == b'a');
    h.remove("A")?;
    h.set("B", "short")?;
    h.set("D", "new")?;
    h.add("Subject", "x")?;
    check!(s, h.add("Subject", "y") == Err(Error(code::E_CONFLICT)));
    h.prepend("Z", s.decimal(-1))?;
    Ok(Verdict::CONTINUE)
});
