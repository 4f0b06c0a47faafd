// Package interop holds tests only: wasmta against the mail servers and clients that people have.
//
// A message goes from a client through one wasmta to a peer (Postfix, Exim, OpenSMTPD), from the peer to another wasmta
// and into a Maildir, in clear text and over TLS, with PIPELINING and CHUNKING and without; what is in the Maildir must
// be what was sent, but for the fields that each declares to add. Dovecot takes it by LMTP. And the programs that
// people send mail with hand one in.
//
// The peers come from .ci/lab-tools, which unpacks Debian packages without installing them and names the directory in
// WASMTA_PEERS. A test runs a peer in a mount and process namespace of its own, where that directory lies over /usr and
// /etc: each finds its files where it looks for them, with users of its own, the machine is not changed, and nothing
// outlives the test. That needs root and Linux. Without, or without a peer, a test skips and says what is missing.
package interop
