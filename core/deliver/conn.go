package deliver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/wasmta/wasmta/core/deliver/tlsrpt"
	"github.com/wasmta/wasmta/core/mail"
)

// conn is a connection to an SMTP or LMTP server, after the greeting and EHLO. One delivery at a time has it.
type conn struct {
	ep    endpoint
	relay string
	o     *Options
	nc    net.Conn
	raw   syscall.RawConn // of the socket below; nil: none
	in    replyReader
	ext   extensions

	tls      bool
	verified bool            // and the server has proven that it is the one
	name     string          // that the server says it has
	domains  map[string]bool // of the recipients so far, where the server limits them
	proof    string          // version, cipher and verification of TLS, for the trace
	watch    *watch          // until it is connected
	reused   bool            // has been in the pool
	unclean  bool            // a transaction was left open: RSET comes first
	messages int             // transactions so far
	took     time.Duration   // to get it; zero when it is used again

	site   mail.NextHop // whose limits it counts for
	expiry *time.Timer  // closes it while it is in the pool
	next   *conn        // in the pool
}

// try delivers to one server: on a kept connection, or a new one. lacks: it does not offer what the message needs.
func (t *attempt) try(ctx context.Context, ep endpoint, w *watch) (lacks bool) {
	t.addrs++
	t.rest = nil
	a := t.a
	exact := t.j.m.Envelope.Body == mail.BodyBinaryMIME // wants BDAT
	for fresh := false; ; fresh = true {
		var c *conn
		if !fresh {
			c = a.pool.get(ep)
		}
		if c != nil {
			c.reused, c.took = true, 0
		} else {
			a.pool.makeRoom(site(t.hop), t.limits.Connections)
			var f *failure
			if c, f = a.connect(ctx, ep, w); f != nil {
				if f.smtp {
					t.sessions++
				}
				t.record(f, &ep)
				return false
			}
		}
		f := t.session(ctx, c, exact)
		if f == nil {
			if t.j.any(answered) { // 4yz for some: another host may take them
				t.sessions++
			}
			return false
		}
		if f.again && ctx.Err() == nil {
			exact = exact || f.exact
			continue
		}
		if f.lacks && t.j.m.Envelope.RequireTLS { // every exchanger is asked for it
			t.lacking++
		} else {
			t.sessions++
		}
		f.reached = true
		t.record(f, &ep)
		return f.lacks
	}
}

// record gives the open recipients a result.
func (t *attempt) record(f *failure, ep *endpoint) {
	r := mail.Result{Outcome: outcome(f.reply), Reply: f.reply, Reached: f.reached || f.remote}
	if ep != nil {
		r.Relay = ep.relay()
		t.j.noteTried(r.Relay, f.reply.String())
		if f.remote {
			r.RemoteMTA = ep.host
		}
	}
	if ep == nil && r.Outcome == mail.Failed {
		f.state = settled // no other host is to be asked
	}
	t.j.each(answered, func(i int) { t.j.set(i, f.state, r) })
	if f.state <= answered {
		if r.Outcome == mail.Deferred {
			t.soft = &r
		} else {
			t.hard = true
		}
	}
}

func outcome(r mail.Reply) mail.Outcome {
	switch r.Class() {
	case 2:
		return mail.Delivered
	case 5:
		return mail.Failed
	}
	return mail.Deferred
}

// session sends the message to the open recipients, in as many transactions as it takes, and then keeps or closes the
// connection. A failure is for the recipients that are open still.
func (t *attempt) session(ctx context.Context, c *conn, exact bool) *failure {
	// The one way to end waiting for the network early is the deadline. Whoever sets another one looks at ctx after it.
	nc := c.nc
	release := func() bool { return true }
	if ctx.Done() != nil {
		release = context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	}
	b := t.a.buffers.Get().(*buffers)
	f := t.transactions(ctx, c, b, exact)
	t.a.giveBack(b)
	switch {
	case !release() || f != nil && !f.inStep:
		c.nc.Close()
	case c.messages >= t.limits.Messages || c.ext.maxMail > 0 && c.messages >= c.ext.maxMail:
		c.quit()
	case len(c.in.buffered()) > 0: // it speaks unasked
		c.nc.Close()
	default:
		c.nc.SetReadDeadline(time.Time{})
		c.site = site(t.hop)
		t.a.pool.put(c)
	}
	return f
}

