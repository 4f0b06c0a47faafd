// Package manager holds the generations of the plugins: which are in force, who
// still uses an older one, and how one follows another while mail flows. It
// runs no guest itself: loading and building are functions handed to [New], so
// that all of this is tested with plain Go.
//
// # What it promises
//
//   - [Manager.Acquire] gives an immutable chain. A session or delivery that holds it
//     sees this chain and no other until it releases it, however often plugins
//     are replaced meanwhile. Acquire never waits.
//   - A change is all or nothing. Modules are read, built and loaded first; only
//     when all of them are ready does one pointer move. If any fails, the chain
//     in force stays, and the [Error] names plugin, step, reason and hash.
//   - A plugin whose bytes, configuration, grant and limits are unchanged is kept
//     as it is: no new generation.
//   - The last [Kept] generations of a plugin, the one in force included, stay
//     ready: [Manager.Rollback] puts one of them in force without compiling. What
//     was rolled back stays so until it is asked for by name, or changes.
//   - An older generation is closed when nobody holds a chain that contains it.
//     A session that holds a replaced one longer than DrainTimeout changes to the
//     one in force with its next transaction; who holds it longer than DrainHard
//     gets its on_error.
//   - A generation that fails too often is not asked: its circuit breaker opens,
//     its on_error answers, and after 30 s one call tries it again. If it is
//     younger than Bake, or if its verdicts are far from those of the generation
//     that it follows, that one is put in force again. What is counted is in
//     [Manager.List].
//   - [Manager.Tick] asks the generations in force at the hook tick, never twice
//     at a time. Without it, as in a check, nobody is asked.
//   - At the first start a plugin that cannot be loaded does not stop the server and does not
//     vanish: a placeholder fails in its stead at mail, rcpt and route, so that
//     its on_error decides. It is loaded again with each later change.
//   - Each change leaves a line in the log: which plugin, which hash, which
//     grants, on whose behalf, and of a roll-back why.
package manager
