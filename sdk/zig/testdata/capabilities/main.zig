//! Uses the capabilities as sdk/internal/exercise expects.

const std = @import("std");
const mta = @import("mta");

comptime {
    mta.plugin(.{ .init = init, .connect = connect, .ehlo = ehlo, .mail = mail, .data = data, .message = message });
}

var url: []const u8 = "";
var hash: []const u8 = "";
var key: [32]u8 = undefined;
var seen = mta.Counter{ .name = "seen" };
var level = mta.Gauge{ .name = "level" };
var size = mta.Histogram{ .name = "size" };

fn say(comptime format: []const u8, args: anytype) !void {
    mta.log(.info, try std.fmt.allocPrint(mta.arena, format, args));
}

/// The number of an error; 0: there is none.
fn code(result: anytype) i32 {
    if (result) |_| return 0 else |err| return switch (err) {
        error.Invalid => -1,
        error.NotFound => -2,
        error.Denied => -3,
        error.Unsupported => -7,
        error.NoSuchDomain => -20,
        error.ServerFailure => -21,
        else => -99,
    };
}

fn join(list: []const []const u8, between: []const u8) []const u8 {
    return std.mem.join(mta.arena, between, list) catch "";
}

fn place(path: []const u8) []const u8 {
    return mta.join(&.{ url, path });
}

fn init() !void {
    url = mta.config.string("url").?;
    hash = mta.config.string("hash").?;
    _ = try std.fmt.hexToBytes(&key, mta.config.string("key").?);
    try seen.define();
    try level.define();
    try size.define();
}

fn connect() !mta.Verdict {
    const kv = mta.kv;
    try say("kv get {}", .{kv.get("k") != null});
    try kv.set("k", "v€", 60000);
    try say("kv set {s}", .{kv.get("k").?});
    try say("kv add {} {}", .{ try kv.add("k", "x", 0), try kv.add("n", "x", 60000) });
    try say("kv replace {} {}", .{ try kv.replace("k", "w", 0), try kv.replace("none", "w", 0) });
    try kv.setSync("sync", "1", 0);
    try say("kv sync {s}", .{kv.get("sync").?});
    const wrong = try kv.compareAndSwap("k", "wrong", "x", 0);
    const right = try kv.compareAndSwap("k", "w", "x", 0);
    try say("kv cas {} {} {}", .{ wrong, right, try kv.compareAndSwap("fresh", "", "y", 0) });
    const a = try kv.increment("c", 5, 1000);
    const b = try kv.increment("c", -2, 0);
    try say("kv incr {d} {d} {d}", .{ a, b, try kv.increment("c", -9, 0) });
    try say("kv refresh {d}", .{try kv.incrementRefresh("c", 1, 60000)});
    const now = try kv.take("b", 2, 2, 0.5);
    try say("kv take {d} {d}", .{ now, try kv.take("b", 1, 2, 0.5) });
    try say("kv error {d}", .{code(kv.increment("k", 1, 0))});
    const deleted = try kv.remove("k");
    try say("kv delete {} {}", .{ deleted, try kv.remove("k") });
    try kv.set("e", "", 0);
    try say("kv empty {} {d}", .{ kv.get("e") != null, kv.get("e").?.len });
    const long = try mta.arena.alloc(u8, 10000);
    @memset(long, 'x');
    try kv.set("long", long, 0);
    try say("kv long {d}", .{kv.get("long").?.len});
    return mta.CONTINUE;
}

fn ehlo() !mta.Verdict {
    const dns = mta.dns;
    try dns.prefetch(.TXT, "a.example");
    try say("dns txt {s}", .{join(try dns.txt("a.example"), "|")});
    try say("dns ttl {d} {}", .{ dns.ttl(), dns.secure() });
    try say("dns a {s}", .{join(try dns.a("a.example"), " ")});
    try say("dns aaaa {s}", .{join(try dns.aaaa("a.example"), " ")});
    const mx = try dns.mx("a.example");
    try say("dns mx {d} {s} {d} {s}", .{ mx[0].preference, mx[0].host, mx[1].preference, mx[1].host });
    try say("dns ptr {s}", .{join(try dns.ptr("1.2.0.192.in-addr.arpa"), " ")});
    try say("dns srv {s}", .{join(try dns.query(.SRV, "_x._tcp.a.example"), " ")});
    try say("dns none {d}", .{(try dns.mx("empty.example")).len});
    try say("dns nxdomain {d}", .{code(dns.txt("none.example"))});
    try say("dns servfail {d}", .{code(dns.txt("fail.example"))});
    try say("dns listed {s}", .{(try dns.listed("list.example", "192.0.2.1")).?});
    try say("dns unlisted {}", .{(try dns.listed("list.example", "192.0.2.2")) != null});
    return mta.CONTINUE;
}

