package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/admin"
	"github.com/wasmta/wasmta/core/config"
)

// client reads the configuration to find the running server.
func (c configFlag) client() (*admin.Client, error) {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return nil, err
	}
	return admin.NewClient(cfg.Admin.Socket, cfg.Admin.HTTP), nil
}

type queueCmd struct {
	List    listCmd    `cmd:"" help:"List queue items with the last reply for each recipient."`
	Show    showCmd    `cmd:"" help:"Show one message: envelope, header, every attempt."`
	Hold    holdCmd    `cmd:"" help:"Keep items from being delivered."`
	Release releaseCmd `cmd:"" help:"Let held items be delivered."`
	Retry   retryCmd   `cmd:"" help:"Try items now."`
	Reroute rerouteCmd `cmd:"" help:"Pin items to another next hop and try them now."`
	Bounce  bounceCmd  `cmd:"" help:"Give items up and notify their senders."`
	Delete  deleteCmd  `cmd:"" help:"Drop items without a notification."`
	hopsCmds
	Rule ruleCmd `cmd:"" help:"Rules that hold mail that is yet to come."`
}

// selection is which queue items a command is about.
type selection struct {
	IDs       []string        `arg:"" optional:"" name:"id" help:"Queue ids."`
	Domain    string          `placeholder:"D" help:"Items for recipients in this domain."`
	Recipient string          `placeholder:"R" help:"Items for this forward-path, or with @DOMAIN for the domain."`
	Sender    string          `placeholder:"S" help:"Items of this reverse-path, with @DOMAIN of all in the domain; <> is the null one."`
	NextHop   string          `placeholder:"HOP" help:"Items that are pinned to this next hop or went there last: mx:DOMAIN, smtp:HOST:PORT ..."`
	Older     config.Duration `placeholder:"AGE" help:"Items that arrived longer ago than this: 4h, 5d."`
	Newer     config.Duration `placeholder:"AGE" help:"Items that arrived since then."`
	Attempts  int             `placeholder:"N" help:"Items with at least N attempts."`
	Reply     string          `placeholder:"TEXT" help:"Items with this text in their reason or last reply."`
	Mark      string          `placeholder:"PLUGIN/KEY[=VALUE]" help:"Items with this attribute, of the message or a recipient, which a plugin set."`
	Listener  string          `placeholder:"NAME" help:"Items that this listener took."`
	Client    string          `placeholder:"NET" help:"Items that came from this address or network."`
	Held      bool            `help:"Held items only."`
}

// admin is the selection as the control interface wants it.
func (s *selection) admin(now time.Time) admin.Selection {
	out := admin.Selection{
		IDs: s.IDs, Domain: s.Domain, Recipient: s.Recipient, Sender: s.Sender, Hop: s.NextHop,
		Attempts: s.Attempts, Text: s.Reply, Mark: s.Mark, Listener: s.Listener, Client: s.Client,
	}
	if s.Held {
		out.Held = &s.Held
	}
	if s.Older > 0 {
		t := now.Add(-s.Older.Std())
		out.Before = &t
	}
	if s.Newer > 0 {
		t := now.Add(-s.Newer.Std())
		out.Since = &t
	}
	return out
}

// actFlags are the flags of all acts.
type actFlags struct {
	configFlag
	selection
	All    bool `help:"All items."`
	DryRun bool `help:"Only count what would be changed."`
	JSON   bool `name:"json" help:"Print one JSON object."`
}

type holdCmd struct {
	actFlags
	Reason string `placeholder:"TEXT" help:"Why; shown with the item."`
}
type releaseCmd struct{ actFlags }
type retryCmd struct{ actFlags }
type rerouteCmd struct {
	actFlags
	To string `required:"" placeholder:"NEXTHOP" help:"As in a route: mx:DOMAIN, smtp:HOST:PORT, lmtp:HOST:PORT, lmtp:unix:PATH, maildir:PATH, discard; or the word route: back to routing."`
}
type bounceCmd struct {
	actFlags
	Reason string `placeholder:"TEXT" help:"Why; told to the sender."`
}
type deleteCmd struct {
	actFlags
	Yes bool `help:"Needed to delete all items."`
}

func (c *holdCmd) Run(e *env) error {
	return c.act(e, "hold", "held", admin.Request{Reason: c.Reason})
}
func (c *releaseCmd) Run(e *env) error { return c.act(e, "release", "released", admin.Request{}) }
func (c *retryCmd) Run(e *env) error   { return c.act(e, "retry", "due now", admin.Request{}) }
func (c *rerouteCmd) Run(e *env) error {
	return c.act(e, "reroute", "rerouted", admin.Request{NextHop: c.To})
}
func (c *bounceCmd) Run(e *env) error {
	return c.act(e, "bounce", "bounced", admin.Request{Reason: c.Reason})
}
func (c *deleteCmd) Run(e *env) error {
	if c.All && !c.Yes && !c.DryRun {
		return exitf(exUsage, "queue delete --all drops mail for good; add --yes if that is meant, or --dry-run to count")
	}
	return c.act(e, "delete", "deleted", admin.Request{})
}

