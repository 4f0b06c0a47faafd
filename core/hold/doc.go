// Package hold keeps the operator's hold rules: what mail that is yet to come
// shall wait for a person, and why. It decides about a message when it is
// committed; what lies in the queue already is none of its business.
//
// A rule is a [queue.Filter] of the fields that a message has when it comes in
// (Sender, SenderDomain, Recipient, Domain, Listener, Client, Mark), a reason
// and perhaps an end. A rule with a recipient or a domain holds the queue items
// with such recipients only: other recipients of the same message get it. A rule
// without holds the whole message.
//
// The rules are in one file, which is replaced as a whole (written aside, synced,
// renamed, directory synced) before Add or Remove return, and has a checksum. A
// file that is damaged is an error of Open and not an empty list: mail that
// somebody wanted held must not go out because a disk forgot it.
//
// There are at most [MaxRules] rules. Looking at a message costs a few
// comparisons for each.
package hold
