// Package mail holds the nouns of the field as plain values: path, recipient,
// envelope, reply, result, next hop, queue id, header section. It parses and
// prints them and does nothing else: no I/O, no clock, no log.
//
// Every value that can come from the wire is validated when it is made, so
// that the rest of the server may print a [Path] or a [Reply] into a header, a
// command or a log line without looking at it again. What a client sends is
// never echoed as it came.
//
// The words are those of RFC 5321 (SMTP), RFC 5598 (architecture), RFC 3461
// and RFC 3464 (DSN).
package mail
