// Package tlsrpt counts how TLS went with the exchangers of other domains, and tells those that ask for it, once a day
// (RFC 8460).
//
// What it promises:
//
//   - [Store.Add] costs a map access and never waits for the disk. What a day may hold is bounded: [MaxDomains] domains, and
//     for each [MaxPolicies] policies with [MaxDetails] kinds of failure, of 16 MiB altogether. What is more is counted, not told
//     apart; domains beyond that are not.
//   - What was counted is written every [SaveTime] and at the end; a crash loses what came since. Days are those of UTC.
//   - A report goes only to the addresses that the domain publishes at _smtp._tls, by mail or HTTPS, between midnight and
//     four in the morning, at a time that is another one for each day. What cannot be sent is tried again every hour for a
//     day; then it is forgotten.
//   - Everything that other hosts have said is made printable and cut before it is kept.
//
// What it does not do: RFC 8460 5.3 asks for a DKIM signature by the domain of the sender on reports by mail. They carry
// none of their own; have the messages of From signed where the others are. Their reverse-path is null, so that none
// comes back. Package deliver hands them over whatever goes wrong with TLS, in clear text if need be, and does not count
// their sessions, as RFC 8460 3 has it.
package tlsrpt
