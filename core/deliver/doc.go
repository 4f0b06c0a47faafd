// Package deliver brings a message to its next hop and says, recipient by recipient, how that ended. It speaks SMTP and
// LMTP with a client of its own, writes Maildirs, and discards. It keeps no queue and never tries again later.
//
// What it promises:
//
//   - The content arrives as it is: the header section and the body, byte for byte, dot-stuffed on the wire. One thing
//     is added where DATA cannot do without: CRLF at the end of content that does not end in it. A Maildir file has two
//     lines more, Return-Path and Delivered-To, at its top.
//   - Content with a bare CR, a bare LF or a NUL never goes out with DATA, where it could be read as two messages. It
//     goes with BDAT if the server offers CHUNKING (RFC 3030) and fails with 5.6.0 if not.
//   - A message is never ended unless all of it was read and sent. If the body cannot be read to its end, or is not as
//     long as it should be, the connection is closed without the final dot or chunk, and the message is deferred.
//   - A recipient is Delivered only after the server's positive reply to the end of the content. Replies are counted in
//     strict order; a reply that is malformed, or comes before its command, makes all that is open deferred and closes
//     the connection.
//   - Replies are bounded (64 KiB, 100 lines, lines cut at 2048 octets), and every phase has a deadline of its own
//     (RFC 5321 4.5.3.2). Their text reaches the results as [mail.Reply.Clean] leaves it.
//   - 8-bit content goes to servers without 8BITMIME as it is: converting it would break signatures, and servers that
//     do not take eight bits are gone. BINARYMIME goes with BDAT where it is offered, and fails with 5.6.3 elsewhere: it is
//     not converted either. BINARYMIME and REQUIRETLS are never dropped silently, nor is SMTPUTF8 where an address or the
//     header section has more than ASCII. What one host of a next hop does not offer the next may; for REQUIRETLS every
//     exchanger is asked before it fails.
//   - DSN parameters, MT-PRIORITY, BY (what is left of it) and RRVS are handed on where they are offered. Elsewhere MT-PRIORITY
//     is dropped; by-mode R fails with 5.4.7 when the time is over, and N tells the sender that the deadline ends here
//     (Result.Relayed); RRVS with ;R fails with 5.7.19, and with ;C is dropped, for content is not changed. FUTURERELEASE
//     has been fulfilled by the queue and goes no further.
//   - What a server says in LIMITS (RFC 9422) is kept: the rest goes in other transactions, or over other connections.
//   - What is said to require TLS never goes in clear text. Opportunistic TLS that fails is tried once more without, on
//     a new connection, and the log says so.
//   - TLSVerify wants a certificate for the name that is connected to: that of the exchanger, not that of the domain.
//   - A message with REQUIRETLS goes only to exchangers that DNSSEC or an MTA-STS policy vouches for (RFC 8689 8.2), and fails
//     with 5.7.30 where nothing does. A notification with REQUIRETLS, which nobody would hear of, goes to any exchanger with a
//     certificate (RFC 8689 5). LMTP to this machine needs no TLS for it.
//   - The secret of a credential is told only to a server whose certificate is verified, or over a connection that does not
//     leave this machine: to a loopback address or localhost by the operator's word, not by the DNS's. A route with a
//     credential wants TLSVerify unless it says otherwise, and with TLSEncrypt only SCRAM-SHA-256-PLUS is used, which tells
//     nothing and proves who the server is. It is for next hops that are given by name, not for mail exchangers. A refusal
//     defers; the log says what to do, and never the secret.
//   - Connections are shared by deliveries with the same server, source, HELO name, credential and demands on TLS only.
//   - A source that has no address of the family of a host's address does not reach it; no other address is used instead.
//   - MX records do not lead to this machine: our own name ends the list (RFC 5321 5.1), our own addresses too, and
//     loopback, link-local, unspecified and multicast addresses are refused, in whatever form they come (v4-mapped, NAT64,
//     6to4). The address that was checked is the one dialled.
//   - Every new session with an exchanger is reported once, with how TLS went (RFC 8460), if somebody listens. A
//     report itself is delivered to exchangers whatever goes wrong with TLS, and not reported (RFC 8460 3).
//   - A Maildir file is synced before it appears in new/, and so is the directory before the result says Delivered. A
//     crash may deliver twice, never lose.
//
// The order of attempts: next hops in their order; for mx the exchanges in theirs, at most 5 addresses and 2 sessions
// that end in an SMTP failure. Another host of the same next hop is tried for recipients who got a 4yz reply. Another
// next hop is tried only for recipients to whom nobody has replied: the connection failed, or was refused with 4yz
// before MAIL. After the content was sent and no reply came, nothing more is tried; the message may have arrived.
//
// Connections are kept for a few seconds and used again. [Agent] is safe for use by many goroutines.
package deliver
