package main

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/admin"
	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/trace"
)

type explainCmd struct {
	configFlag
	ID   string `arg:"" help:"Queue id, or session id as in log lines."`
	JSON bool   `name:"json" help:"Print one JSON object per event."`
}

// Run asks the server, and reads its trace where none runs.
func (c *explainCmd) Run(e *env) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	p := page{e: e, json: c.JSON, id: c.ID}
	err = p.print(admin.NewClient(cfg.Admin.Socket, cfg.Admin.HTTP).Explain(e.ctx, c.ID))
	if errors.Is(err, admin.ErrNoServer) {
		p.offline = true
		return p.read(filepath.Join(cfg.DataDir, "trace"))
	}
	return err
}

// page prints an explanation.
type page struct {
	e       *env
	json    bool
	offline bool
	id      string
	day     string
	shown   int
	queued  bool
}

func (p *page) read(dir string) error {
	r, err := trace.ReadDir(dir, p.id)
	switch {
	case errors.Is(err, trace.ErrID):
		return exitf(exDataErr, "%q: %v", p.id, err)
	case err != nil:
		return exitf(exNoInput, "%s: %v; no server runs, and its trace in %s was looked at", p.id, err, dir)
	}
	return p.print(func(yield func(admin.Explanation, error) bool) {
		for i := range r.Events {
			if !yield(admin.Explanation{Event: &r.Events[i]}, nil) {
				return
			}
		}
		for _, n := range append(r.Notices, "no server runs: this is what its trace holds") {
			if !yield(admin.Explanation{Notice: n}, nil) {
				return
			}
		}
	})
}

func (p *page) print(lines iter.Seq2[admin.Explanation, error]) error {
	for x, err := range lines {
		switch {
		case err != nil:
			return err
		case p.json:
			if err := printJSON(p.e.out, x); err != nil {
				return exit{exIOErr, err}
			}
		case x.Event != nil:
			p.event(x.Event)
		case x.Now != nil:
			p.now(x.Now)
		case x.Notice != "":
			fmt.Fprintf(p.e.out, "note: %s\n", visible(x.Notice))
		}
	}
	if _, err := mail.ParseID(p.id); err == nil && !p.json && !p.queued && !p.offline {
		fmt.Fprintln(p.e.out, "\nnot in the queue")
	}
	return nil
}

func (p *page) now(i *admin.Item) {
	p.queued = true
	if i.Damaged != "" {
		fmt.Fprintf(p.e.out, "\nin the queue: item %d, damaged: %s\n", i.Item, visible(i.Damaged))
		return
	}
	text := i.State
	if !i.Due.IsZero() {
		text += ", due " + i.Due.Local().Format(timeLayout)
	}
	if i.NextHop != "" {
		text += ", pinned to " + i.NextHop
	}
	if i.Reason != "" {
		text += ": " + i.Reason
	}
	fmt.Fprintf(p.e.out, "\nin the queue: item %d for %s, %s\n", i.Item, visible(i.Domain), visible(text))
	for _, r := range i.Recipients {
		fmt.Fprintf(p.e.out, "    <%s>\n", visible(r.Address))
	}
}

// event prints one event: a line with the time, and lines that belong to it.
func (p *page) event(e *trace.Event) {
	at := e.Time.Local()
	if day := at.Format("2006-01-02"); day != p.day {
		if p.shown > 0 {
			fmt.Fprintln(p.e.out)
		}
		p.day = day
		fmt.Fprintln(p.e.out, at.Format("2006-01-02 MST"))
	}
	p.shown++
	head, more := describe(e)
	fmt.Fprintf(p.e.out, "%s  %s\n", at.Format("15:04:05.000"), visible(head))
	for _, line := range more {
		fmt.Fprintf(p.e.out, "%18s%s\n", "", visible(line))
	}
}

