//go:build !unix

package systemd

import "net"

// Sockets finds none: systemd is not here.
func Sockets() (map[string][]net.Listener, error) { return nil, nil }
