// Package smtpd is the SMTP and LMTP server (RFC 5321, RFC 2033). It takes
// messages from clients, asks policy at every verb, and hands what it accepts
// to an [Intake]. It knows nothing of queues, routes or WebAssembly.
//
// go-smtp is the session engine: it keeps the order of a session and calls
// Mail, Rcpt, Data of ours. It never sees the network. core/smtpd/gate stands
// before it; there is one parser of commands, core/mail, and the engine hears
// only lines composed here. If the engine ever answers other than expected,
// the session ends with 421: two state machines that disagree are how bodies
// become commands.
//
//	client -> gate.Wire -> session (parse, order) -> gate.Conn -> go-smtp -> session (Mail, Rcpt, Data: hooks, rules)
//	client <- gate.Wire <- session (our reply)    <- gate.Conn <- go-smtp
//
// # What it promises
//
//   - 250 at the end of a message is sent only after [Draft.Commit] returned
//     nil. A message whose end was not seen is never committed: a lost
//     connection, a time-out, a short chunk abort the draft.
//   - No opinion is never permission. Without a plugin's Accept, a recipient
//     is taken only if its domain is ours or one we relay for, or the client
//     may relay. A plugin that fails cannot change that.
//   - AUTH (RFC 4954) is offered where a plugin answers it and TLS is on, and
//     plugins alone say who a client is. A password is overwritten when they
//     have said so; it is in no text, and so in no log and no error. A refusal
//     comes late, and after some the connection closes.
//   - After any error inside a body the connection is closed with 421.
//   - Content is not changed: the header section gets one Received field in
//     front, and what plugins edited. See [BareLF] for the one exception.
//   - Nothing a client sent is echoed; nothing from inside reaches a client
//     but a [mail.Reply].
//   - Memory does not grow with the size of a message: the header section (at
//     most [mail.MaxHeaderBytes]) is held, the body is streamed to the draft.
//
// # Where a message can be refused
//
// A verdict at headers, a full disk, a message too large or in a loop are
// known while content still arrives. The rest is read and thrown away and the
// reply given at the end of data, where the client expects it; at twice the
// size limit and 1 MiB the connection is closed.
//
// # Errors and the budget
//
// A session has [Options.ErrorBudget] points. A malformed, unknown or
// out-of-order command costs 5, as do a message refused for good and credentials refused;
// a refused sender or recipient 2, as does an authentication put off; a command that does nothing (NOOP, RSET, VRFY, HELP,
// EHLO, an empty chunk) and any other 4yz 1. A recipient deferred by policy
// costs nothing and counts towards [Options.MaxRecipients]. A message accepted
// restores the budget. Used up, the reply is 421 and the connection closes.
package smtpd
