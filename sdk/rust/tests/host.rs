//! A plugin that uses the capabilities, with the stand-in for the server.
use std::time::Duration;
use wasmta::testing::{Host, Kept};
use wasmta::{hook, init, Algorithm, Counter, Global, Part, RecordType, Result, Session, Verdict};

static REFUSED: Global<Counter> = Global::new(Counter::NONE);

init!(|c| {
    REFUSED.set(c.counter("refused"));
    Ok(())
});

hook!(on_connect, |s| {
    if let Some(answer) = s.dns().listed("list.example", s.remote_ip())? {
        REFUSED.get().add(1);
        return Ok(s.reject(554, "5.7.1", format!("listed: {answer}")));
    }
    Ok(Verdict::CONTINUE)
});

hook!(on_rcpt, |s| {
    let to = s.recipient().local();
    let wait = s.kv().take(s.concat(&[&"rate:", &to]), 1, 2, 0.5)?;
    if !wait.is_zero() {
        return Ok(s.defer(450, "4.7.1", format!("wait {} s", wait.as_secs())));
    }
    s.kv().incr("all", 1, Duration::from_secs(60))?;
    if s.lookup("users", to).is_none() {
        s.emit("unknown", to)?;
        return Ok(s.reject(550, "5.1.1", "there is no such mailbox"));
    }
    Ok(Verdict::CONTINUE)
});

hook!(on_message, |s| {
    let mut r = s.http().get("https://scan.example/").header("X-Key", s.secret("api")?).start_message(Part::Message)?;
    if r.status()? != 200 || r.text()? != "clean" {
        return Ok(Verdict::REJECT);
    }
    sign(s)?;
    s.body_splice(0, s.body_size())?;
    s.body_write("-- \r\nclean\r\n")?;
    Ok(Verdict::CONTINUE)
});

fn sign(s: &Session) -> Result {
    let c = s.crypto();
    let sum = c.body_digest(Algorithm::Sha256, wasmta::Canonicalization::Raw, None)?;
    assert!(c.digest(Algorithm::Sha256, "hello\r\n")? == sum && c.digest(Algorithm::Sha256, "other")? != sum);
    let sig = c.sign("dkim", Algorithm::Ed25519, sum)?;
    assert!(c.verify(Algorithm::Ed25519, "dkim", sig, sum)? && !c.verify(Algorithm::Ed25519, "dkim", sig, "other")?);
    assert!(c.check_password("hash", "secret")? && !c.check_password("hash", "other")?);
    Ok(())
}

#[test]
fn capabilities() {
    let mut host =
        Host::new().record(RecordType::A, "1.2.0.192.list.example", [127, 0, 0, 2]).response("POST https://scan.example/", 200, "clean");
    host.now = 1_700_000_000_000;
    host.services.tables.insert(("users".into(), "ann".into()), "".into());
    host.services.secrets.insert("api".into(), "hush".into());
    host.services.keys.push("dkim".into());
    host.services.passwords.insert("hash".into(), "secret".into());
    assert_eq!(host.start(mta1_init), 0);

    host.texts.insert(wasmta::abi::field::REMOTE_IP, "192.0.2.1".into());
    assert_eq!(host.ask(mta1_on_connect).to_string(), "reject 554 5.7.1 listed: 127.0.0.2");
    assert_eq!(host.services.metrics["refused"], 1);
    host.texts.insert(wasmta::abi::field::REMOTE_IP, "2001:db8::1".into());
    assert_eq!(host.ask(mta1_on_connect).to_string(), "continue");

    host.recipients = vec!["eve@example.org".into()];
    assert_eq!(host.ask(mta1_on_rcpt).to_string(), "reject 550 5.1.1 there is no such mailbox");
    assert_eq!(host.services.events, [("unknown".to_string(), "eve".to_string())]);
    host.ask(mta1_on_rcpt);
    assert_eq!(host.ask(mta1_on_rcpt).to_string(), "defer 450 4.7.1 wait 2 s");
    host.now += 2000;
    host.recipients = vec!["ann@example.org".into()];
    assert_eq!(host.ask(mta1_on_rcpt).to_string(), "continue");
    assert_eq!(host.services.kv["all"].value, Kept::Counter(3));
    host.now += 60_000;
    host.ask(mta1_on_rcpt);
    assert_eq!(host.services.kv["all"].value, Kept::Counter(1), "the counter had expired");

    host.header = vec![("Subject".into(), "one".into())];
    host.body = b"hello\r\n".to_vec();
    assert_eq!(host.ask(mta1_on_message).to_string(), "continue");
    assert_eq!(host.body, b"hello\r\n-- \r\nclean\r\n");
    let sent = &host.services.requests[0];
    assert_eq!((sent.method.as_str(), sent.header.as_str()), ("POST", "X-Key: hush\n"));
    assert_eq!(sent.body, b"Subject: one\r\n\r\nhello\r\n");
    assert_eq!(host.clone().response("POST https://scan.example/", 500, "").ask(mta1_on_message).to_string(), "reject");
    assert_eq!(host.body, b"hello\r\n-- \r\nclean\r\n");
}
