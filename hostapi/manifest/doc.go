// Package manifest reads what a plugin says of itself: its name, the contract
// and the hooks that it is made for, the rights that it asks for, and the shape
// of its configuration.
//
// A manifest is JSON in the custom section mta1.manifest of the module, or a
// file beside the module: FILE.toml or FILE.json for FILE.wasm, manifest.toml or
// manifest.json in a directory of source. A file beside a module names the module
// that it is for with sha256 = "...", and counts only for that one.
//
// # What it promises
//
//   - A manifest asks and never gives. What a plugin may do is what its manifest
//     asks for and the operator grants; see [Manifest.Effective].
//   - Whatever the octets, reading ends in a manifest or an error of one line, in
//     time and memory bounded by [MaxSize]. Unknown keys are errors: a right
//     that is misspelt would silently not be asked for.
//   - A configuration is checked against config_schema before any of the plugin's
//     code runs; see [Schema] for the subset of JSON Schema that is understood.
package manifest
