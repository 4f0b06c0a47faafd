package gate

import (
	"io"
	"net"
	"sync"
	"time"
)

// Driver decides what the session engine hears. It runs in the goroutine of
// the engine's connection.
type Driver interface {
	// Next is given what the engine wrote since the line before (the first
	// time: its banner) and returns the next line, CR LF included. An error
	// ends the engine's session.
	Next(reply []byte) (line string, err error)
	// End is called once, when the engine has closed its connection.
	End()
}

// Conn is the connection that the session engine holds. It is a net.Conn
// whose peer is a [Driver].
type Conn struct {
	driver        Driver
	local, remote net.Addr
	in            string // of the line that the engine has not read yet
	out           []byte
	err           error
	end           sync.Once
}

var _ net.Conn = (*Conn)(nil)

// NewConn makes a Conn. The addresses are what the engine may log.
func NewConn(d Driver, local, remote net.Addr) *Conn {
	return &Conn{driver: d, local: local, remote: remote}
}

// Driver is the one it was made with.
func (c *Conn) Driver() Driver { return c.driver }

// Read gives the engine its next line, never more than one.
func (c *Conn) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.in == "" {
		c.in, c.err = c.driver.Next(c.out)
		c.out = c.out[:0]
		if c.err != nil {
			c.in = ""
			return 0, c.err
		}
	}
	n := copy(p, c.in)
	c.in = c.in[n:]
	return n, nil
}

// Feed sets what the engine reads next without asking the driver: the end of
// data, while it waits for content that it does not get to see.
func (c *Conn) Feed(line string) { c.in = line }

// Written takes what the engine wrote since its last Read. It is valid until
// the engine writes again.
func (c *Conn) Written() []byte {
	out := c.out
	c.out = c.out[:0]
	return out
}

// maxEngineReply is far above what the engine writes for one line.
const maxEngineReply = 1 << 20

// Write takes the engine's reply.
func (c *Conn) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if len(c.out)+len(p) > maxEngineReply {
		return 0, io.ErrShortWrite
	}
	c.out = append(c.out, p...)
	return len(p), nil
}

// Close ends the driver.
func (c *Conn) Close() error {
	c.end.Do(func() {
		if c.err == nil {
			c.err = net.ErrClosed
		}
		c.driver.End()
	})
	return nil
}

func (c *Conn) LocalAddr() net.Addr  { return c.local }
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// The engine's deadlines have no effect: the Wire has its own.

func (c *Conn) SetDeadline(time.Time) error      { return nil }
func (c *Conn) SetReadDeadline(time.Time) error  { return nil }
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }
