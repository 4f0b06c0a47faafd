// Package sasl is the server's half of SASL mechanisms (RFC 4422): what the
// octets of an exchange mean. It does no I/O, knows no base64 and decides
// nothing: at the end of an exchange there are [Credentials], and policy says
// what they are worth.
//
// # What it promises
//
//   - Any octets are an error or well-formed credentials: names as
//     [mail.ValidIdentity] wants them, a password of at most [MaxPassword]
//     octets without NUL, neither empty. An empty password never reaches policy:
//     directories take one for an anonymous bind, which succeeds.
//   - No text of an error has a part of what the client sent.
//   - A response belongs to the caller, who may overwrite it after the call. The
//     password in the credentials is a copy of its own, and the only one.
//
// Names and passwords are what the client sent: neither SASLprep (RFC 4013) nor
// any other mapping is applied. Most clients send what was typed, and the place
// that knows how passwords were stored is policy.
package sasl
