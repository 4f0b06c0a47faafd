package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd"
)

type sinkCmd struct {
	Listen  string `required:"" placeholder:"HOST:PORT" help:"Where to listen; port 0 takes a free one."`
	LMTP    bool   `name:"lmtp" help:"Speak LMTP."`
	Dir     string `placeholder:"DIR" help:"Write messages to DIR/1.eml, DIR/2.eml ... instead of showing them."`
	Count   int64  `placeholder:"N" help:"End after N messages."`
	Reply   string `placeholder:"'CODE TEXT'" help:"Refuse with this reply, 4yz or 5yz."`
	At      string `placeholder:"VERB" enum:"connect,ehlo,mail,rcpt,data,message" default:"rcpt" help:"Where to refuse: connect, ehlo, mail, rcpt, data or message; default ${default}."`
	Verbose bool   `help:"Show sessions and refusals too."`
}

func (c *sinkCmd) Run(e *env) error {
	chain, err := c.policy()
	if err != nil {
		return err
	}
	if c.Dir != "" {
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			return exit{exCantCreat, err}
		}
	}
	level := slog.LevelWarn
	if c.Verbose {
		level = slog.LevelDebug
	}
	host, err := os.Hostname()
	if _, bad := mail.ParseDomain(host); err != nil || bad != nil {
		host = "localhost"
	}
	ctx, stop := context.WithCancel(e.ctx)
	defer stop()
	intake := &sink{out: e.out, dir: c.Dir, limit: c.Count, full: stop}
	role := smtpd.MX
	if c.LMTP {
		role = smtpd.LMTP
	}
	server, err := smtpd.New(smtpd.Options{
		Hostname: host, Listener: "sink", Role: role, MaxSize: 1 << 40, MaxRecipients: hook.MaxRecipients,
		MaxSessions: -1, MaxSessionsPerAddress: -1, EarlyTalkerDelay: -1, ErrorBudget: 1 << 30,
		Source: hook.Static(chain), Intake: intake, Log: event.NewLog(event.NewLineHandler(e.err, host, level)),
	})
	if err != nil {
		return exit{exSoftware, err}
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return exitf(exUnavailable, "--listen %s: %w", c.Listen, err)
	}
	fmt.Fprintf(e.err, "wasmta sink listens on %s\n", l.Addr())
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if server.Shutdown(grace) == nil {
			err = <-done
		}
	}
	if err != nil {
		return exit{exSoftware, err}
	}
	return nil
}

// policy accepts every recipient, and refuses where it was told to.
func (c *sinkCmd) policy() (hook.Chain, error) {
	at, refusal := hook.Rcpt, hook.Verdict{Action: hook.Accept}
	if c.Reply != "" {
		at, _ = hook.ParseStage(c.At) // enum in the flag
		code, text, _ := strings.Cut(c.Reply, " ")
		n, err := strconv.Atoi(code)
		if err != nil || n < 400 || n > 599 {
			return nil, exitf(exUsage, "--reply %q: write a code 400 to 599 and a text, such as '451 4.2.1 Busy'", c.Reply)
		}
		r := mail.Reply{Code: n}
		r.Enhanced, r.Text, _ = mail.ParseEnhanced(text)
		refusal = hook.Verdict{Action: hook.Reject, Reply: &r}
		if n < 500 {
			refusal.Action = hook.Defer
		}
	}
	return hook.Chain{{Name: "sink", Stages: hook.Stages(hook.Rcpt, at), OnError: hook.FailReject,
		Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
			if e.Stage == at {
				return refusal, nil
			}
			return hook.Verdict{Action: hook.Accept}, nil
		})}}, nil
}

// sink takes messages and shows them, or writes them to files.
type sink struct {
	dir   string
	limit int64 // 0: none
	full  func()
	ids   atomic.Uint64

	mu  sync.Mutex // guards out and n
	out io.Writer
	n   int64
}

