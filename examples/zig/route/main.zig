//! route: mail for one domain goes its own way. It needs
//!
//!     [plugin.grant]
//!     envelope = "write"
//!
//!     [plugin.config]
//!     partner = "partner.test"
//!     next_hop = "smtp:127.0.0.1:2526"

const mta = @import("mta");

comptime {
    mta.plugin(.{ .init = init, .route = route });
}

var partner: []const u8 = "";
var next_hop: []const u8 = "";

fn init() void {
    partner = mta.config.string("partner") orelse "";
    next_hop = mta.config.string("next_hop") orelse "";
}

/// Asked when recipients of one domain are due and nobody has said yet where
/// they go.
fn route() !mta.Verdict {
    if (!mta.eql(mta.delivery.domain(), partner)) return mta.CONTINUE; // the routes of the server decide
    try mta.delivery.setNextHop(next_hop);
    return mta.ACCEPT;
}
