// Package route decides where recipients go now. It asks the plugins at stage
// route, then the operator's [Table], and finally falls back to the MX of the
// recipient's domain; an address-literal domain is its own exchanger, so that
// what an MX record must not lead to cannot be reached by an address either. It
// returns next hops and never connects, never looks up a name and never blocks
// on anything but a plugin.
//
// # Placeholders
//
// The path of a maildir or lmtp:unix next hop may hold {user} and {domain},
// which are filled in for each recipient, so one group of recipients may leave
// as several. Both become one path element that stays inside its directory:
//
//   - {user} is the local part without its quotes. A slash, a backslash, '%', a
//     control, a leading '.' and what is not UTF-8 are written as %XX, octet by
//     octet, so that two local parts never share a mailbox by accident.
//   - {domain} is the domain in lower-case A-labels, or the address literal.
//
// The case of the local part is kept (RFC 5321 2.4): whoever wants Bob and bob
// to be one mailbox rewrites the recipient in a plugin. A value that would be
// empty or longer than [MaxElement] octets is refused for that recipient.
package route
