package scene

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func discard() *log.Logger { return log.New(io.Discard, "", 0) }

// Target is the server under test.
type Target struct {
	Addr string        // where it takes mail for anyone
	Log  func() string // what it has logged so far
	Home string        // a directory with a Maildir for each user of home.lab.test, where bounces go
}

// Result is what came of a message to a row.
type Result struct {
	Row    Row
	Outage bool // the message after the outage
	Want   Want
	Got    string // status and how it came
	Reply  string // of the log
	Faults []string
}

// Passed tells whether it is as the row wants it.
func (r Result) Passed() bool { return len(r.Faults) == 0 }

// Check sends one message to each row, and to those with an outage another one afterwards. It takes until the last
// outcome is logged; what is not when ctx ends is a fault.
func (s *Scene) Check(ctx context.Context, t Target) ([]Result, error) {
	results, err := s.round(ctx, t, s.Rows, false)
	if err != nil {
		return nil, err
	}
	var later []Row
	for _, r := range s.Rows {
		if r.Outage != nil {
			if err := s.outage(r); err != nil {
				return nil, err
			}
			later = append(later, r)
		}
	}
	more, err := s.round(ctx, t, later, true)
	return append(results, more...), err
}

func (s *Scene) round(ctx context.Context, t Target, rows []Row, outage bool) ([]Result, error) {
	before := make(map[string]int)
	user := func(r Row) string {
		if outage {
			return "second"
		}
		return cmp.Or(r.User, "first")
	}
	c, err := dial(ctx, t.Addr)
	if err != nil {
		return nil, fmt.Errorf("the server under test: %w", err)
	}
	defer c.Close()
	for _, r := range rows {
		before[r.Name] = s.count(r)
		if err := send(c, r, user(r)); err != nil {
			return nil, fmt.Errorf("the server under test refused a message to %s: %w", r.Domain(), err)
		}
	}
	var results []Result
	for _, r := range rows {
		o := await(ctx, t, user(r)+"@"+r.Domain())
		want := r.Want
		if outage {
			want = *r.Outage
		}
		results = append(results, s.judge(ctx, t, r, outage, want, o, before[r.Name]))
	}
	return results, nil
}

func dial(ctx context.Context, addr string) (*textproto.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	c := textproto.NewConn(conn)
	if _, _, err := c.ReadResponse(220); err != nil {
		c.Close()
		return nil, err
	}
	return c, say(c, 250, "EHLO client.%s", Zone)
}

func say(c *textproto.Conn, code int, format string, args ...any) error {
	if err := c.PrintfLine(format, args...); err != nil {
		return err
	}
	_, _, err := c.ReadResponse(code)
	return err
}

func send(c *textproto.Conn, r Row, user string) error {
	from := r.Name + "@home." + Zone
	params := ""
	if strings.ContainsFunc(user, func(c rune) bool { return c >= 0x80 }) {
		params = " SMTPUTF8"
	}
	if err := say(c, 250, "MAIL FROM:<%s>%s", from, params); err != nil {
		return err
	}
	if err := say(c, 250, "RCPT TO:<%s@%s>", user, r.Domain()); err != nil {
		return err
	}
	if err := say(c, 354, "DATA"); err != nil {
		return err
	}
	return say(c, 250, "From: %s\r\nTo: %s@%s\r\nSubject: %s\r\nMessage-ID: <%d.%s>\r\n\r\n%s\r\n.", from, user, r.Domain(), r.What, time.Now().UnixNano(), from, strings.Repeat(r.What+"\r\n", 3))
}

// outcome is a line of the log about a recipient.
type outcome struct{ relay, dsn, status, reply string }

// await returns the last outcome for a recipient once there is one.
func await(ctx context.Context, t Target, to string) outcome {
	line := regexp.MustCompile(`to=<` + regexp.QuoteMeta(to) + `>, relay=(.*?), delay=.*, dsn=([0-9.]+), status=(\w+) \((.*)\)`)
	for {
		if all := line.FindAllStringSubmatch(t.Log(), -1); len(all) > 0 {
			m := all[len(all)-1]
			return outcome{m[1], m[2], m[3], m[4]}
		}
		select {
		case <-ctx.Done():
			return outcome{}
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// count is how many messages a row's exchangers took.
func (s *Scene) count(r Row) (n int) {
	for _, x := range s.servers[r.Name] {
		if x != nil {
			n += x.Count()
		}
	}
	return n
}

func (s *Scene) judge(ctx context.Context, t Target, r Row, outage bool, want Want, o outcome, before int) Result {
	res := Result{Row: r, Outage: outage, Want: want, Got: o.status, Reply: o.dsn + " " + o.reply}
	fault := func(format string, args ...any) { res.Faults = append(res.Faults, fmt.Sprintf(format, args...)) }
	if o.status == "" {
		fault("nothing is known of the message yet")
	} else if o.status != want.Status {
		fault("%s, want %s", o.status, want.Status)
	}
	if !strings.Contains(res.Reply, want.Reply) {
		fault("the reply is not %s", want.Reply)
	}

	// What the exchangers saw.
	clear, by, overTLS := 0, 0, false
	for i, x := range s.servers[r.Name] {
		if x == nil {
			continue
		}
		clear += int(x.clear.Load())
		if all := x.Messages(); len(all) > 0 {
			by, overTLS = i+1, all[len(all)-1].TLS
		}
	}
	switch n := s.count(r) - before; {
	case want.Status != Sent && n != 0:
		fault("the message arrived, and must not have")
	case want.Status != Sent:
	case n != 1:
		fault("%d messages arrived, want 1", n)
	case want.By != 0 && by != want.By:
		fault("mx%d took it, want mx%d", by, want.By)
	case want.TLS == TLS && !overTLS, want.TLS == Clear && overTLS:
		fault("it came over TLS: %v", overTLS)
	}
	if want.Status == Sent && s.count(r) > before {
		res.Got = fmt.Sprintf("sent, mx%d, %s", by, map[bool]string{true: "TLS", false: "clear text"}[overTLS])
	}
	if want.TLS == TLS && clear > 0 {
		fault("%d times MAIL was said in clear text", clear)
	}
	if want.Status == Bounced && t.Home != "" && bounce(ctx, t.Home, r) == "" {
		fault("the sender got no notification")
	}
	return res
}

// bounce waits for the notification that a row's sender gets.
func bounce(ctx context.Context, home string, r Row) string {
	for {
		files, _ := filepath.Glob(filepath.Join(home, r.Name, "new", "*"))
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), "-status\r\n") {
				return f
			}
		}
		select {
		case <-ctx.Done():
			return ""
		case <-time.After(20 * time.Millisecond):
		}
	}
}
