const std = @import("std");
const wasmta = @import("wasmta");

pub fn build(b: *std.Build) void {
    _ = wasmta.addPlugin(b, .{
        .name = "capabilities",
        .root_source_file = .{ .path = "main.zig" },
    });
}
