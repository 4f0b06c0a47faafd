package deliver

import "github.com/wasmta/wasmta/core/mail"

// Limits are those of one next hop. Zero fields mean those of Options.
type Limits struct {
	// Connections is how many connections there are to it at once: when another one is needed, one that waits for its
	// next message is closed first. That no more deliveries go on at once is a matter of who calls Deliver. Zero: no limit.
	Connections int
	Messages    int // over one connection
	Recipients  int // of one transaction
}

// limits are those of the next hop of t.
func (a *Agent) limits(hop mail.NextHop) (l Limits) {
	if a.o.Limits != nil {
		l = a.o.Limits(hop)
	}
	if l.Messages <= 0 {
		l.Messages = a.o.MaxMessages
	}
	if l.Recipients <= 0 {
		l.Recipients = a.o.MaxRecipients
	}
	return l
}

// site is what limits are about: whom we speak to, not how.
func site(n mail.NextHop) mail.NextHop {
	return mail.NextHop{Transport: n.Transport, Host: n.Host, Port: n.Port}
}

// use counts the connections to a next hop.
type use struct{ busy, idle int }

// counts changes the counts of a next hop. The caller holds the lock.
func (p *pool) counts(at mail.NextHop, busy, idle int) {
	u := p.sites[at]
	if u == nil {
		u = new(use)
		p.sites[at] = u
	}
	u.busy += busy
	u.idle += idle
	if *u == (use{}) {
		delete(p.sites, at)
	}
}

// enter notes a delivery that will need a connection to a next hop, until leave.
func (p *pool) enter(at mail.NextHop) (leave func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts(at, 1, 0)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.counts(at, -1, 0)
	}
}

// makeRoom closes connections to a next hop that wait, so that with another one, which is counted as busy already,
// there are no more than limit.
func (p *pool) makeRoom(at mail.NextHop, limit int) {
	for limit > 0 {
		p.mu.Lock()
		var c *conn
		if u := p.sites[at]; u != nil && u.idle > 0 && u.busy+u.idle > limit {
			c = p.waiting(at)
		}
		if c != nil {
			p.remove(c)
		}
		p.mu.Unlock()
		if c == nil {
			return
		}
		c.expiry.Stop()
		c.quit()
	}
}

// waiting finds a connection to a next hop in the pool. The caller holds the lock.
func (p *pool) waiting(at mail.NextHop) *conn {
	for _, c := range p.idle {
		for ; c != nil; c = c.next {
			if c.site == at {
				return c
			}
		}
	}
	return nil
}
