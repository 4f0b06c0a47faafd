//! Refuses recipients at one domain.

const mta = @import("mta");

comptime {
    mta.plugin(.{ .init = init, .rcpt = rcpt });
}

var domain: []const u8 = ""; // takes no mail

fn init() void {
    domain = mta.config.string("domain") orelse "";
}

/// Asked at each RCPT TO.
fn rcpt() mta.Verdict {
    if (mta.eql(mta.recipient().domain(), domain)) {
        return mta.reject(550, "5.7.1", "this domain takes no mail");
    }
    return mta.CONTINUE; // no opinion: the server's own rules decide
}
