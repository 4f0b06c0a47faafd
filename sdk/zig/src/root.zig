//! The root of a module: the plugin, and what a panic of it does.

const plugin = @import("plugin");

pub const panic = if (@hasDecl(plugin, "panic")) plugin.panic else @import("mta").panic;
pub const std_options = if (@hasDecl(plugin, "std_options")) plugin.std_options else struct {};

comptime {
    _ = plugin;
}
