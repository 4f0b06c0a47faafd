// Package sasl is the server's half of SASL mechanisms (RFC 4422): what the
// octets of an exchange mean. It does no I/O, knows no base64 and decides
// nothing: at the end of an exchange there are [Credentials], and policy says
// what they are worth.
//
//	PLAIN               RFC 4616                   name and password
//	LOGIN               draft-murchison-sasl-login the same, obsolete and in use
//	SCRAM-SHA-256       RFC 5802, RFC 7677         proof of a password that never travels
//	SCRAM-SHA-256-PLUS  RFC 5929, RFC 9266         and of the TLS session it is meant for
//	OAUTHBEARER         RFC 7628                   a token
//	XOAUTH2             Google's, before it        the same
//	EXTERNAL            RFC 4422 A                 what TLS has proved
//
// # What it promises
//
//   - Any octets are an error or well-formed credentials: names as
//     [mail.ValidIdentity] wants them, a password of at most [MaxPassword]
//     octets without NUL, a token of at most [MaxToken], neither empty. An empty
//     password never reaches policy: directories take one for an anonymous bind,
//     which succeeds.
//   - No text of an error has a part of what the client sent.
//   - A response belongs to the caller, who may overwrite it after the call. The
//     password or token in the credentials is a copy of its own, and the only one.
//   - An exchange of SCRAM that is done is one in which the client has proved that
//     it knows the password of the keys that [Options.Keys] gave, in this TLS
//     session if it is -PLUS. A client that could have bound it and was made to
//     believe that it cannot is refused.
//
// Names are prepared by SASLprep (RFC 4013, see [mail.Prepare]), so that policy
// and what counts guesses know one form of each. A password is what the client
// sent: whoever made the hash of it knows what was hashed. The form of SCRAM says
// that, and is prepared where it is checked.
//
// See RATIONALE.md for what SCRAM is built from.
package sasl
