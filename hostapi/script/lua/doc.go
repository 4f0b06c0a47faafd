// Package lua makes a plugin of a Lua script: the interpreter, which is a guest
// as any other, with the script in a custom section. The server runs nothing of
// the script, and parses nothing of it but words (package scan).
//
// # What it promises
//
//   - The module exports the hooks that the script defines and imports the
//     capabilities that it uses, so that what inspect shows and a grant allows are
//     matters of the script and not of the interpreter.
//   - The same interpreter, name and source make the same module.
//   - Whatever the source, Module ends in time and memory proportional to it.
//
// # Where the interpreter comes from
//
// Package guest is its source. "go generate ./hostapi/script/lua" compiles it
// into the directory built, from where the next build of the server embeds it:
// releases are made so, and need no compiler where they run. Without it Module
// compiles the interpreter with the go command, as it does in "go run
// ./cmd/wasmta", and keeps it in the user's cache.
package lua

//go:generate go run ./generate
