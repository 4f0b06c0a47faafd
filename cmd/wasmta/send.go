package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

type sendCmd struct {
	Server string   `required:"" placeholder:"HOST:PORT" help:"The server; port 25 if left out."`
	From   string   `required:"" placeholder:"A" help:"Reverse-path; <> is the null one."`
	To     []string `required:"" sep:"none" placeholder:"B" help:"Forward-path; may be given again."`
	Helo   string   `placeholder:"NAME" help:"Name to give in EHLO; default: this machine's."`
	TLS    string   `name:"tls" enum:"none,starttls,implicit" default:"none" help:"none, starttls or implicit; certificates are shown, not demanded."`
	Header []string `sep:"none" placeholder:"'NAME: V'" help:"Header field to add or replace; may be given again."`
	Body   string   `placeholder:"TEXT" help:"Body of a generated message."`
	Quiet  bool     `help:"Do not show the dialogue."`
	File   string   `arg:"" optional:"" help:"Message; default: standard input, or a generated one."`
}

// maxSend is the largest message that is sent, in octets.
const maxSend = 512 << 20

func (c *sendCmd) Run(e *env) error {
	from, to, err := c.paths()
	if err != nil {
		return exit{exDataErr, err}
	}
	if c.Helo == "" {
		if c.Helo, err = os.Hostname(); err != nil || strings.ContainsFunc(c.Helo, func(r rune) bool { return r > 0x7e }) {
			c.Helo = "localhost"
		}
	}
	if _, err := mail.ParseDomain(c.Helo); err != nil {
		return exitf(exDataErr, "--helo %q: %w", c.Helo, err)
	}
	source, err := c.source(e)
	if err != nil {
		return err
	}
	message, err := c.message(source, from, to, time.Now())
	if err != nil {
		return exit{exDataErr, err}
	}
	d := dialogue{out: e.out}
	if c.Quiet {
		d.out = io.Discard
	}
	return c.send(e.ctx, &d, from, to, message)
}

func (c *sendCmd) paths() (from mail.Path, to []mail.Path, err error) {
	if from, err = parsePath(c.From); err != nil {
		return from, nil, fmt.Errorf("--from %q: %w", c.From, err)
	}
	for _, text := range c.To {
		p, err := parsePath(text)
		if err == nil && p.IsNull() {
			err = errors.New("it is empty")
		}
		if err != nil {
			return from, nil, fmt.Errorf("--to %q: %w", text, err)
		}
		to = append(to, p)
	}
	return from, to, nil
}

// parsePath reads a path with or without its angle brackets.
func parsePath(s string) (mail.Path, error) {
	if !strings.HasPrefix(s, "<") {
		s = "<" + s + ">"
	}
	p, rest, err := mail.ParsePath(s)
	if err == nil && rest != "" {
		err = errors.New("something follows it")
	}
	return p, err
}

// source is the message as it was given; nil: none was.
func (c *sendCmd) source(e *env) ([]byte, error) {
	if c.Body != "" {
		if c.File != "" {
			return nil, exitf(exUsage, "--body and FILE contradict each other")
		}
		return nil, nil
	}
	if c.File != "" && c.File != "-" {
		return readFile(c.File, maxSend)
	}
	if info, err := e.in.Stat(); c.File == "" && (err != nil || info.Mode()&os.ModeCharDevice != 0) {
		return nil, nil // a terminal, or nothing
	}
	b, err := readAll(e.in, "standard input", maxSend)
	if len(b) == 0 {
		b = nil
	}
	return b, err
}

