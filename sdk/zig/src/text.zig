//! What is read and written without the server.

const std = @import("std");

/// The enhanced status code "5.7.1" as the contract has it; anything else is 0,
/// the server's choice.
pub fn enhanced(s: []const u8) i32 {
    var part = [3]i32{ 0, 0, 0 };
    var i: usize = 0;
    var digits: usize = 0;
    for (s) |c| switch (c) {
        '0'...'9' => {
            if (digits == 3) return 0;
            part[i] = part[i] * 10 + (c - '0');
            digits += 1;
        },
        '.' => {
            if (digits == 0 or i == 2) return 0;
            i += 1;
            digits = 0;
        },
        else => return 0,
    };
    if (i != 2 or digits == 0) return 0;
    return part[0] << 20 | part[1] << 10 | part[2];
}

pub const ListError = error{ NotAList, OutOfMemory };

/// Reads a JSON array of strings. std.json does that too, and makes a small plugin
/// seven times as large.
pub fn strings(allocator: std.mem.Allocator, json: []const u8) ListError![]const []const u8 {
    // What is quoted never becomes longer.
    var p = Json{ .s = json, .out = try allocator.alloc(u8, json.len) };
    var list = std.ArrayListUnmanaged([]const u8){};
    if (!p.next('[')) return error.NotAList;
    if (!p.next(']')) {
        while (true) {
            try list.append(allocator, try p.quoted());
            if (p.next(']')) break;
            if (!p.next(',')) return error.NotAList;
        }
    }
    p.blanks();
    if (p.i != p.s.len) return error.NotAList;
    return list.items;
}

const Json = struct {
    s: []const u8,
    i: usize = 0,
    out: []u8, // what is not yet written

    fn blanks(p: *Json) void {
        while (p.i < p.s.len) : (p.i += 1) switch (p.s[p.i]) {
            ' ', '\t', '\n', '\r' => {},
            else => return,
        };
    }

    fn next(p: *Json, c: u8) bool {
        p.blanks();
        if (p.i == p.s.len or p.s[p.i] != c) return false;
        p.i += 1;
        return true;
    }

    fn take(p: *Json) ListError!u8 {
        if (p.i == p.s.len) return error.NotAList;
        p.i += 1;
        return p.s[p.i - 1];
    }

    fn quoted(p: *Json) ListError![]const u8 {
        if (!p.next('"')) return error.NotAList;
        const out = p.out;
        var n: usize = 0;
        while (true) {
            var c = try p.take();
            switch (c) {
                '"' => {
                    p.out = out[n..];
                    return out[0..n];
                },
                0...0x1f => return error.NotAList,
                '\\' => {
                    c = switch (try p.take()) {
                        '"' => '"',
                        '\\' => '\\',
                        '/' => '/',
                        'b' => 0x08,
                        'f' => 0x0c,
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'u' => {
                            n += try p.unicode(out[n..]);
                            continue;
                        },
                        else => return error.NotAList,
                    };
                },
                else => {},
            }
            out[n] = c;
            n += 1;
        }
    }

    fn unicode(p: *Json, out: []u8) ListError!usize {
        var r: u21 = try p.hex();
        if (r >= 0xd800 and r < 0xdc00 and std.mem.startsWith(u8, p.s[p.i..], "\\u")) {
            const mark = p.i;
            p.i += 2;
            const low: u21 = try p.hex();
            if (low >= 0xdc00 and low < 0xe000) {
                r = 0x10000 + ((r - 0xd800) << 10 | (low - 0xdc00));
            } else {
                p.i = mark;
            }
        }
        // Half a pair becomes U+FFFD.
        return std.unicode.utf8Encode(r, out) catch std.unicode.utf8Encode(0xfffd, out) catch unreachable;
    }

    fn hex(p: *Json) ListError!u16 {
        if (p.s.len - p.i < 4) return error.NotAList;
        var v: u16 = 0;
        for (p.s[p.i..][0..4]) |c| {
            v = v << 4 | (std.fmt.charToDigit(c, 16) catch return error.NotAList);
        }
        p.i += 4;
        return v;
    }
};

/// Takes an answer of the DNS apart: each record has its length in front.
pub fn records(allocator: std.mem.Allocator, all: []const u8) error{OutOfMemory}![][]const u8 {
    var list = std.ArrayListUnmanaged([]const u8){};
    var rest = all;
    while (rest.len >= 4) {
        const n = std.mem.readInt(u32, rest[0..4], .Little);
        rest = rest[4..];
        if (n > rest.len) break;
        try list.append(allocator, rest[0..n]);
        rest = rest[n..];
    }
    return list.items;
}

