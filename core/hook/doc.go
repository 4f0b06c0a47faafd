// Package hook is where the server asks for policy. It defines the stages at
// which it asks, the [Event] that carries the question, the [Verdict] that
// answers it, and the [Chain] that asks plugins in their order.
//
// The server does not know who answers. A plugin may be a WebAssembly module
// (hostapi/engine) or a Go function (examples/embedded); all of the mail policy
// is testable with the latter.
//
// # How a chain decides
//
// Plugins are asked in the configured order. The first verdict other than
// Continue ends the asking for that stage. Continue is no opinion, and no
// opinion is never permission: what the server does by default stands.
//
// Edits that a plugin makes to the event are kept if it answers Continue or
// Accept, so that the plugins behind it see them, and are undone in every
// other case.
//
// # When a plugin fails
//
// An error, a panic or a verdict that the stage does not allow is a failure.
// It costs the plugin its instance and nothing else: its [FailurePolicy] gives
// the verdict, the session goes on, and the next stage gets a new instance.
// From [Route] on the message is ours, and a failure can only defer: a broken
// plugin never loses and never bounces mail. Every failure is reported.
//
// # Who watches
//
// A conversation can have an [Observer], which is told of every answer: who gave
// it, how long it took, what it was and what it changed. Without one nothing is
// measured.
package hook
