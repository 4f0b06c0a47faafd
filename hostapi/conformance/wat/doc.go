// Package wat assembles the WebAssembly text format, so that a plugin can be
// written, built and tested with no tool but this one.
//
// [Assemble] takes one module in the format of the WebAssembly specification
// 2.0, chapter 6: flat and folded instructions, names for everything that has
// an index, inline imports, exports, data and elements, abbreviated type uses,
// and the annotation (@custom "name" "data") for custom sections, which come at
// the end of the module. It knows all instructions but those of SIMD. Not
// taken are (module binary ...), (module quote ...) and names in quotes.
//
// It checks syntax, names and numbers. It does not check types: the engine that
// the module is for does that, and better. What Assemble makes may therefore be
// refused, but never is something else than the text says.
//
// The output is what wabt's wat2wasm writes, octet for octet. Text is hostile:
// its size, its nesting and the work that it causes are bounded.
package wat