// connect opens a connection and gets it ready for MAIL.
func (a *Agent) connect(ctx context.Context, ep endpoint, w *watch) (*conn, *failure) {
	c, f := a.open(ctx, ep, ep.tls, w)
	if f != nil && f.tls && ep.tls == mail.TLSOpportunistic && ctx.Err() == nil {
		a.o.Log.Warn("TLS failed, trying in clear text", "relay", ep.relay(), "error", f.reply.Text)
		c, f = a.open(ctx, ep, mail.TLSNone, nil)
	}
	return c, f
}

func (a *Agent) open(ctx context.Context, ep endpoint, policy mail.TLSPolicy, w *watch) (*conn, *failure) {
	start := time.Now()
	d := net.Dialer{Timeout: a.o.Timeouts.Connect, KeepAlive: -1} // every phase has its own deadline
	network, addr := "tcp", ep.addr.String()
	if ep.path != "" {
		network, addr = "unix", ep.path
	} else if ep.source.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: ep.source.AsSlice()}
	}
	nc, err := d.DialContext(ctx, network, addr)
	if err != nil {
		if end, ok := ctx.Deadline(); ctx.Err() != nil || ok && !time.Now().Before(end) { // a dialer may see the end before ctx does
			return nil, failed("4.3.2", "Delivery was interrupted connecting to "+ep.peer())
		}
		if se := (*os.SyscallError)(nil); ep.source.IsValid() && errors.As(err, &se) && se.Syscall == "bind" {
			a.o.Log.Error("connections cannot come from a source: is it an address of this machine?", "source", ep.source.String(), "relay", ep.relay(), "error", errText(err))
			return nil, failed("4.3.5", fmt.Sprintf("Connecting to %s from %s: %s", ep.peer(), ep.source, errText(err)))
		}
		return nil, failed("4.4.1", fmt.Sprintf("Connecting to %s: %s", ep.peer(), errText(err)))
	}
	c := &conn{ep: ep, relay: ep.relay(), o: &a.o, nc: nc, watch: w}
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn()
	}
	c.in.src = nc
	f := c.prepare(ctx, policy)
	c.watch = nil
	if f != nil {
		f.smtp = true
		c.nc.Close()
		return nil, f
	}
	c.took = time.Since(start)
	return c, nil
}

// peer is what texts call it that others may read.
func (c *conn) peer() string {
	if c.ep.path != "" {
		return c.ep.peer()
	}
	return c.relay
}

// prepare goes from the greeting to where MAIL may follow.
func (c *conn) prepare(ctx context.Context, policy mail.TLSPolicy) *failure {
	nc := c.nc
	if ctx.Done() != nil {
		release := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
		defer release()
	}
	if f := c.read(ctx, c.o.Timeouts.Greeting, "the greeting"); f != nil {
		return f
	}
	if c.in.code/100 != 2 {
		return c.refused()
	}
	f := c.hello(ctx)
	if f == nil {
		f = c.secure(ctx, policy)
	}
	if f == nil && c.ep.credential != "" {
		f = c.authenticate(ctx)
	}
	return f
}