// act applies an act to the selection and says what became of it.
func (c *actFlags) act(e *env, act, done string, r admin.Request) error {
	r.Selection = c.admin(time.Now())
	switch empty := r.Selection.Empty(); {
	case empty && !c.All:
		return exitf(exUsage, "queue %s: nothing is selected; give ids, --domain, --sender, --held or the like, or --all", act)
	case !empty && c.All:
		return exitf(exUsage, "queue %s: --all and a selection contradict each other", act)
	}
	r.All = c.All
	for _, id := range c.IDs {
		if _, err := admin.ParseID(id); err != nil {
			return exit{exDataErr, err}
		}
	}
	server, err := c.client()
	if err != nil {
		return err
	}
	r.DryRun = c.DryRun
	res, err := c.watch(e, server, act, r)
	if err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(e.out, res)
	} else {
		what := fmt.Sprintf("%s of %s", count(res.Matched, "item"), count(res.Messages, "message"))
		switch {
		case res.Matched == 0:
			fmt.Fprintln(e.out, "nothing matches")
		case res.DryRun:
			fmt.Fprintf(e.out, "%s would be %s\n", what, done)
		case res.Done == res.Matched:
			fmt.Fprintf(e.out, "%s: %s\n", what, done)
		default:
			fmt.Fprintf(e.out, "%s selected: %d %s, %d left the queue meanwhile, %d failed\n", what, res.Done, done, res.Gone, res.Failed)
		}
		for _, f := range res.Errors {
			fmt.Fprintf(e.err, "wasmta: %s: %s\n", f.ID, visible(f.Error))
		}
	}
	switch {
	case err != nil:
		return exit{exIOErr, err}
	case res.Failed > 0:
		return exit{code: exTempFail}
	case res.Missing > 0:
		return exit{code: exNoInput}
	}
	return nil
}

// watch has the act done and tells on standard error how far it is, if it takes
// long.
func (c *actFlags) watch(e *env, server *admin.Client, act string, r admin.Request) (res admin.Result, err error) {
	began := time.Now()
	for now, err := range server.Watch(e.ctx, act, r) {
		if err != nil && e.ctx.Err() == nil {
			return res, err
		} else if err != nil {
			break
		}
		switch res = now; {
		case res.Final:
			return res, nil
		case time.Since(began) < 2*time.Second:
		case res.Done+res.Gone+res.Failed == 0:
			fmt.Fprintf(e.err, "wasmta: %s so far\n", count(res.Matched, "item"))
		default:
			fmt.Fprintf(e.err, "wasmta: %d of %s\n", res.Done+res.Gone+res.Failed, count(res.Matched, "item"))
		}
	}
	if e.ctx.Err() != nil {
		return res, exitf(exTempFail, "interrupted after %d of %s; what was done stays done", res.Done, count(res.Matched, "item"))
	}
	return res, exitf(exTempFail, "the server ended before the act did, after %d of %s; what was done stays done", res.Done, count(res.Matched, "item"))
}

type listCmd struct {
	configFlag
	selection
	Limit int  `placeholder:"N" help:"At most N items."`
	JSON  bool `name:"json" help:"Print one JSON object per line."`
}

func (c *listCmd) Run(e *env) error {
	if c.Limit < 0 {
		return exitf(exUsage, "queue list: --limit %d: give a number of items; 0 or no --limit lists all", c.Limit)
	}
	server, err := c.client()
	if err != nil {
		return err
	}
	o := admin.ListOptions{Selection: c.admin(time.Now()), Limit: c.Limit}
	ids := c.IDs
	if len(ids) == 0 {
		ids = []string{""}
	}
	t := table{e: e, json: c.JSON}
	for _, o.ID = range ids {
		for item, err := range server.List(e.ctx, o) {
			if err == nil {
				err = t.add(item)
			}
			if err != nil {
				return err
			}
			if o.Limit > 0 && t.items == c.Limit {
				return t.end()
			}
		}
		if c.Limit > 0 {
			o.Limit = c.Limit - t.items
		}
	}
	return t.end()
}

const timeLayout = "2006-01-02 15:04:05"

// table prints queue items as mailq does, those of a message together.
type table struct {
	e                           *env
	json                        bool
	items, messages, recipients int
	octets                      int64
	last                        string
}

