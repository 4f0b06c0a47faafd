//go:build !unix

package gate

import "net"

// arrived tells whether a connection has input, without waiting for it; here
// it cannot be known.
func arrived(net.Conn) bool { return false }
