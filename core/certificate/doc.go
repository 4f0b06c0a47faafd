// Package certificate holds the certificates that clients are shown: those of
// files and those that an ACME authority gives (RFC 8555), chosen by the name
// that a client asks for (SNI, RFC 6066 3).
//
// # Which one
//
// The certificate for the name that was asked for; else the one for the
// wildcard above it; else the default, the first: most mail servers ask for no
// name. Certificates stand for the names that the configuration gives them, or
// for those they were made for. Of several for one name a client is shown the
// first that it can use, ECDSA before RSA, which is larger and slower; so both
// kinds can stand side by side. A file stands before the authority.
//
// # Reload
//
// [Set.Load] reads all files and changes nothing until its result is called;
// an error names each bad file, and all stays as it was. Handshakes read one
// pointer.
//
// # ACME
//
// [Set.Run] gets a certificate for each domain, in the background, and renews
// it when a third of its life is left, at most 30 days. A handshake never waits
// for any of it: until the first certificate is there a self-signed one stands
// in, so that other servers can encrypt, which is all that most ask for (RFC
// 7435). A domain that fails costs the others nothing. Failures are logged with
// what to do and tried again after 1 min, 5 min, 15 min, 1 h and then every 4 h,
// or when the authority says: Let's Encrypt counts five failures in an hour.
// Whoever has removed the cause need not wait: [Set.Retry].
//
// The key of a domain is made once and kept for all renewals, and for the
// self-signed certificate too, so that a TLSA record "3 1 1" (RFC 7671 5.1)
// stays true. Remove its file to have a new one.
//
// HTTP-01 opens its port only while an order is open. TLS-ALPN-01 (RFC 8737) is
// answered on listeners with implicit TLS that ask for no client certificate;
// the authority connects to port 443 and no other. With both the one is tried
// after the other has failed. DNS-01 and so wildcards are not to be had this
// way: another program can get these, and send SIGHUP.
//
// This is golang.org/x/crypto/acme without its autocert, which fetches during
// handshakes, keeps failed renewals to itself and cannot be ended.
//
// # Files
//
// Under Dir, for each authority its own directory, 0700:
//
//	HOST/account         private key of the account
//	HOST/DOMAIN.key      private key
//	HOST/DOMAIN.pem      certificate and those between it and the root
//
// A file is complete or not there. What is damaged is fetched again.
package certificate