/// Writes an address of 4 or 16 octets as RFC 5952 says; "" for anything else.
pub fn address(out: *[40]u8, addr: []const u8) []const u8 {
    var n: usize = 0;
    if (addr.len == 4) {
        for (addr, 0..) |v, i| {
            if (i > 0) put(out, &n, '.');
            if (v > 99) put(out, &n, '0' + v / 100);
            if (v > 9) put(out, &n, '0' + v / 10 % 10);
            put(out, &n, '0' + v % 10);
        }
        return out[0..n];
    }
    if (addr.len != 16) return "";
    var group: [8]u16 = undefined;
    for (&group, 0..) |*g, i| g.* = @as(u16, addr[2 * i]) << 8 | addr[2 * i + 1];
    var from: usize = 8;
    var zeros: usize = 1; // the first longest run of two and more
    for (0..8) |i| {
        var k = i;
        while (k < 8 and group[k] == 0) k += 1;
        if (k - i > zeros) {
            from = i;
            zeros = k - i;
        }
    }
    for (group, 0..) |g, i| {
        if (i >= from and i < from + zeros) {
            if (i == from) {
                put(out, &n, ':');
                put(out, &n, ':');
            }
            continue;
        }
        if (i > 0 and i != from + zeros) put(out, &n, ':');
        inline for (.{ 12, 8, 4, 0 }) |shift| {
            if (shift == 0 or g >> shift != 0) put(out, &n, "0123456789abcdef"[g >> shift & 15]);
        }
    }
    return out[0..n];
}

fn put(out: *[40]u8, n: *usize, c: u8) void {
    out[n.*] = c;
    n.* += 1;
}

test records {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    const list = try records(arena.allocator(), "\x01\x00\x00\x00a\x00\x00\x00\x00\x02\x00\x00\x00b");
    try std.testing.expectEqual(@as(usize, 2), list.len); // what ends early is left out
    try std.testing.expectEqualStrings("a", list[0]);
    try std.testing.expectEqual(@as(usize, 0), (try records(arena.allocator(), "\xff\xff\xff\xff")).len);
}

test address {
    var out: [40]u8 = undefined;
    try std.testing.expectEqualStrings("192.0.20.255", address(&out, &.{ 192, 0, 20, 255 }));
    try std.testing.expectEqualStrings("2001:db8::1:0:0:1", address(&out, &.{ 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1 }));
    try std.testing.expectEqualStrings("1:0:2:3:4:5:6:7", address(&out, &.{ 0, 1, 0, 0, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7 }));
    try std.testing.expectEqualStrings("::", address(&out, &([_]u8{0} ** 16)));
    try std.testing.expectEqualStrings("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", address(&out, &([_]u8{255} ** 16)));
    try std.testing.expectEqualStrings("", address(&out, "abc"));
}

test enhanced {
    try std.testing.expectEqual(@as(i32, 0x501c01), enhanced("5.7.1"));
    try std.testing.expectEqual(@as(i32, 4 << 20 | 999 << 10 | 10), enhanced("4.999.10"));
    for ([_][]const u8{ "", "5", "5.7", "5.7.", "5..1", "5.7.1.1", "5.7.1000", "5.7.x", "-5.7.1" }) |bad| {
        try std.testing.expectEqual(@as(i32, 0), enhanced(bad));
    }
}

test strings {
    var arena = std.heap.ArenaAllocator.init(std.testing.allocator);
    defer arena.deinit();
    const list = try strings(arena.allocator(), " [ \"a\\\"b\\u00e9\\ud83d\\ude00\\ud83dx\\ud83d\\u0041\" , \"\" ] ");
    try std.testing.expectEqual(@as(usize, 2), list.len);
    try std.testing.expectEqualStrings("a\"b\u{e9}\u{1f600}\u{fffd}x\u{fffd}A", list[0]);
    try std.testing.expectEqualStrings("", list[1]);
    try std.testing.expectEqual(@as(usize, 0), (try strings(arena.allocator(), "[]")).len);
    for ([_][]const u8{ "", "[", "[]]", "[1]", "[\"a\",]", "[\"a", "[\"a\\", "[\"\\u00g0\"]", "[\"\\u12", "\"a\"", "{}" }) |bad| {
        try std.testing.expectError(error.NotAList, strings(arena.allocator(), bad));
    }
}
