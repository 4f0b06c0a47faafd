// The Lua interpreter as a plugin: a guest that runs the script in the custom
// section mta1.script of its own module. Package lua puts the script there.
//
// It stands on sdk/go, as any plugin in Go does, and the script gets what that
// offers, in the words of Lua; sdk/lua/README.md describes it to authors. All of
// Lua's own work, parsing included, happens here, within the limits of a guest.
package main
