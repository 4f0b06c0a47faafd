// Package resolve is the caching stub resolver of the mail server: MX, addresses, TXT and reverse names, and
// with [Resolver.Lookup] the records of other types, asked of the recursive servers in resolv.conf or in the
// configuration.
//
// What it promises:
//
//   - A temporary failure (SERVFAIL, REFUSED, time-out, nonsense from the server) is never reported as a fact about the
//     name. [Temporary] tells the two apart: the one defers mail, the other bounces it.
//   - Every look-up is bounded: 3 s a try, 2 rounds over the servers, 15 s in all, 8 aliases, 20 exchanges, 40
//     addresses.
//   - Names are always taken as fully qualified; search lists are ignored. Names that are not ASCII become A-labels
//     first.
//   - A host name out of an answer contains letters, digits, hyphens, underscores and dots only, in lower case, without
//     the final dot. It may go into a log line or a command. TXT data is bytes as published: quote it.
//   - A reply counts only if its id and its question are those of the query; of its records, only those of the name
//     asked for, or of the end of its alias chain, are used and cached.
//   - The AD bit (RFC 6840, section 5.8) counts only from a server on the loopback interface, or if the operator said so.
//
// Answers are cached for their TTL (5 s to 1 day), denials for the SOA minimum (5 s to 15 min), failures for 5 s. When
// the servers fail, an answer that has expired less than an hour ago is used again (RFC 8767); a denial or a null MX is
// not, because mail would bounce on it.
//
// Equal questions at the same time become one query. A caller who gives up does not take the query from the others.
//
// The package validates no DNSSEC itself. Run a validating resolver on the loopback interface for that.
package resolve
