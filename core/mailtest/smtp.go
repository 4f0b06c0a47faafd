package mailtest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Replies that are none.
const (
	Silent     = "\x00silent"     // says nothing and goes on
	Hang       = "\x00hang"       // says nothing and reads nothing more
	Disconnect = "\x00disconnect" // closes the connection
)

// Script says how an SMTP server behaves. The zero value is an ESMTP server on a loopback address that takes every
// message.
//
// A reply is sent as it stands, with CRLF if it does not end in LF. Sending 421 closes the connection. Verbs are
// CONNECT (the greeting), EHLO, HELO, LHLO, STARTTLS, MAIL, RCPT, DATA, BDAT, "." (the end of the content), RSET, NOOP
// and QUIT, in upper case. With LMTP "." is asked once for each accepted recipient.
type Script struct {
	LMTP    bool
	Address string      // host:port to listen on; empty: 127.0.0.1 and a free port
	Unix    bool        // listen on a unix socket instead
	TLS     *tls.Config // offers STARTTLS
	// Extensions are the EHLO keywords with their parameters, without STARTTLS. nil: PIPELINING, 8BITMIME, SMTPUTF8,
	// DSN and ENHANCEDSTATUSCODES.
	Extensions []string
	// Reply, if not nil, is asked first; empty: as usual.
	Reply func(Command) string
	// Replies by verb, or by verb and path such as "RCPT <b@example.net>" and, with LMTP, ". <b@example.net>".
	Replies map[string]string
	// Delays before the reply, by verb.
	Delays map[string]time.Duration
	// Stall, for DATA, stops reading the content after so many octets until the server ends; 0: never.
	Stall int
	// Hangup, for DATA, closes the connection after so many octets of content; 0: never.
	Hangup int
	// Auth, if not nil, has the conversation of AUTH and gives the reply to its end. What is offered is for Extensions to say.
	Auth func(*Auth) (reply string)
	// Forget counts messages without keeping them, for benchmarks.
	Forget bool
}

// Command is a command as it came, with the state of its session.
type Command struct {
	Session  int // 1 for the first connection
	Messages int // taken in this session so far
	TLS      bool
	Verb     string
	Arg      string // what follows the verb and a blank
}

// Auth is a conversation of AUTH (RFC 4954).
type Auth struct {
	Command
	Mechanism string
	Initial   []byte               // the initial response; nil: none came
	State     *tls.ConnectionState // nil: clear text
	// Challenge sends a challenge and returns the response; ok is false if the client gave up, or sent no base64.
	Challenge func(challenge []byte) (response []byte, ok bool)
}

// Received is a message that the server took.
type Received struct {
	Session    int
	Helo       string
	TLS        bool
	Auth       string // mechanism; empty: not authenticated
	Remote     string // address of the client, host:port
	From       string // with angle brackets
	FromParams string // what follows the path
	To         []string
	ToParams   []string
	Content    []byte // without dot-stuffing
	Wire       []byte // with dot-stuffing and terminator; with BDAT the chunks without their commands
	Chunks     int    // 0: sent with DATA
}

// SMTP is a scripted server. It ends with its test.
type SMTP struct {
	Addr string // host:port, or the path of the unix socket
	Host string // 127.0.0.1
	Port uint16

	script  Script
	l       net.Listener
	running sync.WaitGroup
	done    chan struct{}

	mu       sync.Mutex
	sessions int
	count    int
	received []Received
	wire     map[int]*bytes.Buffer
	commands []string
	open     map[net.Conn]bool
}

// ServeSMTP starts a server that follows the script.
func ServeSMTP(t testing.TB, script Script) *SMTP {
	t.Helper()
	if script.Unix {
		script.Address = filepath.Join(t.TempDir(), "s")
	}
	s, err := NewSMTP(script)
	if err != nil {
		t.Fatalf("mailtest: SMTP server: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// NewSMTP starts a server that is no test's. Close ends it. With Script.Unix, Script.Address is the path of the socket.
func NewSMTP(script Script) (*SMTP, error) {
	s := &SMTP{script: script, done: make(chan struct{}), open: make(map[net.Conn]bool), wire: make(map[int]*bytes.Buffer)}
	if script.Extensions == nil {
		s.script.Extensions = []string{"PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"}
	}
	network, addr := "tcp", script.Address
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	if script.Unix {
		network = "unix"
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return nil, err
	}
	s.l, s.Addr = l, l.Addr().String()
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		s.Host, s.Port = a.IP.String(), uint16(a.Port)
	}
	s.running.Go(s.accept)
	return s, nil
}

// Close ends the server and its connections. It may be called before the test ends, to take the server away.
func (s *SMTP) Close() {
	s.mu.Lock()
	select {
	case <-s.done:
	default:
		close(s.done)
	}
	s.mu.Unlock()
	s.l.Close()
	s.Drop()
	s.running.Wait()
}

// Drop closes the open connections; the server goes on.
func (s *SMTP) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.Close()
	}
}

