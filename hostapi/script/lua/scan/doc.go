// Package scan finds out what a Lua script subscribes to and which capabilities
// it uses, from its words alone: nothing of it is parsed or run. The server asks
// it before there is an instance, and the interpreter asks it again to hold the
// script to it.
//
// It reads comments, strings, long brackets, names and single characters, from
// left to right, once. Whatever the octets, it ends in time and memory
// proportional to their number, and has no errors: what is no Lua is the
// interpreter's to refuse.
package scan
