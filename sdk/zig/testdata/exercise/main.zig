//! Uses the helpers as sdk/internal/exercise expects.

const std = @import("std");
const mta = @import("mta");

comptime {
    mta.plugin(.{ .init = init, .ehlo = ehlo, .mail = mail, .rcpt = rcpt, .message = message, .route = route });
}

fn say(comptime format: []const u8, args: anytype) !void {
    mta.log(.info, try std.fmt.allocPrint(mta.arena, format, args));
}

fn init() !void {
    const list = try std.mem.join(mta.arena, "|", mta.config.strings("list"));
    try say("init {s} {s} {d} {} {s}", .{
        list,
        mta.config.string("text") orelse "",
        mta.config.int("number") orelse 1,
        mta.config.boolean("yes") orelse false,
        mta.config.string("none") orelse "missing",
    });
}

fn ehlo() !mta.Verdict {
    try say("ehlo {s} {d} {s} {} {s} {s}", .{ mta.remoteIP(), mta.remotePort(), mta.helo(), mta.esmtp(), mta.listener(), mta.ptr() });
    try mta.setExtensions(mta.join(&.{ mta.extensions(), "\nX-TEST" }));
    return mta.CONTINUE;
}

fn mail() !mta.Verdict {
    const from = mta.reversePath();
    if (mta.eql(from, "reject@x.test")) return mta.reject(550, "5.7.1", "no\nthanks");
    if (mta.eql(from, "defer@x.test")) return mta.deferred(451, "4.3.0", "later");
    if (mta.eql(from, "drop@x.test")) return mta.drop(421, "", "bye");
    if (mta.eql(from, "silent@x.test")) return mta.DROP.silently();
    if (mta.eql(from, "plain@x.test")) return mta.HOLD;
    if (mta.eql(from, "detach@x.test")) return mta.CONTINUE.detachTransaction().detachSession();
    if (mta.eql(from, "fail@x.test")) try mta.delivery.setNextHop("mx");
    var octets: [8]u8 = undefined;
    try mta.random(&octets);
    try say("mail {s} {}", .{ from, mta.now() > 0 and mta.monotonic() > 0 and mta.feature(mta.abi.Feature.HEADERS_WRITE) });
    try mta.setReversePath("new@x.test");
    try mta.setAttr(.session, "k", "v€");
    try mta.setAttr(.transaction, "gone", "1");
    try mta.removeAttr(.transaction, "gone");
    return mta.CONTINUE;
}

fn rcpt() !mta.Verdict {
    const to = mta.recipient();
    try say("rcpt {s} {s} {s} {d} {s} {s}", .{
        to.local(),
        to.domain(),
        to.forwardPath(),
        mta.recipientCount(),
        mta.attr(.session, "k") orelse "none",
        mta.attr(.transaction, "gone") orelse "none",
    });
    return if (mta.eql(to.local(), "vip")) mta.accept(250, "2.1.5", "welcome") else mta.CONTINUE;
}

fn message() !mta.Verdict {
    var buf: [5]u8 = undefined;
    const first = mta.headers.find("Received", 0).?;
    const second = mta.headers.find("Received", first + 1).?;
    try say("message {d} {s}|{s} {s} {d} {s}", .{
        mta.headers.count(),
        mta.headers.value(first),
        mta.headers.value(second),
        mta.messageID(),
        mta.bodySize(),
        try mta.readBody(7, &buf),
    });
    try say("subject {d}", .{(mta.headers.get("subject") orelse "").len});
    try mta.headers.set("X-Old", "new");
    try mta.headers.set("X-Set", "é");
    try mta.headers.remove("Received");
    try mta.headers.prepend("X-Top", "1");
    var i = mta.recipientCount();
    while (i > 0) {
        i -= 1;
        const r = mta.Recipient{ .index = i };
        if (mta.eql(r.local(), "unwanted")) try r.remove();
    }
    try (mta.Recipient{ .index = 0 }).setForwardPath("first@z.test");
    try mta.addRecipient("more@x.test");
    return mta.CONTINUE;
}

fn route() !mta.Verdict {
    try say("route {s} {d}", .{ mta.delivery.domain(), mta.delivery.attempt() });
    try mta.delivery.setNextHop("smtp:127.0.0.1:2526");
    try mta.delivery.setTLSPolicy(2);
    try mta.delivery.setPriority(7);
    return mta.ACCEPT;
}
