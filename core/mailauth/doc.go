// Package mailauth finds out who answers for a message: SPF (RFC 7208), DKIM (RFC 6376, RFC 8301, RFC 8463) and DMARC
// (RFC 9989). It signs with DKIM, and it writes and reads Authentication-Results (RFC 8601).
//
// What it promises:
//
//   - It reports facts and decides nothing. What a result means for a message is for a plugin.
//   - Functions keep no state and no cache, which is the resolver's, and may be called by many goroutines. [Facts] keep
//     the results for one message.
//   - Everything is bounded. SPF: 10 terms that look something up, 2 void look-ups, 10 exchanges and 10 reverse names
//     each, 20 s. DKIM: [MaxSignatures] signatures, RSA keys of 1024 to 4096 bits, 20 s for the keys. DMARC: 8 look-ups a
//     domain, 20 s. A field: 64 KiB. A message's body is read once, in blocks, for any number of signatures.
//   - A failure of the DNS that may go away is TempError, never a fact about the message. A mistake of the publisher or
//     the author is PermError, with a reason in our words that quotes what is foreign.
//   - Text that goes into a header field or a reply is printable, and of bounded length.
//
// A signature with l= is not accepted (anybody could append), nor is SHA-1 (RFC 8301, section 3.1): both are [Policy].
package mailauth