// Begin implements smtpd.Intake. The body waits in a file, whatever its size.
func (s *sink) Begin(context.Context) (smtpd.Draft, error) {
	f, err := os.CreateTemp(s.dir, ".wasmta-sink-*")
	if err != nil {
		return nil, err
	}
	return &sinkDraft{sink: s, body: f, id: mail.FirstID(time.Now()) + mail.ID(s.ids.Add(1))}, nil
}

type sinkDraft struct {
	sink *sink
	id   mail.ID
	body *os.File
	size int64
}

func (d *sinkDraft) ID() mail.ID { return d.id }
func (d *sinkDraft) Size() int64 { return d.size }

func (d *sinkDraft) Write(p []byte) (int, error) {
	n, err := d.body.Write(p)
	d.size += int64(n)
	return n, err
}

func (d *sinkDraft) ReadAt(p []byte, off int64) (int, error) { return d.body.ReadAt(p, off) }

func (d *sinkDraft) Abort() {
	d.body.Close()
	os.Remove(d.body.Name())
}

func (d *sinkDraft) Commit(_ context.Context, env mail.Envelope, header []byte, _ string) error {
	s := d.sink
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.n + 1
	if s.limit > 0 && n > s.limit {
		return mail.ReplyShutdown()
	}
	var err error
	if s.dir == "" {
		err = s.show(n, env, header, io.NewSectionReader(d.body, 0, d.size), d.size)
	} else {
		err = s.write(n, env, header, io.NewSectionReader(d.body, 0, d.size))
	}
	if err != nil {
		return err
	}
	d.Abort() // the body was only waiting here
	if s.n = n; n == s.limit {
		s.full()
	}
	return nil
}

// envelope prints what MAIL and RCPT said.
func (s *sink) envelope(n int64, env mail.Envelope) {
	p := func(format string, args ...any) { fmt.Fprintln(s.out, visible(fmt.Sprintf(format, args...))) }
	c := env.Client
	note := ""
	if c.TLS != nil {
		note = " tls"
	}
	p("=== message %d from %s helo %s%s", n, c.Remote, c.Helo, note)
	m := env.MailParams
	line := fmt.Sprintf("MAIL FROM:<%s>", env.ReversePath)
	for _, f := range []struct{ key, value string }{{"BODY", m.Body.String()}, {"RET", m.Return.String()}, {"ENVID", m.EnvID}} {
		if f.value != "" {
			line += " " + f.key + "=" + f.value
		}
	}
	if m.SMTPUTF8 {
		line += " SMTPUTF8"
	}
	p("%s", line)
	for _, r := range env.Recipients {
		line := fmt.Sprintf("RCPT TO:<%s>", r.ForwardPath)
		if r.Notify != 0 {
			line += " NOTIFY=" + r.Notify.String()
		}
		if r.Orcpt != "" {
			line += " ORCPT=" + r.OrcptType + ";" + r.Orcpt
		}
		p("%s", line)
	}
}

// show prints a message; lines that are longer than any should be are shown in
// pieces.
func (s *sink) show(n int64, env mail.Envelope, header []byte, body io.Reader, size int64) error {
	s.envelope(n, env)
	printLines(s.out, "", string(header))
	r := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := r.ReadSlice('\n')
		printLines(s.out, "", string(line))
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
	_, err := fmt.Fprintf(s.out, "=== end of message %d, %d octets\n", n, int64(len(header))+size)
	return err
}

func (s *sink) write(n int64, env mail.Envelope, header []byte, body io.Reader) error {
	f, err := os.CreateTemp(s.dir, ".wasmta-sink-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(header); err == nil {
		_, err = io.Copy(f, body)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	path := filepath.Join(s.dir, fmt.Sprintf("%d.eml", n))
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	s.envelope(n, env)
	_, err = fmt.Fprintf(s.out, "=== written to %s\n", path)
	return err
}
