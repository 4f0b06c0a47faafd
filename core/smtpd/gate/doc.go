// Package gate owns the wire of the SMTP server: every octet that comes from
// or goes to a client passes here, and the session engine (go-smtp) never
// touches the network.
//
// [Wire] is the client's connection: command lines, replies, TLS, time limits,
// and the content of messages. [Conn] is what the engine holds instead of a
// connection: each Read gives it exactly one line, which a [Driver] composed,
// so that whatever it writes before its next Read is its reply to that line.
//
// What it promises:
//
//   - A command line ends with CR LF and has no other control character, no
//     NUL, and is valid UTF-8. Everything else is an error for that line only.
//   - Only CR LF . CR LF ends the content after DATA. Nothing of a body is ever
//     read as a command: an error inside a body is final for the connection.
//   - A chunk of BDAT has exactly the octets it announced, or is an error.
//   - Nothing is read while replies wait to be sent, and replies are sent in
//     one write for a pipelined batch, at most 16 KiB at a time. A client that
//     does not read its replies is not read from.
//   - Every wait has an end: a command line has one deadline from its
//     beginning, a body one for each block, a least rate, and a total. Time
//     that we take ourselves does not count against the rate.
//   - Input that follows STARTTLS in clear text is thrown away.
//
// A connection that waits for a command holds 512 octets of buffer here; a
// long command or batch takes 4.5 KiB from a pool, a body up to 64 KiB, while
// it lasts.
package gate