// Connections is how many connections came so far.
func (s *SMTP) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions
}

// Count is how many messages were taken.
func (s *SMTP) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Messages are the messages taken so far.
func (s *SMTP) Messages() []Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.received)
}

// Commands are all command lines so far, of all sessions.
func (s *SMTP) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

// Bytes is what the client sent in a session, after STARTTLS decrypted.
func (s *SMTP) Bytes(session int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.wire[session]; b != nil {
		return slices.Clone(b.Bytes())
	}
	return nil
}

func (s *SMTP) accept() {
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.sessions++
		p := &peer{s: s, conn: c, cmd: Command{Session: s.sessions}, remote: c.RemoteAddr().String()}
		s.open[c] = true
		s.wire[p.cmd.Session] = new(bytes.Buffer)
		s.mu.Unlock()
		select {
		case <-s.done:
			c.Close()
		default:
		}
		s.running.Go(func() {
			p.serve()
			c.Close()
			s.mu.Lock()
			delete(s.open, c)
			s.mu.Unlock()
		})
	}
}

// peer is one session.
type peer struct {
	s    *SMTP
	conn net.Conn
	in   *bufio.Reader
	out  *bufio.Writer
	cmd  Command
	msg  Received
	mail bool
	auth string

	remote string
}

var errClosing = errors.New("closing")

func (p *peer) serve() {
	p.setConn(p.conn)
	if p.say("CONNECT", "", "220 mx.test ESMTP") != nil {
		p.out.Flush()
		return
	}
	for {
		if p.in.Buffered() == 0 && p.out.Flush() != nil {
			return
		}
		line, err := p.in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, arg, _ := strings.Cut(line, " ")
		verb = strings.ToUpper(verb)
		if !p.s.script.Forget {
			p.s.mu.Lock()
			p.s.commands = append(p.s.commands, line)
			p.s.mu.Unlock()
		}
		if p.command(verb, arg) != nil {
			p.out.Flush()
			return
		}
	}
}

// setConn reads from and writes to c from now on.
func (p *peer) setConn(c net.Conn) {
	p.conn = c
	var r io.Reader = c
	if !p.s.script.Forget {
		r = &tee{p.s, c, p.cmd.Session}
	}
	p.in, p.out = bufio.NewReaderSize(r, 64<<10), bufio.NewWriter(c)
}

type tee struct {
	s       *SMTP
	c       net.Conn
	session int
}

func (t *tee) Read(b []byte) (int, error) {
	n, err := t.c.Read(b)
	t.s.mu.Lock()
	t.s.wire[t.session].Write(b[:n])
	t.s.mu.Unlock()
	return n, err
}