// message completes the source: CRLF, and the fields that RFC 5322 asks for.
func (c *sendCmd) message(source []byte, from mail.Path, to []mail.Path, now time.Time) ([]byte, error) {
	generated := source == nil
	if generated {
		text := c.Body
		if text == "" {
			text = "This is a test message of wasmta send."
		}
		source = []byte("\n" + text + "\n")
	}
	source = crlf(source)
	var scan mail.HeaderScanner
	end, _ := scan.Scan(source, true)
	if end > mail.MaxHeaderBytes {
		return nil, fmt.Errorf("the header section has %d octets; servers take %d", end, mail.MaxHeaderBytes)
	}
	h, err := mail.ParseHeader(source[:end])
	if err != nil {
		return nil, err
	}
	given := map[string]bool{}
	for _, f := range c.Header {
		name, value, ok := strings.Cut(f, ":")
		key := strings.ToLower(name)
		if i := h.Find(0, name); !ok {
			return nil, fmt.Errorf("--header %q: write 'Name: value'", f)
		} else if i >= 0 && !given[key] {
			err = h.Set(i, value, true)
		} else {
			err = h.Insert(-1, name, value, true)
		}
		if err != nil {
			return nil, fmt.Errorf("--header %q: %w", f, err)
		}
		given[key] = true
	}
	author := from.String()
	if from.IsNull() {
		author = "postmaster@" + c.Helo
	}
	recipients := make([]string, len(to))
	for i, p := range to {
		recipients[i] = p.String()
	}
	for _, f := range []struct {
		name, value string
		wanted      bool
	}{
		{"Date", now.Format("Mon, 02 Jan 2006 15:04:05 -0700"), true},
		{"From", author, true},
		{"To", strings.Join(recipients, ", "), h.Find(0, "Cc") < 0 && h.Find(0, "Bcc") < 0},
		{"Subject", "test " + now.Format(time.DateTime), generated},
		{"Message-ID", fmt.Sprintf("<%d.%s@%s>", now.UnixMilli(), rand.Text(), c.Helo), true},
	} {
		if f.wanted && h.Find(0, f.name) < 0 {
			if err := h.Insert(-1, f.name, f.value, true); err != nil {
				return nil, fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	head := h.Bytes()
	if !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		head = append(head, "\r\n"...)
	}
	return append(head, source[end:]...), nil
}

// crlf ends every line with CR LF. A CR that stands alone stays.
func crlf(b []byte) []byte {
	out := make([]byte, 0, len(b)+len(b)/32+2)
	for len(b) > 0 {
		line, rest, found := bytes.Cut(b, []byte("\n"))
		if found {
			line = bytes.TrimSuffix(line, []byte("\r"))
		}
		out = append(append(out, line...), '\r', '\n')
		b = rest
	}
	return out
}

// send speaks to the server. The exit code is that of the worst reply.
func (c *sendCmd) send(ctx context.Context, d *dialogue, from mail.Path, to []mail.Path, message []byte) error {
	address := c.Server
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.Trim(address, "[]")
		address = net.JoinHostPort(host, "25")
	}
	dial := net.Dialer{Timeout: 30 * time.Second}
	conn, err := dial.DialContext(ctx, "tcp", address)
	if err != nil {
		var unknown *net.DNSError
		if errors.As(err, &unknown) && unknown.IsNotFound {
			return exitf(exNoHost, "host %q is unknown: %w", host, err)
		}
		return exitf(exTempFail, "no connection to %s: %w", address, err)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	d.use(conn)
	defer func() { d.conn.Close() }()
	d.note("connected to %s", conn.RemoteAddr())
	if c.TLS == "implicit" {
		if err := d.startTLS(ctx, host); err != nil {
			return err
		}
	}
	if _, err := d.reply("banner", 220); err != nil {
		return d.quit(err)
	}
	ehlo, err := d.command(250, "EHLO %s", c.Helo)
	if r := new(replyError); errors.As(err, &r) && r.code/100 == 5 {
		ehlo, err = d.command(250, "HELO %s", c.Helo)
	}
	if err == nil && c.TLS == "starttls" {
		if _, err = d.command(220, "STARTTLS"); err == nil {
			if err = d.startTLS(ctx, host); err == nil {
				ehlo, err = d.command(250, "EHLO %s", c.Helo)
			}
		}
	}
	if err != nil {
		return d.quit(err)
	}
	params, err := parameters(offers(ehlo), from, to, message)
	if err != nil {
		return d.quit(err)
	}
	if _, err := d.command(250, "MAIL FROM:<%s>%s", from, params); err != nil {
		return d.quit(err)
	}
	var worst error
	taken := 0
	for _, p := range to {
		_, err := d.command(25, "RCPT TO:<%s>", p)
		if err == nil {
			taken++
		}
		if worst = worse(worst, err); broken(err) {
			return d.quit(err)
		}
	}
	if taken == 0 {
		return d.quit(worst)
	}
	if _, err := d.command(354, "DATA"); err != nil {
		return d.quit(worse(worst, err))
	}
	return d.quit(worse(worst, d.content(message)))
}

// offers are the keywords of an EHLO reply.
func offers(lines []string) map[string]bool {
	all := map[string]bool{}
	for i, l := range lines {
		if word, _, _ := strings.Cut(l, " "); i > 0 {
			all[strings.ToUpper(word)] = true
		}
	}
	return all
}

// parameters are those of MAIL that the message needs or the server likes.
func parameters(offered map[string]bool, from mail.Path, to []mail.Path, message []byte) (string, error) {
	s := ""
	if offered["SIZE"] {
		s += fmt.Sprintf(" SIZE=%d", len(message))
	}
	if bytes.ContainsFunc(message, func(r rune) bool { return r >= 0x80 }) && offered["8BITMIME"] {
		s += " BODY=8BITMIME"
	}
	needs := from.NeedsUTF8()
	for _, p := range to {
		needs = needs || p.NeedsUTF8()
	}
	if needs && !offered["SMTPUTF8"] {
		return "", exitf(exDataErr, "an address needs SMTPUTF8, which the server does not offer")
	}
	if needs {
		s += " SMTPUTF8"
	}
	return s, nil
}

// startTLS shows what the certificate is worth; a test tool does not insist.
func (d *dialogue) startTLS(ctx context.Context, host string) error {
	verdict := "verified"
	conn := tls.Client(d.conn, &tls.Config{ServerName: host, InsecureSkipVerify: true})
	d.deadline()
	if err := conn.HandshakeContext(ctx); err != nil {
		return exitf(exProtocol, "TLS handshake: %w", err)
	}
	state := conn.ConnectionState()
	if err := verify(state, host); err != nil {
		verdict = "not verified: " + err.Error()
	}
	d.use(conn)
	d.note("%s, %s, certificate of %s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), state.PeerCertificates[0].Subject, verdict)
	return nil
}
