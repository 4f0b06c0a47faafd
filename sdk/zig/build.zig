//! The package gives plugins the module "mta", and their build.zig addPlugin.

const std = @import("std");

pub fn build(b: *std.Build) void {
    _ = b.addModule("mta", .{ .source_file = .{ .path = "src/mta.zig" } });

    const tests = b.addTest(.{ .root_source_file = .{ .path = "src/text.zig" } });
    b.step("test", "Test what runs without a server").dependOn(&b.addRunArtifact(tests).step);
}

pub const Options = struct {
    /// Of the module: NAME.wasm.
    name: []const u8,
    /// The file that calls mta.plugin.
    root_source_file: std.Build.LazyPath,
    /// What the file may import besides "mta".
    dependencies: []const std.Build.ModuleDependency = &.{},
    /// ReleaseSafe stops at what goes out of bounds, with the reason in the log;
    /// ReleaseSmall makes a module half as large, which goes on.
    optimize: std.builtin.OptimizeMode = .ReleaseSafe,
    /// In octets. The stack lies below everything else in memory: what exceeds
    /// it traps and overwrites nothing.
    stack_size: u64 = 32 << 10,
};

/// Adds a plugin to a build, where the package is the dependency "wasmta". It is
/// installed as zig-out/lib/NAME.wasm.
pub fn addPlugin(b: *std.Build, options: Options) *std.Build.Step.Compile {
    const package = b.dependency("wasmta", .{});
    const mta = package.module("mta");
    const dependencies = std.mem.concat(b.allocator, std.Build.ModuleDependency, &.{
        &.{.{ .name = "mta", .module = mta }}, options.dependencies,
    }) catch @panic("out of memory");
    const lib = b.addSharedLibrary(.{
        .name = options.name,
        .root_source_file = package.path("src/root.zig"),
        .target = .{ .cpu_arch = .wasm32, .os_tag = .freestanding },
        .optimize = options.optimize,
        .single_threaded = true,
    });
    lib.rdynamic = true;
    lib.stack_size = options.stack_size;
    lib.strip = options.optimize != .Debug;
    lib.addModule("mta", mta);
    lib.addModule("plugin", b.createModule(.{ .source_file = options.root_source_file, .dependencies = dependencies }));
    b.installArtifact(lib);
    return lib;
}
