// Package conformance proves that a host and a guest keep the contract of
// hostapi/abi.
//
// A [Case] is a guest, what it is granted, the hooks that are asked, and what
// must come of it. Most are files of calls: lines that name a host function, its
// arguments and its result, from which a module is made that compares. The rest
// are modules in WebAssembly text, with directives in comments, and tables that
// go through every pointer, field, list and verdict at every hook. README.md
// says how they are written.
//
// [Run] plays all of them against any host for which there is a [Factory], in a
// world that is always the same: the session, message and delivery, the store,
// the DNS, the web service, the operator's keys, tables and secrets. Two hosts,
// or two ways of running code, come to the same [Results].
//
// The golden modules are those of past releases, kept as sources with what they
// came to: what a host must go on to do.
//
// It is for tests only.
package conformance