fn mail() !mta.Verdict {
    const http = mta.http;
    const get = try http.start(.{ .url = place("echo"), .headers = &.{.{ .name = "X-Test", .value = "one" }}, .timeout = 5000 });
    const post = try http.start(.{ .method = .POST, .url = place("echo"), .body = "données" });
    try say("http get {d} {s} {s}", .{ try get.status(), get.header("Content-Type").?, try get.body() });
    try say("http header [{s}]", .{get.header("X-None") orelse ""});
    try say("http post {d} {s}", .{ try post.status(), try post.body() });
    try say("http ready {}", .{post.ready(0)});
    get.close();
    post.close();
    try say("http closed {d}", .{code(get.status())});
    const long = try http.fetch(.{ .url = place("long") });
    try say("http long {d}", .{(try long.body()).len});
    long.close();
    try say("http denied {d}", .{code(http.fetch(.{ .url = "https://elsewhere.example/" }))});
    return mta.CONTINUE;
}

fn data() !mta.Verdict {
    try say("table {s}", .{mta.lookup("users", "bob@example.org").?});
    const empty = mta.lookup("users", "empty");
    try say("table empty {} {d}", .{ empty != null, (empty orelse "none").len });
    try say("table none {}", .{mta.lookup("users", "eve") != null});
    try say("table net {s}", .{mta.lookup("nets", "192.0.2.9").?});
    try say("event {d} {d}", .{ code(mta.emit("seen", "d€")), code(mta.emit("bad topic", "")) });
    try say("secret {s} {d}", .{ try mta.secret("api"), code(mta.secret("other")) });
    seen.add(1);
    seen.add(2);
    level.set(5);
    level.set(-7);
    size.observe(1);
    size.observe(8);
    var line: []const u8 = "feature";
    var id: i32 = mta.abi.Feature.KV;
    while (id <= mta.abi.Feature.EVENT) : (id += 1) line = mta.join(&.{ line, if (mta.feature(id)) " true" else " false" });
    mta.log(.info, line);
    return mta.CONTINUE;
}

fn message() !mta.Verdict {
    var r = try mta.http.startMessage(.{ .url = place("echo"), .headers = &.{.{ .name = "X-Test", .value = "two" }} }, .body);
    try say("http body {d} {s}", .{ try r.status(), try r.body() });
    r.close();
    r = try mta.http.startMessage(.{ .url = place("length") }, .message);
    try say("http message {d} {s}", .{ try r.status(), try r.body() });

    const c = mta.crypto;
    const hex = std.fmt.fmtSliceHexLower;
    const sum = try c.digest(.sha256, "abc");
    try say("digest {}", .{hex(sum)});
    var d = try c.Digest.init(.sha256);
    try d.update("a");
    try d.update("bc");
    try say("digest {}", .{mta.eql(try d.final(), sum)});
    d = try c.Digest.init(.sha256);
    try d.update("x");
    try d.body(0, 5, .raw);
    const part = try d.final();
    try say("digest part {}", .{hex(part)});
    try say("digest body {}", .{hex(try c.bodyDigest(.sha256, .simple, null))});
    const sig = try c.sign("dkim", .ed25519, sum);
    const good = try c.verify(.ed25519, &key, sig, sum);
    try say("sign {d} {} {}", .{ sig.len, good, try c.verify(.ed25519, &key, sig, part) });
    try say("sign error {d}", .{code(c.sign("other", .ed25519, sum))});
    try say("hmac {}", .{hex(try c.hmac("mac", .sha256, "abc"))});
    try say("password {} {}", .{ try c.checkPassword(hash, "secret"), try c.checkPassword(hash, "wrong") });
    try say("password error {d}", .{code(c.checkPassword("secret", "secret"))});

    const top = code(mta.writeBody("[top]\r\n"));
    const middle = code(mta.spliceBody(0, 7));
    try say("body {d} {d} {d}", .{ top, middle, code(mta.writeBody("[end]\r\n")) });
    return mta.CONTINUE;
}
