// A guest that keeps what it is told in every place that Zig has for it, and
// rejects if a session before it has left something there.
const std = @import("std");

var number: u64 = 0;
var initialised: u32 = 7;
var array = [_]u8{0} ** (1 << 14);
var list: [64]?[]u8 = [_]?[]u8{null} ** 64;

const mta1 = struct {
    extern "mta1" fn get(field: i32, buf: [*]u8, cap: usize) i32;
    extern "mta1" fn list_get(list: i32, index: i32, field: i32, buf: [*]u8, cap: usize) i32;
};

// What a hook costs: the reverse-path and the first recipient are asked for.
export fn mta1_on_data() i32 {
    var text: [256]u8 = undefined;
    if (mta1.get(0x0402, &text, text.len) < 0) return 2;
    if (mta1.list_get(1, 0, 1, &text, text.len) < 0) return 2;
    return 0; // continue
}

export fn mta1_init() i32 {
    return 0;
}

export fn mta1_on_rcpt() i32 {
    var found = number != 0 or initialised != 7;
    for (array) |b| found = found or b != 0;
    for (list) |p| found = found or p != null;
    if (found) return 2; // reject
    number += 1;
    initialised = 8;
    for (&array, 0..) |*b, k| b.* = @as(u8, @truncate(k)) | 1;
    for (&list) |*p| {
        const m = std.heap.wasm_allocator.alloc(u8, 3000) catch return 2;
        for (m) |*b| b.* = 0x5e;
        p.* = m;
    }
    return 1; // accept
}
