// Package scene is what the laboratory of cmd/lab shows to a mail server: a DNS with signed and unsigned zones, mail
// exchangers that are well, ill, dead, slow or lying, and policy hosts for MTA-STS with an authority that nobody else
// knows.
//
// What it promises:
//
//   - Each [Row] is one domain below lab.test with its own mail exchangers, each at an address of its own, so that no row
//     touches another. A row says which section of which RFC it is about and what must come of a message.
//   - [Scene.Check] judges by what the servers saw (a message, in clear text or over TLS) and by the log of the server
//     under test, not by what that server says of itself alone: a message that is logged as deferred and arrived fails.
//   - The DNS is scripted: it sets the AD bit for zones that count as signed and answers SERVFAIL with "DNSSEC Bogus" for
//     names whose signatures count as broken, as a validating resolver would. There are no signatures in it.
package scene
