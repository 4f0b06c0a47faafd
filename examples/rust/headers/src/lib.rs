//! Rewrites header fields of a message that is complete.
#![cfg_attr(target_arch = "wasm32", no_std)]

use wasmta::{hook, init, Result, Session, Text, Verdict};

wasmta::panic_handler!();

init!();

hook!(on_message, rewrite);

fn rewrite(s: &Session) -> Result<Verdict> {
    let h = s.header();
    h.remove("X-Spam-Flag")?;
    let subject = h.get("Subject").unwrap_or(Text::EMPTY);
    if !subject.starts_with(b"[list] ") {
        h.set("Subject", s.concat(&[&"[list] ", &subject]))?;
    }
    h.prepend("X-Policy", "checked by wasmta")?;
    Ok(Verdict::CONTINUE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmta::testing::Host;

    #[test]
    fn fields() {
        let mut host = Host::new();
        for (n, v) in [("X-Spam-Flag", "YES"), ("Subject", "hi"), ("x-spam-flag", "no")] {
            host.header.push((n.to_string(), v.to_string()));
        }
        assert_eq!(host.ask(mta1_on_message).to_string(), "continue");
        let want = [("X-Policy", "checked by wasmta"), ("Subject", "[list] hi")];
        assert_eq!(host.header, want.map(|(n, v)| (n.to_string(), v.to_string())));
    }
}
