// Package engine runs guests. It is the only package that drives wazero.
//
// [Engine.Load] takes a module and makes a [Plugin] of it, which is a
// hook.Opener: inspected, authorised, metered, compiled and tried once. Each
// step that fails is named in a [LoadError], and nothing stays behind.
//
// What the package promises about a guest, whatever its code does:
//
//   - It costs its verdict and nothing else. Any failure is a [CallError] that
//     says which plugin, which hook and what, in one bounded line, and the
//     instance is never called again.
//   - Its CPU time is bounded by fuel (package meter), which also bounds
//     recursion, bulk operations and host-call loops; the wall time of a call
//     is the backstop. A running guest yields to the Go scheduler about every
//     millisecond, so that it holds up neither a collection nor its neighbours.
//   - Its memory is bounded for each instance and over all instances, its
//     native stack by the depth of calls, its tables by their declaration.
//   - It sees no file, no network, no environment, and no other session: an
//     instance serves one session or delivery at a time, and between two of
//     them every octet and global becomes what it was before the first.
//
// An instance belongs to the goroutine that calls it, which also closes it. A
// Plugin may be closed at any time: it takes no new instances, and its code is
// released when the last of the old ones is closed.
//
// On Linux instances share the pages of the image that they begin as, and the
// kernel copies what they write to. Each takes one of the mappings that a
// process may have (65,530, sysctl vm.max_map_count), or two when its memory
// grew. Together they take half of them, for without any Go ends the process;
// further instances, and all of them elsewhere, have a copy of all of it.
package engine