// secure starts TLS as far as the policy wants it and the server offers it.
func (c *conn) secure(ctx context.Context, policy mail.TLSPolicy) *failure {
	if policy == mail.TLSNone {
		return nil
	}
	if !c.ext.startTLS {
		c.watch.tell(c, tlsrpt.StartTLSNotSupported, nil)
		if policy == mail.TLSOpportunistic {
			return nil
		}
		return failed("4.7.4", "TLS is required, but was not offered by "+c.peer())
	}
	if f := c.command(ctx, "STARTTLS\r\n", "STARTTLS"); f != nil {
		return f
	}
	if c.in.code != 220 {
		r := c.in.reply()
		c.watch.tell(c, tlsrpt.StartTLSNotSupported, &r)
		if policy == mail.TLSOpportunistic && c.in.code != 421 {
			c.o.Log.Warn("STARTTLS refused, going on in clear text", "relay", c.relay, "reply", c.in.reply().String())
			return nil
		}
		return failed("4.7.4", "TLS is required, but was refused by "+c.peer())
	}
	if len(c.in.buffered()) > 0 { // injected into the clear-text part (CVE-2011-0411 and its kin)
		return failed("4.5.0", c.peer()+" sent something between its reply to STARTTLS and TLS")
	}
	if f := c.startTLS(ctx, policy); f != nil {
		return f
	}
	return c.hello(ctx)
}

func (c *conn) startTLS(ctx context.Context, policy mail.TLSPolicy) *failure {
	config := c.o.TLS.Clone()
	config.ServerName = c.ep.name()
	config.InsecureSkipVerify = policy != mail.TLSVerify
	var doubt error // does not matter to the delivery
	switch {
	case c.ep.tlsa != "":
		config.VerifyConnection = func(s tls.ConnectionState) error { return verifyDANE(c.ep.tlsa, c.ep.names(), s) }
	case c.watch != nil && c.watch.testing && policy != mail.TLSVerify:
		config.VerifyConnection = func(s tls.ConnectionState) error { doubt = c.watch.inspect(config, s); return nil }
	}
	if c.o.Certificate != nil && c.ep.credential != "" {
		if cred, _ := c.o.Credential(c.ep.credential); cred.external() {
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.o.Certificate() }
			config.ClientSessionCache = nil // in a resumed session we are who we were in the one before
		}
	}
	tc := tls.Client(c.nc, config)
	limited, cancel := context.WithTimeout(ctx, c.o.Timeouts.TLS)
	defer cancel()
	c.nc.SetDeadline(time.Time{})
	if err := tc.HandshakeContext(limited); err != nil {
		if ctx.Err() != nil {
			return failed("4.3.2", "Delivery was interrupted in the TLS handshake with "+c.peer())
		}
		c.watch.tell(c, tlsFault(err), err)
		f := failed("4.7.5", fmt.Sprintf("TLS with %s: %s", c.peer(), errText(err)))
		f.tls = true
		return f
	}
	if doubt != nil {
		c.watch.tell(c, tlsFault(doubt), doubt)
	} else {
		c.watch.tell(c, tlsrpt.Success, nil)
	}
	c.nc, c.in.src, c.tls = tc, tc, true
	how := "not verified"
	switch {
	case c.ep.tlsa != "":
		c.verified, how = true, "verified by DANE"
	case policy == mail.TLSVerify && c.ep.sts:
		c.verified, how = true, "verified by MTA-STS"
	case policy == mail.TLSVerify:
		c.verified, how = true, "verified"
	}
	s := tc.ConnectionState()
	c.proof = tls.VersionName(s.Version) + " " + tls.CipherSuiteName(s.CipherSuite) + ", " + how
	return nil
}

// hello says EHLO, HELO where that is not understood, or LHLO.
func (c *conn) hello(ctx context.Context) *failure {
	verb := "EHLO"
	if c.ep.lmtp {
		verb = "LHLO"
	}
	if f := c.command(ctx, verb+" "+c.ep.helo+"\r\n", verb); f != nil {
		return f
	}
	if c.in.code/100 == 2 {
		c.ext.parse(c.in.text)
		name, _, _ := bytes.Cut(c.in.text, []byte("\n"))
		name, _, _ = bytes.Cut(name, []byte(" "))
		c.name = mail.Printable(string(name[:min(len(name), 255)]))
		return nil
	}
	c.ext = extensions{}
	if c.in.code/100 != 5 || c.ep.lmtp {
		return c.refused()
	}
	if f := c.command(ctx, "HELO "+c.ep.helo+"\r\n", "HELO"); f != nil {
		return f
	}
	if c.in.code/100 != 2 {
		return c.refused()
	}
	return nil
}