func (t *table) add(i admin.Item) error {
	if t.json {
		t.items++
		return printJSON(t.e.out, i)
	}
	if t.items == 0 {
		fmt.Fprintf(t.e.out, "%-13s %10s  %-19s  %s\n", "Queue ID", "Size", "Arrival", "Sender, recipients, last reply")
	}
	t.items++
	if i.Damaged != "" {
		fmt.Fprintf(t.e.out, "%-13s damaged: %s\n", i.ID+"?", visible(i.Damaged))
		return nil
	}
	mark := " "
	if i.State == "held" {
		mark = "!"
	}
	if i.ID != t.last {
		t.messages++
		t.octets += i.Size
		fmt.Fprintf(t.e.out, "%-13s %10d  %-19s  %s\n", i.ID+mark, i.Size, i.Arrived.Local().Format(timeLayout), visible(i.Sender))
	}
	t.last = i.ID
	var notes []string
	if i.State == "held" {
		notes = append(notes, "held")
	} else if i.Attempts > 0 {
		notes = append(notes, fmt.Sprintf("%s, next %s", count(i.Attempts, "attempt"), i.Due.Local().Format(timeLayout)))
	}
	if i.NextHop != "" {
		notes = append(notes, "to "+i.NextHop)
	}
	if i.Reason != "" && !slices.ContainsFunc(i.Recipients, func(r admin.Recipient) bool { return r.Reply == i.Reason }) {
		notes = append(notes, i.Reason)
	}
	if len(notes) > 0 {
		fmt.Fprintf(t.e.out, "%26s[%s]\n", "", visible(strings.Join(notes, "; ")))
	}
	for _, r := range i.Recipients {
		t.recipients++
		fmt.Fprintf(t.e.out, "%26s%s\n", "", visible(r.Address))
		if r.Reply != "" {
			fmt.Fprintf(t.e.out, "%28s(%s)\n", "", visible(r.Reply))
		}
	}
	return nil
}

func (t *table) end() error {
	switch {
	case t.json:
	case t.items == 0:
		fmt.Fprintln(t.e.out, "nothing in the queue matches")
	default:
		fmt.Fprintf(t.e.out, "-- %s, %s, %d octets\n", count(t.messages, "message"), count(t.recipients, "recipient"), t.octets)
	}
	return nil
}

type showCmd struct {
	configFlag
	ID   string `arg:"" help:"Queue id."`
	JSON bool   `name:"json" help:"Print one JSON object."`
}

func (c *showCmd) Run(e *env) error {
	if _, err := admin.ParseID(c.ID); err != nil {
		return exit{exDataErr, err}
	}
	server, err := c.client()
	if err != nil {
		return err
	}
	m, err := server.Show(e.ctx, c.ID)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(e.out, m)
	}
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(e.out, "%-10s %s\n", key+":", visible(value))
		}
	}
	when := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Local().Format(timeLayout)
	}
	marks := func(key string, m map[string]string) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			line(key, fmt.Sprintf("%s=%.200q", k, m[k]))
		}
	}
	line("id", m.ID)
	line("sender", m.Sender)
	line("size", count(int(m.Size), "octet"))
	line("arrived", when(m.Arrived))
	line("client", strings.TrimSpace(m.Session.PTR+" "+m.Session.Remote))
	line("helo", m.Session.Helo)
	line("listener", m.Session.Listener)
	line("user", m.Session.Auth)
	line("tls", m.Session.TLS)
	line("session", m.Session.ID)
	line("envid", m.EnvID)
	line("ret", m.Ret)
	line("body", m.Body)
	if m.SMTPUTF8 {
		line("smtputf8", "yes")
	}
	if m.RequireTLS {
		line("requiretls", "yes")
	}
	line("holdfor", when(m.HoldUntil))
	if m.Priority != 0 {
		line("priority", fmt.Sprint(m.Priority))
	}
	if !m.By.IsZero() {
		mode := ", else notify"
		if m.ByReturn {
			mode = ", else return"
		}
		line("by", when(m.By)+mode)
	}
	marks("mark", m.Marks)
	for _, i := range m.Items {
		fmt.Fprintf(e.out, "\nitem %d for %s\n", i.Item, visible(i.Domain))
		if i.Damaged != "" {
			line("  damaged", i.Damaged)
			continue
		}
		line("  state", i.State)
		line("  due", when(i.Due))
		line("  expires", when(i.Expire))
		line("  pinned", i.NextHop)
		line("  last hop", i.LastHop)
		if i.Priority != 0 {
			line("  priority", fmt.Sprint(i.Priority))
		}
		line("  reason", i.Reason)
		for _, r := range i.Recipients {
			line("  to", r.Address)
			line("   was", r.Original)
			line("   notify", r.Notify)
			line("   orcpt", r.ORCPT)
			line("   rrvs", when(r.ValidSince))
			marks("   mark", r.Marks)
			line("   reply", r.Reply)
		}
		if i.Attempts > 0 {
			line("  attempts", fmt.Sprint(i.Attempts))
		}
		for _, a := range i.History {
			fmt.Fprintf(e.out, "  %s attempt: %s %s\n    %s\n", when(a.At), visible(a.Status), visible(a.Relay), visible(a.Reply))
		}
	}
	fmt.Fprintln(e.out)
	printLines(e.out, "", m.Header)
	return nil
}
