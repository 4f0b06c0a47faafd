package deliver

import (
	"sync"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// pool keeps connections that wait for their next message.
type pool struct {
	max, perServer int
	keep           time.Duration

	mu     sync.Mutex
	closed bool
	count  int
	idle   map[endpoint]*conn // the last used; conn.next is the one before
	sites  map[mail.NextHop]*use
}

// get takes the connection to ep that was used last, nil if there is none. Connections that have gone are closed.
func (p *pool) get(ep endpoint) *conn {
	for {
		p.mu.Lock()
		c := p.idle[ep]
		if c == nil {
			p.mu.Unlock()
			return nil
		}
		p.remove(c)
		p.mu.Unlock()
		c.expiry.Stop()
		if c.alive() {
			return c
		}
		c.nc.Close()
	}
}

// put keeps c or closes it.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	same := 0
	for x := p.idle[c.ep]; x != nil; x = x.next {
		same++
	}
	if p.closed || p.keep < 0 || p.count >= p.max || same >= p.perServer {
		p.mu.Unlock()
		c.quit()
		return
	}
	c.next = p.idle[c.ep]
	p.idle[c.ep] = c
	p.count++
	p.counts(c.site, 0, 1)
	if c.expiry == nil {
		c.expiry = time.AfterFunc(p.keep, func() { p.expire(c) })
	} else {
		c.expiry.Reset(p.keep)
	}
	p.mu.Unlock()
}

func (p *pool) expire(c *conn) {
	p.mu.Lock()
	mine := p.remove(c)
	p.mu.Unlock()
	if mine {
		c.quit()
	}
}

// remove takes c out and tells whether it was there. The caller holds the lock.
func (p *pool) remove(c *conn) bool {
	var before *conn
	for x := p.idle[c.ep]; x != nil; before, x = x, x.next {
		if x != c {
			continue
		}
		switch {
		case before != nil:
			before.next = c.next
		case c.next != nil:
			p.idle[c.ep] = c.next
		default:
			delete(p.idle, c.ep)
		}
		c.next = nil
		p.count--
		p.counts(c.site, 0, -1)
		return true
	}
	return false
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	var all []*conn
	for _, c := range p.idle {
		for ; c != nil; c = c.next {
			all = append(all, c)
		}
	}
	for _, c := range all {
		p.counts(c.site, 0, -1)
	}
	clear(p.idle)
	p.count = 0
	p.mu.Unlock()
	for _, c := range all {
		c.expiry.Stop()
		c.quit()
	}
}
