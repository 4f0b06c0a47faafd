// Package core is the mail server: it receives, queues, routes and delivers,
// and asks for policy through core/hook without knowing who answers. [New]
// builds the parts, [Server.Run] starts and stops them; this is the only
// package that knows all its siblings.
//
// # The walk of one message
//
// Read the packages in this order. Each hands on to the next; only the DSN
// goes back.
//
//  1. Accept (smtpd, smtpd/gate). A connection comes in at a listener. The gate
//     owns the wire: lines, TLS, timeouts, the body. The session pins the chain
//     of plugins in force and keeps it to its end. What programs of this machine
//     left in the maildrop (maildrop) comes in the same way.
//
//  2. Ask (hook). At connect, HELO, each verb, the end of the header section and
//     the end of the content the chain is asked. Behind it stands a Go function,
//     or hostapi/engine with a WebAssembly module; nothing here can tell.
//
//  3. Queue (queue, queue/pebblestore). The body goes into a draft as it
//     arrives. Commit writes envelope, header block, items and indexes in one
//     synced batch. At that instant, not before, the message is ours, and the
//     client gets its 250 with the queue id. An operator's rules (hold) can make
//     it wait from then on.
//
//  4. Manage (qmgr). The refs of the new items are handed over in memory. The
//     one loop decides what is due and how much goes to one next hop at a time.
//
//  5. Route (route). The route stage is asked, then the table, then MX of the
//     domain. The answer is a next hop; nobody has connected yet.
//
//  6. Deliver (deliver, resolve). The attempt stage is asked; the agent looks up
//     hosts, connects, speaks SMTP or LMTP or writes a Maildir, and returns one
//     result for each recipient with the remote reply word for word.
//
//  7. Settle (qmgr, queue, dsn). The result stage is asked. One synced batch
//     records what happened; a DSN that is owed is in the same batch, as a new
//     message, and walks from step 4 on. When no recipient is open the message
//     is removed.
//
// event reports all of this and decides nothing; trace keeps it for wasmta
// explain. config is the file, admin the operator's hand, mail the nouns that
// all of them speak in. certificate has what clients are shown, from files and
// from an ACME authority; systemd may have opened our sockets and hears how we
// are.
//
// An operator's question leads to one package. Refused? smtpd and hook.
// Accepted but not moving? queue and qmgr. Wrong way? route. The other side
// said no? deliver. What was the sender told? dsn. All of it at once? trace.
package core
