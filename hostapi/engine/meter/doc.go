// Package meter inspects a WebAssembly plugin and rewrites it so that its work
// can be limited. Machine code made from WebAssembly cannot be preempted: a
// guest that spins holds its thread and every garbage collection of the
// server. wazero's own checks see neither recursion nor long bulk operations
// and slow loops down by an order of magnitude. So the limits are put into the
// module before it is compiled.
//
// # What the rewritten module does
//
// It has two more globals, exported as [FuelExport] (i64) and [DepthExport]
// (i32), and one more import, [ImportModule].[ImportName], of type () -> ().
//
// Fuel. Every function entry and every loop header takes the static cost of
// the code that follows from the fuel global, and calls the import when the
// global became negative. The host then takes stock (it sees the overdraft),
// checks the deadline, lets other goroutines run, and either sets the global to
// the next slice or panics, which ends the call. One instruction costs one
// unit; the cost of a region is taken before it runs, so fuel is never used
// unpaid, and the same run costs the same on every machine. Code longer than
// [siteCost] units that may be branched over pays for itself where it starts,
// so that an interpreter's loop with a hundred cases is not charged for all of
// them in every turn. memory.fill, copy and init cost one unit for 64 bytes,
// their table siblings one for 8 entries, a page grown [pageCost], all taken
// before the operation starts; after one such charge the global may be far
// below zero, and the host must set it, not add to it. A function without
// loops and calls that costs at most [leafCost] pays, but leaves the check to
// its callers.
//
// Depth. Every function that contains a call adds its weight to the depth
// global on entry, takes it off on every way out, and traps (unreachable) when
// the sum exceeds [Limits.Depth]. The weight is one plus one for every
// [slotsPerWeight] parameters, locals and operands that the function may hold
// at once, so that the native stack, and not only the number of calls, is
// bounded. After a trap or a panic the depth stays where it was, which tells
// the host that recursion was the reason: an instance is discarded after any
// error.
//
// Every path out of a function leads through the restoring code, because the
// body is wrapped in one block with the results of the function:
//
//	add weight, check
//	block (result ...)    ;; new
//	  ... the body ...
//	end                   ;; new
//	subtract weight
//
// Inside k blocks of its own, the body reaches the end of the function as
// label k. In the wrapped body label k is the new block. So no branch changes
// at all, and return becomes br k.
//
// # What a module cannot do
//
// Guest code cannot reach what was added: each index in the module is checked
// against the counts of the original, and a module that imports from
// [ImportModule] or exports a name starting with [ExportPrefix] is refused.
// Tables and the memory get a declared maximum within the limits, so that
// table.grow and memory.grow return -1 beyond it.
//
// # Instances from an image
//
// [Split] makes a [Shell] instead: a metered module that does nothing when it
// is instantiated, with its data beside it and its state exported. The host
// initialises one instance, takes an image of its memory and globals, and
// starts the others from there, which for a guest with a runtime of its own is
// some ten times quicker than initialising each.
//
// Rewrite decodes everything but leaves type checking to the compiler that
// follows: a module that is invalid stays invalid. It takes time and memory
// linear in the size of the module, and knows core WebAssembly 2.0: no tail
// calls, exceptions, threads, 64-bit or several memories, GC, relaxed SIMD or
// extended constant expressions.
package meter