func (p *peer) command(verb, arg string) error {
	switch verb {
	case "EHLO", "HELO", "LHLO":
		p.msg.Helo = arg
		p.reset()
		reply := "250 mx.test"
		if (verb == "LHLO") != p.s.script.LMTP {
			reply = "500 5.5.1 Wrong protocol"
		} else if verb != "HELO" {
			lines := append([]string{"mx.test"}, p.s.script.Extensions...)
			if p.s.script.TLS != nil && !p.cmd.TLS {
				lines = append(lines, "STARTTLS")
			}
			last := len(lines) - 1
			reply = ""
			for _, l := range lines[:last] {
				reply += "250-" + l + "\r\n"
			}
			reply += "250 " + lines[last]
		}
		return p.say(verb, arg, reply)
	case "STARTTLS":
		return p.startTLS()
	case "AUTH":
		return p.authenticate(arg)
	case "MAIL":
		p.reset()
		p.msg.From, p.msg.FromParams = path(arg)
		ok, err := p.ask("MAIL", arg, p.msg.From, "250 2.1.0 Ok")
		p.mail = ok
		return err
	case "RCPT":
		if !p.mail {
			return p.say("RCPT", arg, "503 5.5.1 MAIL first")
		}
		to, params := path(arg)
		ok, err := p.ask("RCPT", arg, to, "250 2.1.5 Ok")
		if ok {
			p.msg.To, p.msg.ToParams = append(p.msg.To, to), append(p.msg.ToParams, params)
		}
		return err
	case "DATA":
		reply := "354 Go on"
		if len(p.msg.To) == 0 {
			reply = "503 5.5.1 RCPT first"
		}
		said := p.reply("DATA", arg, "", reply)
		if err := p.send("DATA", said); err != nil || !strings.HasPrefix(said, "354") {
			return err
		}
		if err := p.out.Flush(); err != nil {
			return err
		}
		if err := p.content(); err != nil {
			return err
		}
		return p.end()
	case "BDAT":
		return p.chunk(arg)
	case "RSET":
		p.reset()
		return p.say(verb, arg, "250 2.0.0 Ok")
	case "NOOP":
		return p.say(verb, arg, "250 2.0.0 Ok")
	case "QUIT":
		if err := p.say(verb, arg, "221 2.0.0 Bye"); err != nil {
			return err
		}
		return errClosing
	}
	return p.say(verb, arg, "500 5.5.2 What?")
}

func (p *peer) reset() {
	p.mail = false
	p.msg = Received{Session: p.cmd.Session, Helo: p.msg.Helo, TLS: p.cmd.TLS, Auth: p.auth, Remote: p.remote}
}

// path splits "FROM:<a@b> PARAMS".
func path(arg string) (path, params string) {
	_, arg, _ = strings.Cut(arg, ":")
	if i := strings.LastIndexByte(arg, '>'); i >= 0 {
		return arg[:i+1], strings.TrimPrefix(arg[i+1:], " ")
	}
	return arg, ""
}

func (p *peer) authenticate(arg string) error {
	if p.s.script.Auth == nil {
		return p.say("AUTH", arg, "502 5.5.1 No AUTH here")
	}
	a := &Auth{Command: p.cmd}
	a.Verb, a.Arg = "AUTH", arg
	mechanism, initial, has := strings.Cut(arg, " ")
	a.Mechanism = strings.ToUpper(mechanism)
	if has {
		b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(initial, "="))
		if err != nil {
			return p.send("AUTH", "501 5.5.2 Not base64")
		}
		a.Initial = b
	}
	if c, ok := p.conn.(*tls.Conn); ok {
		s := c.ConnectionState()
		a.State = &s
	}
	var broken error
	a.Challenge = func(challenge []byte) ([]byte, bool) {
		if broken = p.send("AUTH", "334 "+base64.StdEncoding.EncodeToString(challenge)); broken == nil {
			broken = p.out.Flush()
		}
		if broken != nil {
			return nil, false
		}
		var line string
		if line, broken = p.in.ReadString('\n'); broken != nil {
			return nil, false
		}
		response, err := base64.StdEncoding.DecodeString(strings.TrimRight(line, "\r\n"))
		return response, err == nil
	}
	reply := p.s.script.Auth(a)
	if broken != nil {
		return broken
	}
	if strings.HasPrefix(reply, "235") {
		p.auth = a.Mechanism
	}
	return p.send("AUTH", reply)
}

func (p *peer) startTLS() error {
	if p.s.script.TLS == nil {
		ok, err := p.ask("STARTTLS", "", "", "502 5.5.1 No TLS here")
		if ok && err == nil { // it says 220, and then speaks something else
			p.out.Flush()
			p.in.Peek(1)
			p.out.WriteString("HTTP/1.1 400 Bad Request\r\n\r\n")
			err = errClosing
		}
		return err
	}
	said := p.reply("STARTTLS", "", "", "220 2.0.0 Go on")
	if err := p.send("STARTTLS", said); err != nil || !strings.HasPrefix(said, "220") {
		return err
	}
	if err := p.out.Flush(); err != nil {
		return err
	}
	c := tls.Server(p.conn, p.s.script.TLS)
	if err := c.Handshake(); err != nil {
		return err
	}
	p.cmd.TLS = true
	p.setConn(c)
	p.reset()
	return nil
}

