// Package dsn composes delivery status notifications (RFC 3464, in the
// multipart/report of RFC 6522) from the results of delivery. [Compose] is a
// pure function: the same report gives the same octets, and nothing is sent.
//
// # What it promises
//
//   - Never a notification about a message with the null reverse-path, so never
//     a DSN about a DSN (RFC 5321 4.5.5).
//   - NOTIFY is honoured for each recipient (RFC 3461 4.1): NEVER gets nothing,
//     and who did not say gets failures and delays only. ENVID, ORCPT and RET
//     are carried over.
//   - Three parts: a text for people, message/delivery-status for programs, and
//     the header section of the message, or the whole of it if RET=FULL was
//     asked for and it is at most [MaxReturn] octets.
//   - For a message that came with SMTPUTF8 and needs it, the types of RFC 6533:
//     message/global-delivery-status, message/global and message/global-headers.
//     In all other cases the status part is ASCII; an internationalized address
//     is then written as utf-8-addr-xtext.
//   - What a remote host said is text, never structure: controls are removed,
//     length is bounded, lines are folded, and no part's boundary occurs in any
//     part. No line is longer than 998 octets. 8-bit octets stand only where
//     8bit is declared, and the envelope says BODY=8BITMIME then.
//
// # Wording
//
// A [Template] words the part for people and the subject; a plugin's text goes
// before it. Neither can touch what programs read.
//
// # Status of what expired
//
// A recipient that could not be reached within the lifetime of the message gets
// action failed with status 4.4.7 (RFC 3463: delivery time expired). The class
// stays 4, persistent transient failure, since nobody ever said that the
// mailbox is bad; who keeps mailing lists counts such failures apart. The last
// thing that a remote host said is in Diagnostic-Code.
package dsn
