//! Sends mail for one domain to a next hop of its own.
#![cfg_attr(target_arch = "wasm32", no_std)]

use wasmta::{hook, init, Global, Text, Verdict};

wasmta::panic_handler!();

static PARTNER: Global<Text> = Global::new(Text::EMPTY);
static NEXT_HOP: Global<Text> = Global::new(Text::EMPTY);

init!(|c| {
    PARTNER.set(c.text("partner"));
    NEXT_HOP.set(c.text("next_hop"));
    Ok(())
});

hook!(on_route, |s| {
    if s.domain() != PARTNER.get() {
        return Ok(Verdict::CONTINUE); // the configured routes decide
    }
    s.set_next_hop(NEXT_HOP.get())?;
    Ok(Verdict::ACCEPT)
});

#[cfg(test)]
mod tests {
    use super::*;
    use wasmta::{abi::field, testing::Host};

    #[test]
    fn mail_for_the_partner_has_its_own_way() {
        let mut host = Host::new().config("partner", "partner.test").config("next_hop", "smtp:127.0.0.1:2526");
        assert_eq!(host.start(mta1_init), 0);
        host.texts.insert(field::DOMAIN, "elsewhere.test".to_string());
        assert_eq!(host.ask(mta1_on_route).to_string(), "continue");
        assert_eq!(host.texts.get(&field::TRANSPORT), None);
        host.texts.insert(field::DOMAIN, "partner.test".to_string());
        assert_eq!(host.ask(mta1_on_route).to_string(), "accept");
        assert_eq!(host.texts[&field::TRANSPORT], "smtp:127.0.0.1:2526");
    }
}
