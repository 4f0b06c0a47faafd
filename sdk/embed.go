// Package sdk holds the sources of the SDKs, and of small plugins to begin with,
// for the tools that write them out: an author needs no clone of this tree and
// no network. It is no part of any plugin.
package sdk

import (
	"embed"
	"io/fs"
)

//go:embed go template c/mta1.h c/mta1.hpp javascript/mta.d.ts lua/mta.lua
//go:embed rust/Cargo.toml rust/README.md rust/src
//go:embed assemblyscript/assembly
//go:embed zig/build.zig zig/build.zig.zon zig/README.md zig/src
var files embed.FS

// Files are the SDKs by language, and in template what a new plugin begins with:
// files whose name ends in .tmpl have places to fill in, and dot- at the
// beginning of a name stands for a dot.
func Files() fs.FS { return files }
