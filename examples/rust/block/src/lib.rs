//! Refuses recipients by local part or domain.
#![cfg_attr(target_arch = "wasm32", no_std)]

use wasmta::{hook, init, Global, List, Verdict};

wasmta::panic_handler!();

static BLOCKED: Global<List> = Global::new(List::EMPTY); // local parts and domains that take no mail

init!(|c| {
    BLOCKED.set(c.strings("blocked"));
    Ok(())
});

hook!(on_rcpt, |s| {
    let r = s.recipient();
    if BLOCKED.get().contains(r.local()) || BLOCKED.get().contains(r.domain()) {
        return s.reject(550, "5.7.1", "this mailbox takes no mail");
    }
    Verdict::CONTINUE // no opinion: the server's own rules decide
});

#[cfg(test)]
mod tests {
    use super::*;
    use wasmta::testing::Host;

    #[test]
    fn blocked_recipients_are_refused() {
        let mut host = Host::new().config("blocked", r#"["blocked","spam.test"]"#);
        assert_eq!(host.start(mta1_init), 0);
        for (path, want) in [
            ("blocked@example.org", "reject 550 5.7.1 this mailbox takes no mail"),
            ("ann@SPAM.test", "reject 550 5.7.1 this mailbox takes no mail"),
            ("ann@example.org", "continue"),
        ] {
            host.recipients = vec![path.to_string()];
            assert_eq!(host.ask(mta1_on_rcpt).to_string(), want, "{path}");
        }
    }

    #[test]
    fn the_list_must_be_one() {
        assert_ne!(Host::new().config("blocked", "7").start(mta1_init), 0);
    }
}
