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
//     do not take eight bits are gone. BINARYMIME and REQUIRETLS are never dropped silently, nor is SMTPUTF8 where an address
//     or the header section has more than ASCII.
//   - What is said to require TLS never goes in clear text. Opportunistic TLS that fails is tried once more without, on
//     a new connection, and the log says so.
//   - TLSVerify wants a certificate for the name that is connected to: that of the exchanger, not that of the domain.
//   - MX records do not lead to this machine: our own name ends the list (RFC 5321 5.1), our own addresses too, and
//     loopback, link-local, unspecified and multicast addresses are refused. The address that was checked is the one dialled.
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
