// Package javascript makes a plugin of a policy in JavaScript, with no tool but
// this package: one ordinary WebAssembly module that holds QuickJS-NG, the
// script, and what joins the two to the contract. The server knows nothing of
// JavaScript: the module has the same limits, grants, metering and images as
// any other, and no line of the script runs outside the sandbox.
//
// # What is in the module
//
// The engine is the WASI reactor of QuickJS-NG, an embedded module that exports
// QuickJS's functions in C. It is taken apart and linked anew: with the
// functions of the contract that the policy may call, with one export for each
// of its hooks, and without what nothing calls, in the first place the modules
// std and os with their files. What is left of WASI are the clock, standard
// error and an end that is a trap.
//
// QuickJS's stack in C has no guard of its own in WebAssembly: below it lies
// the engine's data. So the stack is moved to a place of its own, each function
// that takes room on it checks what is left, and recursion in JavaScript ends
// with a RangeError long before.
//
// The same script gives the same octets, so that it is the same generation, and
// two scripts with the same hooks and capabilities differ in data only, so that
// the second needs no compiling.
//
// # Which hooks, which imports
//
// A reading of the words of the source (scan) finds the hooks that it exports
// and the capabilities that it imports from "mta". When the plugin starts, both
// are compared with what the script really exports: a difference refuses it. So
// wasmta plugin inspect tells the truth, and needs to run nothing.
//
// # Files
//
// prelude/mta.js is the module "mta" for policies; prelude/CAPABILITY.js is
// appended for each capability that is imported. sdk/javascript describes both
// to authors.
package javascript
