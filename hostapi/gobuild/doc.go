// Package gobuild makes a WebAssembly module of a directory of Go source with
// the Go toolchain of this machine, for plugins under development. A server in
// production loads modules that were built elsewhere and needs no compiler.
package gobuild