// content reads up to CRLF.CRLF.
func (p *peer) content() error {
	atStart := true // of a line that follows CRLF
	got := 0
	for {
		line, err := p.in.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
		got += len(line)
		if p.s.script.Stall > 0 && got >= p.s.script.Stall {
			<-p.s.done
			return errClosing
		}
		if p.s.script.Hangup > 0 && got >= p.s.script.Hangup {
			return errClosing
		}
		last := atStart && string(line) == ".\r\n"
		if !p.s.script.Forget {
			p.msg.Wire = append(p.msg.Wire, line...)
			if !last {
				if atStart && line[0] == '.' {
					p.msg.Content = append(p.msg.Content, line[1:]...)
				} else {
					p.msg.Content = append(p.msg.Content, line...)
				}
			}
		}
		if last {
			return nil
		}
		atStart = err == nil && bytes.HasSuffix(line, []byte("\r\n"))
	}
}

func (p *peer) chunk(arg string) error {
	size, last, _ := strings.Cut(arg, " ")
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || n < 0 || last != "" && !strings.EqualFold(last, "LAST") {
		p.say("BDAT", arg, "501 5.5.4 Bad size")
		return errClosing
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(p.in, b); err != nil {
		return err
	}
	if len(p.msg.To) == 0 {
		return p.say("BDAT", arg, "503 5.5.1 RCPT first")
	}
	p.msg.Content = append(p.msg.Content, b...)
	p.msg.Wire = p.msg.Content
	p.msg.Chunks++
	if last == "" {
		return p.say("BDAT", arg, "250 2.0.0 Chunk taken")
	}
	return p.end()
}

// end replies to the end of the content and keeps the message.
func (p *peer) end() error {
	taken := false
	to := p.msg.To
	if !p.s.script.LMTP {
		to = []string{""}
	}
	said := make([]string, len(to))
	for i, rcpt := range to {
		said[i] = p.reply(".", "", rcpt, "250 2.0.0 Ok: queued as TEST")
		taken = taken || strings.HasPrefix(said[i], "2")
	}
	if taken {
		p.s.mu.Lock()
		p.s.count++
		if !p.s.script.Forget {
			p.s.received = append(p.s.received, p.msg)
		}
		p.s.mu.Unlock()
		p.cmd.Messages++
	}
	p.reset()
	for _, r := range said {
		if err := p.send(".", r); err != nil {
			return err
		}
	}
	return nil
}

// reply is what the script says to a command.
func (p *peer) reply(verb, arg, path, usual string) string {
	if p.s.script.Reply != nil {
		c := p.cmd
		c.Verb, c.Arg = verb, arg
		if c.Arg == "" {
			c.Arg = path
		}
		if r := p.s.script.Reply(c); r != "" {
			return r
		}
	}
	if r := p.s.script.Replies[verb+" "+path]; r != "" {
		return r
	}
	if r := p.s.script.Replies[verb]; r != "" {
		return r
	}
	return usual
}

func (p *peer) say(verb, arg, usual string) error {
	_, err := p.ask(verb, arg, "", usual)
	return err
}

// ask replies, and tells whether the reply was positive.
func (p *peer) ask(verb, arg, path, usual string) (ok bool, err error) {
	r := p.reply(verb, arg, path, usual)
	return strings.HasPrefix(r, "2"), p.send(verb, r)
}

func (p *peer) send(verb, reply string) error {
	if d := p.s.script.Delays[verb]; d > 0 {
		p.out.Flush()
		select {
		case <-time.After(d):
		case <-p.s.done:
			return errClosing
		}
	}
	switch reply {
	case Silent:
		return nil
	case Hang:
		p.out.Flush()
		<-p.s.done
		return errClosing
	case Disconnect:
		return errClosing
	}
	if _, err := p.out.WriteString(reply); err != nil {
		return err
	}
	if !strings.HasSuffix(reply, "\n") {
		p.out.WriteString("\r\n")
	}
	if strings.HasPrefix(reply, "421") {
		return errClosing
	}
	return nil
}
