//! headers: what a list does to the header section of a message. It needs
//!
//!     [plugin.grant]
//!     headers = "write"

const std = @import("std");
const mta = @import("mta");

comptime {
    mta.plugin(.{ .message = message });
}

const tag = "[list] ";

/// Asked when the content is complete. An error fails the plugin: on_error of
/// the configuration is the verdict.
fn message() !mta.Verdict {
    try mta.headers.remove("X-Spam-Flag"); // nobody outside says what is spam here
    const subject = mta.headers.get("Subject") orelse "";
    if (!std.mem.startsWith(u8, subject, tag)) {
        try mta.headers.set("Subject", mta.join(&.{ tag, subject }));
    }
    try mta.headers.prepend("X-Policy", "checked by wasmta");
    return mta.CONTINUE;
}