// command sends one command and reads its reply.
func (c *conn) command(ctx context.Context, line, name string) *failure {
	if f := c.write(ctx, []byte(line), name); f != nil {
		return f
	}
	return c.read(ctx, c.o.Timeouts.Hello, "the reply to "+name)
}

// write sends commands. Nothing may have come that was not asked for: it would be taken for the reply.
func (c *conn) write(ctx context.Context, b []byte, what string) *failure {
	if len(c.in.buffered()) > 0 {
		return c.outOfStep("before " + what)
	}
	c.nc.SetWriteDeadline(time.Now().Add(c.o.Timeouts.Block))
	err := ctx.Err()
	if err == nil {
		_, err = c.nc.Write(b)
	}
	if err != nil {
		return c.lost(ctx, err, "sending "+what)
	}
	return nil
}

// read reads a reply.
func (c *conn) read(ctx context.Context, timeout time.Duration, what string) *failure {
	c.nc.SetReadDeadline(time.Now().Add(timeout))
	err := ctx.Err()
	if err == nil {
		err = c.in.read()
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errMalformed), errors.Is(err, errTooLong), errors.Is(err, errMixed):
		return failed("4.5.0", fmt.Sprintf("%s sent %s where %s should be", c.peer(), err, what))
	}
	return c.lost(ctx, err, "waiting for "+what)
}

// outOfStep: bytes are there before their command. The one reply that comes unasked is 421 (RFC 5321 3.8).
func (c *conn) outOfStep(where string) *failure {
	if bytes.HasPrefix(c.in.buffered(), []byte("421")) {
		c.nc.SetReadDeadline(time.Now().Add(time.Second))
		if c.in.read() == nil {
			return c.refused()
		}
	}
	return failed("4.5.0", c.peer()+" sent a reply to nothing "+where)
}

func (c *conn) lost(ctx context.Context, err error, doing string) *failure {
	if ctx.Err() != nil {
		return failed("4.3.2", "Delivery was interrupted "+doing)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return failed("4.4.2", fmt.Sprintf("Conversation with %s timed out %s", c.peer(), doing))
	}
	return failed("4.4.2", fmt.Sprintf("Lost connection with %s %s: %s", c.peer(), doing, errText(err)))
}

// refused makes the last reply the reason. A 5yz before MAIL is an answer, other hosts of the next hop may give another.
func (c *conn) refused() *failure {
	f := &failure{reply: c.in.reply(), remote: true, state: unreached}
	switch c.in.code / 100 {
	case 5:
		f.state = answered
	case 2, 3:
		f = failed("4.5.0", fmt.Sprintf("%s replied %d where that has no meaning", c.peer(), c.in.code))
	}
	return f
}

// alive tells whether a connection from the pool can be used. With TLS, bytes that have come are most likely the alert
// that ends it.
func (c *conn) alive() bool {
	return len(c.in.buffered()) == 0 && (c.raw == nil || quiet(c.raw))
}

// quit ends the session without waiting for the reply to QUIT.
func (c *conn) quit() {
	c.nc.SetWriteDeadline(time.Now().Add(time.Second))
	io.WriteString(c.nc, "QUIT\r\n")
	c.nc.Close()
}

// errText is what a network error says of the cause, without addresses and file names.
func errText(err error) string {
	var oe *net.OpError
	if errors.As(err, &oe) && oe.Err != nil {
		err = oe.Err
	}
	var se *os.SyscallError
	if errors.As(err, &se) {
		err = se.Err
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed by the other side"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "timed out"
	}
	return err.Error()
}
