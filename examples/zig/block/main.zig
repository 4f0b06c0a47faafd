//! block: recipients that take no mail.
//!
//!     [plugin.config]
//!     blocked = ["blocked", "spam.test"]      # local parts and domains

const mta = @import("mta");

comptime {
    mta.plugin(.{ .init = init, .rcpt = rcpt });
}

var blocked: []const []const u8 = &.{};

fn init() void {
    blocked = mta.config.strings("blocked");
}

/// Asked at each RCPT TO.
fn rcpt() mta.Verdict {
    const to = mta.recipient();
    if (mta.contains(blocked, to.local()) or mta.contains(blocked, to.domain())) {
        return mta.reject(550, "5.7.1", "this mailbox takes no mail");
    }
    return mta.CONTINUE; // no opinion: the server's own rules decide
}
