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
//   - AUTH (RFC 4954) is offered where a plugin answers it and TLS is on, by the
//     mechanisms of [Options.AuthMechanisms] that plugins leave in the reply to
//     EHLO. Plugins alone say who a client is. A password or token is overwritten
//     when they have said so; it is in no text, and so in no log and no error.
//   - By SCRAM no password comes here: plugins give the keys of a name, and the
//     server sees whether the client has their password, and with -PLUS whether it
//     speaks to us and not to somebody between. A name without keys is played to
//     the end like any other. By EXTERNAL a client is who its certificate says, if
//     the listener's authority has signed it and a plugin accepts it.
//   - A refusal comes late, and after some the connection closes. Over all
//     connections a [Guard] counts what an address and a name have failed, and
//     refuses without asking anybody; it locks no owner out.
//   - After any error inside a body the connection is closed with 421.
//   - Content is not changed: the header section gets one Received field in
//     front, and what plugins edited. See [BareLF] for the one exception.
//   - Nothing a client sent is echoed; nothing from inside reaches a client
//     but a [mail.Reply].
//   - Memory does not grow with the size of a message: the header section (at
//     most [mail.MaxHeaderBytes]) is held, the body is streamed to the draft.
//   - What was said in clear text is forgotten when TLS begins (RFC 3207 4.2):
//     the greeting, the identity, session attributes that plugins have set since
//     the banner, and whether they wanted to hear no more of the session.
//
// # What it announces, and when
//
// The reply to EHLO and LHLO, after HELO nothing. Each keyword stands there only
// where it works; the ehlo hook may take any away, and what it takes away is not
// taken: a parameter is refused with 555 5.5.4, a verb with 502. What a hook adds
// has no effect on the server. A parameter that is malformed is 501 5.5.4.
//
//	PIPELINING, ENHANCEDSTATUSCODES  always
//	8BITMIME, SMTPUTF8, DSN          always; kept with the message, and honoured when it is delivered
//	SIZE n                           always: MaxSize; more is 552 5.3.4 at MAIL
//	CHUNKING                         always
//	BINARYMIME                       with Options.BinaryMIME, CHUNKING and 8BITMIME. DATA is then 503; the body may have
//	                                 any octets, the header section is lines. Nothing is converted: to a next hop that
//	                                 does not take it, it fails with 5.6.3
//	LIMITS RCPTMAX=n                 always: MaxRecipients (RFC 9422); further recipients are 452 4.5.3.
//	                                 There is no limit to the messages of a session, so no MAILMAX
//	DELIVERBY 60                     always (RFC 2852). BY with R must leave a minute, else 550 5.4.7; it becomes
//	                                 the message's expiry. BY with N is told of when it is late
//	MT-PRIORITY MIXER                always (RFC 6710); any of -9 to 9 is told apart. From who is neither authenticated nor
//	                                 of RelayNetworks more than 0 becomes 0, and the reply to MAIL is 250 2.3.6
//	FUTURERELEASE n until            with MaxHold, to who is authenticated or of RelayNetworks, and on a submission
//	                                 listener, where MAIL is for them alone (RFC 4865). More is 501 5.5.4. Expiry counts
//	                                 from the release; a time that is over is none. Held for longer than BY with R: 501
//	RRVS                             where a plugin is asked at rcpt (RFC 7293): the server does not know since when a
//	                                 mailbox is whose, so the plugin says 550 5.7.17. Without an opinion the
//	                                 condition is kept with the recipient and handed on
//	REQUIRETLS                       under TLS (RFC 8689)
//	STARTTLS                         with Options.TLS, until it is on; not after XCLIENT
//	AUTH mechanisms                  where a plugin answers, under TLS or with AuthWithoutTLS
//	XCLIENT attributes               to XClientNetworks; others get 550 5.7.0
//
// XCLIENT is that of Postfix. It ends a session and begins another on the same
// connection: close and connect hooks, 220, and nothing but TLS is left of what was
// before. The client's own address decides what it may, and is counted; until one
// was given, the connection has no rights by its address. HELO and PROTO stand in
// place of what the proxy says at EHLO. LOGIN does not outlast an ADDR that comes without it.
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