// describe is an event in words. What came from elsewhere is in it as it came.
func describe(e *trace.Event) (head string, more []string) {
	add := func(format string, args ...any) { more = append(more, fmt.Sprintf(format, args...)) }
	to := strings.Join(e.To, " ")
	switch e.Event {
	case "connect":
		head = fmt.Sprintf("connect: %s, listener %s, session %s", e.Client, e.Listener, e.Session)
		if e.Proxy != "" {
			head += ", through the proxy " + e.Proxy
		}
	case "tls":
		head = "TLS: " + cmp.Or(e.TLS, "failed: "+e.Error)
	case "helo":
		head = e.Verb + " " + e.Helo
	case "auth":
		head = fmt.Sprintf("AUTH %s", e.Mechanism)
		if e.User != "" {
			head += fmt.Sprintf(", user %q", e.User)
		}
		if e.Status == "ok" {
			head += fmt.Sprintf(": authenticated as %q", e.Identity)
		} else {
			head += ": failed: " + e.Detail
		}
		head += byPlugin(e.By)
	case "hook":
		verdict := e.Verdict
		if e.Error != "" {
			verdict = "FAILED"
			add("error: %s", e.Error)
			add("on_error = %q: %s stands for its answer", e.OnError, e.Verdict)
		}
		head = fmt.Sprintf("hook %s: %s: %s, %s (%s)", e.Stage, e.Plugin, verdict, short(e.Took), who(e))
		if e.Reply != "" {
			add("reply: %s", e.Reply)
		}
		for _, c := range e.Changes {
			add("changed: %s", c)
		}
		if e.Detail != "" {
			add("%s", e.Detail)
		}
	case "log":
		head = fmt.Sprintf("log of %s at %s: %s: %s", e.Plugin, e.Stage, e.Level, e.Detail)
	case "mail":
		head = "MAIL FROM:" + e.From
		if e.Size > 0 {
			head += fmt.Sprintf(" SIZE=%d", e.Size)
		}
		head += blank(e.Detail)
	case "rcpt":
		head = "RCPT TO:" + to + blank(e.Detail)
	case "reply":
		head = "replied"
		if e.Stage != "" {
			head += " to " + e.Stage + blank(to)
		}
		head += ": " + e.Reply + byPlugin(e.By)
	case "discard":
		head = "discarded" + blank(to) + byPlugin(e.By)
	case "accept":
		head = fmt.Sprintf("accepted as %s: %s, %s, durable after %s", e.Message, count(int(e.Size), "octet"), count(int(e.Recipients), "recipient"), short(e.Took))
		if e.Detail != "" {
			add("held: %s", e.Detail)
		}
	case "abort":
		head = "transaction ends without a message: " + e.Detail
	case "route":
		head = fmt.Sprintf("route: %s, by %s%s", strings.Join(e.NextHops, ", "), e.By, item(e))
		add("for %s", to)
	case "attempt":
		head = fmt.Sprintf("attempt %d: %s: %s, %s%s", e.Attempt, strings.Join(e.NextHops, ", "), e.Status, short(e.Took), item(e))
		add("for %s", to)
		for _, line := range e.Earlier {
			add("first %s", line)
		}
		if e.Relay != "" {
			add("relay %s", e.Relay+talked(e))
		}
		if e.RemoteMTA != "" {
			add("%s said: %s", e.RemoteMTA, e.Reply)
		} else {
			add("this server says: %s", e.Reply)
		}
	case "outcome":
		head = fmt.Sprintf("%s: %s%s%s", to, e.Status, byPlugin(e.By), item(e))
		add("%s", e.Reply)
	case "retry":
		head = fmt.Sprintf("deferred after %s: due %s%s", count(int(e.Attempt), "attempt"), e.Due.Local().Format(timeLayout), item(e))
	case "hold":
		head = "held: " + e.Detail + item(e)
	case "notify":
		head = fmt.Sprintf("notification (%s) for %s: %s", e.Verb, to, e.Notice)
	case "notice":
		head = fmt.Sprintf("this is a notification (%s) about %s", e.Verb, e.Notice)
	case "operator":
		head = "operator: " + e.Verb
		if e.Detail != "" {
			head += ": " + e.Detail
		}
		head += item(e)
	case "gone":
		head = "nothing is left of the message: it leaves the queue"
	case "close":
		head = "session ends: " + e.Detail
	case "more":
		head = count(int(e.Count), "more event") + ", not kept"
	default: // of a later server
		head = e.Event + blank(e.Detail)
	}
	return head, more
}

// talked tells how the session went in which a reply was had; nothing if there
// was none.
func talked(e *trace.Event) string {
	if e.Connect == 0 && e.Transmit == 0 {
		return ""
	}
	if len(e.NextHops) == 1 && (strings.HasPrefix(e.NextHops[0], "maildir:") || e.NextHops[0] == "discard") {
		return ", done in " + short(e.Transmit) // no host is asked
	}
	connected := "on a connection that was open"
	if e.Connect > 0 {
		connected = "connected in " + short(e.Connect)
	}
	return fmt.Sprintf(", %s; %s, answered in %s", cmp.Or(e.TLS, "no TLS"), connected, short(e.Transmit))
}

func blank(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}

func byPlugin(name string) string {
	if name == "" {
		return ""
	}
	return ", by plugin " + name
}

// who is what answered for a plugin.
func who(e *trace.Event) string {
	if e.Module == "" {
		return "generation " + e.Generation
	}
	return "generation " + e.Generation + ", module " + e.Module
}

func item(e *trace.Event) string {
	if e.Item == 0 {
		return ""
	}
	return fmt.Sprintf(" (item %d)", e.Item)
}

// short is a duration with as many digits as matter.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.String()
}
