package deliver

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/wasmta/wasmta/core/mail"
)

// maxAuthLine is the longest line of an exchange (RFC 4954 4).
const maxAuthLine = 12288

// authenticate says who we are. Failures are temporary whatever the server says: it is ours to repair, and nothing bounces
// because of a password that was changed. Nothing of the exchange goes into a log or a result.
func (c *conn) authenticate(ctx context.Context) *failure {
	name := c.ep.credential
	cred, ok := c.o.Credential(name)
	if !ok {
		c.o.Log.Error("a route names a credential that there is not; add it to [credentials]", "credential", name, "relay", c.relay)
		return failed("4.3.5", "The route to "+c.peer()+" has a credential that is not configured")
	}
	session := (*tls.ConnectionState)(nil)
	if t, ok := c.nc.(*tls.Conn); ok {
		s := t.ConnectionState()
		session = &s
	}
	wanted := cred.Mechanisms
	if len(wanted) == 0 {
		wanted = byPassword
	}
	plus := slices.Contains(c.ext.auth, "SCRAM-SHA-256-PLUS")
	unsafe := false
	for _, mechanism := range wanted {
		switch {
		case !slices.Contains(c.ext.auth, mechanism):
			continue
		case !c.mayAuth(mechanism):
			unsafe = true
			continue
		}
		x, err := newExchange(mechanism, &cred, c.ep.host, c.ep.addr.Port(), session, plus)
		if err != nil {
			c.o.Log.Error("a credential cannot be used with a mechanism; set another secret, or mechanisms", "credential", name, "mechanism", mechanism, "relay", c.relay, "error", err.Error())
			continue
		}
		f, next := c.converse(ctx, name, mechanism, x, &cred)
		if !next {
			return f
		}
	}
	if unsafe {
		c.o.Log.Error("not authenticated: the server's certificate is not verified, so the secret is not told; set tls = \"verify\" for the route, or mechanisms = [\"SCRAM-SHA-256-PLUS\"] if the server knows it",
			"credential", name, "relay", c.relay, "offered", strings.Join(c.ext.auth, " "))
		return failed("4.7.11", "Authentication with "+c.peer()+" would not be safe")
	}
	c.o.Log.Error("not authenticated: the server offers none of the mechanisms of the credential", "credential", name, "relay", c.relay,
		"mechanisms", strings.Join(wanted, " "), "offered", strings.Join(c.ext.auth, " "))
	return failed("4.7.4", c.peer()+" offers no mechanism of authentication that can be used")
}

// mayAuth tells whether a mechanism may be used over the connection as it is. Who gets to know a secret must be who it is
// for: the certificate was verified, or the bytes do not leave this machine. SCRAM with channel binding tells nothing, and
// the server proves that it is the one.
func (c *conn) mayAuth(mechanism string) bool {
	switch {
	case c.ep.local(), c.verified:
		return mechanism != "SCRAM-SHA-256-PLUS" || c.tls
	case c.tls:
		return mechanism == "SCRAM-SHA-256-PLUS"
	}
	return false
}

// converse runs one exchange. next: the server does not have the mechanism after all.
func (c *conn) converse(ctx context.Context, name, mechanism string, x exchange, cred *Credential) (f *failure, next bool) {
	first, err := x.begin()
	line, said := "AUTH "+mechanism, []string{cred.Secret}
	switch {
	case err != nil:
	case first != nil && len(first) == 0:
		line += " ="
	case first != nil:
		said = append(said, base64.StdEncoding.EncodeToString(first))
		line += " " + said[1]
	}
	for err == nil {
		if len(line) > maxAuthLine-2 {
			err = fmt.Errorf("a response is longer than %d octets", maxAuthLine)
			break
		}
		if f := c.command(ctx, line+"\r\n", "AUTH"); f != nil {
			return c.hush(f), false
		}
		switch {
		case c.in.code == 235 && x.proven():
			return nil, false
		case c.in.code == 235:
			c.o.Log.Error("not authenticated: the server does not prove that it knows the password", "credential", name, "mechanism", mechanism, "relay", c.relay)
			return failed("4.7.8", c.peer()+" did not authenticate itself"), false
		case c.in.code == 504:
			return nil, true
		case c.in.code != 334:
			return c.unauthenticated(name, mechanism, cred.User, said), false
		}
		var challenge, response []byte
		if challenge, err = base64.StdEncoding.DecodeString(strings.TrimSpace(string(c.in.text))); err != nil {
			err = fmt.Errorf("the challenge is not base64")
			break
		}
		if response, err = x.answer(challenge); err == nil {
			line = base64.StdEncoding.EncodeToString(response)
			said = append(said, line)
		}
	}
	c.o.Log.Error("not authenticated: the exchange with the server was given up", "credential", name, "mechanism", mechanism, "relay", c.relay, "error", err.Error())
	_ = c.command(ctx, "*\r\n", "the end of AUTH")
	return failed("4.7.8", "Authentication with "+c.peer()+" was given up"), false
}

// unauthenticated is the end of AUTH with a refusal. The text of the reply is for the operator only, without the secret
// that a server might repeat.
func (c *conn) unauthenticated(name, mechanism, user string, said []string) *failure {
	r := c.in.reply()
	what := "the server refuses the credential: check user and secret, then send SIGHUP; mail waits"
	if r.Transient() {
		what = "the server cannot authenticate now; mail waits"
	}
	c.o.Log.Error("not authenticated: "+what, "credential", name, "user", user, "mechanism", mechanism, "relay", c.relay, "reply", conceal(r, said))
	if r.Code == 421 {
		return c.hush(c.refused())
	}
	status := fmt.Sprintf("%d %s", r.Code, r.Enhanced)
	return failed("4.7.8", fmt.Sprintf("%s did not authenticate this server (%s)", c.peer(), strings.TrimSpace(status)))
}

// hush takes the server's words out of a failure.
func (c *conn) hush(f *failure) *failure {
	if f.remote {
		f.reply.Text = c.peer() + " ended the session in the course of authentication"
	}
	return f
}

// conceal is a reply without what was said, in the form that was secret or that it was sent in.
func conceal(r mail.Reply, said []string) string {
	text := r.String()
	for _, s := range said {
		if s = strings.TrimRight(s, "="); s != "" && strings.Contains(text, s) {
			return fmt.Sprintf("%d %s (its text repeats what was sent)", r.Code, r.Enhanced)
		}
	}
	return text
}
