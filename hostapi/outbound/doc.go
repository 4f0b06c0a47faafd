// Package outbound makes the HTTP requests of plugins.
//
// A plugin reaches only what the operator wrote down, and what is written down
// as a public name stays public:
//
//   - A [Place] is scheme://host[:port]/prefix. A URL matches it as text: no
//     user, no fragment, no "." and "..", no encoded slashes or dots, so that
//     the server at the other end cannot read another path than was checked.
//   - The address is looked up by the server's resolver and checked where the
//     connection is made, on the socket itself: a name that changes its address
//     between check and connection gains nothing. Loopback, private, link-local,
//     shared (CGNAT), multicast and reserved addresses, those that embed one, and
//     the machine's own are refused unless the place is private.
//   - Connections to private places are never used for public ones.
//   - Redirects are not followed, cookies not kept, bodies not decompressed. The
//     environment's proxies are ignored. TLS is 1.2 or later, and verified.
//   - A header field that would end early, or that frames the message, is refused.
package outbound
