// Package script makes plugins of scripts, with no tool but the server itself:
//
//	[[plugin]]
//	name = "policy"
//	module = "policy.js"
//
// A script becomes one ordinary WebAssembly module that holds an interpreter
// and the script ([Build]). The interpreter is itself a guest: limits, grants,
// metering, images and inspection are those of any module, and no line of a
// script runs in the server's process. Nothing is asked of a script that is not
// asked of a module: what the file is shows in its name ([Is]), what it may do
// in its grant.
//
// Package javascript has the scripts in JavaScript (.js, .mjs), package lua those
// in Lua (.lua). The directories javascript and lua of sdk tell authors how to
// write them.
package script
