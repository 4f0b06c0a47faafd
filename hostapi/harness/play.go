package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
	passwords "github.com/wasmta/wasmta/hostapi/password"
)

// Played is what a step came to.
type Played struct {
	Step    int      `json:"step"` // 1 for the first
	Line    int      `json:"line"` // of the scenario; 0: not known
	Do      string   `json:"do"`
	What    string   `json:"what,omitempty"` // the step's main fact
	Verdict string   `json:"verdict"`        // action and reply, "failed: why", or "-" if the plugin was not asked
	Hook    string   `json:"hook,omitempty"` // that gave it
	Log     []string `json:"log,omitempty"`
	OK      bool     `json:"ok"`
	Faults  []string `json:"faults,omitempty"` // what was wanted and what came

	Failure *engine.CallError `json:"-"` // of the plugin, if it failed
	skipped bool              // nothing was there to do it with
}

// Play plays the steps of the subject's scenario, from a world as the scenario
// gives it. It ends early with the context's error.
func (s *Subject) Play(ctx context.Context) ([]Played, error) { return s.play(ctx, s.scenario.Steps) }

func (s *Subject) play(ctx context.Context, steps []Step) ([]Played, error) {
	s.h.use(s.world)
	if err := s.world.reset(); err != nil {
		return nil, err
	}
	p := &player{Subject: s, ctx: ctx, chain: hook.Chain{{
		Name: s.plugin.Name(), Generation: s.plugin.Generation(), Stages: s.plugin.Stages(), OnError: s.onError(), Handler: s.plugin,
	}}}
	defer p.end()
	list := make([]Played, 0, len(steps))
	for i := range steps {
		if err := ctx.Err(); err != nil {
			return list, context.Cause(ctx)
		}
		s.world.step()
		p.answer = answered{}
		t := &steps[i]
		out := Played{Step: i + 1, Line: t.line, Do: t.Do, What: t.what()}
		err := p.do(t)
		out.Hook, out.Verdict, out.Failure = p.answer.hook(), p.answer.String(), p.answer.failure
		out.Log = s.world.log
		out.skipped = err != nil
		if err != nil {
			out.Verdict, out.Faults = "-", []string{err.Error()}
		} else {
			out.Faults = p.compare(t)
		}
		out.OK = len(out.Faults) == 0
		list = append(list, out)
	}
	return list, nil
}

// onError is the operator's word, or else the manifest's.
func (s *Subject) onError() hook.FailurePolicy {
	spec := s.plugin.Spec()
	if wish, ok := s.plugin.OnError(); ok && !spec.OnErrorGiven {
		return wish
	}
	return spec.OnError
}

// what is the fact by which a reader knows a step.
func (t *Step) what() string {
	switch t.Do {
	case "connect":
		return t.IP
	case "ehlo":
		return t.name()
	case "command":
		return strings.TrimSpace(t.Verb + " " + t.Arg)
	case "mail":
		return "<" + t.From + ">"
	case "rcpt":
		return fmt.Sprintf("<%v>", t.To)
	case "wait":
		return t.For
	case "attr":
		return t.Key
	case "result":
		return t.Reply
	case "attempt":
		return strings.Join(t.NextHops, " ")
	case "message":
		return t.File
	}
	return t.Domain
}

// player plays the part of the server.
type player struct {
	*Subject
	ctx   context.Context
	chain hook.Chain

	talk    *hook.Conversation // of the session; nil: there is none
	client  mail.Client
	facts   hook.Session
	tx      *hook.Transaction // nil: there is none
	asked   bool              // for DATA
	discard bool
	number  int

	taken *message // the last message that was accepted
	queue *delivery

	answer answered
}

// message is what the queue has.
type message struct {
	env    mail.Envelope
	header mail.Header
	body   []byte
}

// delivery is one entry of the queue on its way.
type delivery struct {
	talk     *hook.Conversation
	tx       hook.Transaction
	content  hook.Content
	delivery hook.Delivery
}

// answered is what came of a step, and where it shows.
type answered struct {
	stage   hook.Stage
	asked   bool
	outcome hook.Outcome
	failure *engine.CallError
	event   *hook.Event
}

func (a *answered) hook() string {
	if !a.asked {
		return ""
	}
	return a.stage.String()
}

func (a *answered) action() string {
	switch {
	case a.failure != nil:
		return "failed"
	case !a.asked:
		return "none"
	}
	return a.outcome.Action.String()
}

// reply is what an SMTP client would hear of the verdict; nil: the server's own.
func (a *answered) reply() *mail.Reply {
	if !a.asked || a.outcome.NoReply {
		return nil
	}
	return a.outcome.ReplyAt(a.stage)
}

func (a *answered) String() string {
	switch {
	case a.failure != nil:
		return fmt.Sprintf("failed: %s: %s", a.failure.Fault, a.failure.Detail)
	case !a.asked:
		return "-"
	}
	s := a.outcome.Action.String()
	if r := a.reply(); r != nil {
		s += " " + strings.ReplaceAll(r.String(), "\n", " | ")
	}
	if a.outcome.NoReply {
		s += " silently"
	}
	return s
}

// ask puts a question. Of several in a step the first that decides anything
// counts, or the last.
func (p *player) ask(talk *hook.Conversation, e *hook.Event) hook.Outcome {
	wanted := talk.Wants(e.Stage)
	if e.Stage != hook.Rcpt && e.Stage < hook.Route {
		e.Recipient = -1
	}
	before := p.answer
	decided := before.failure != nil || before.outcome.Action != hook.Continue
	if decided {
		p.answer = answered{}
	}
	if wanted || !p.answer.asked {
		p.answer.stage, p.answer.asked = e.Stage, wanted
	}
	p.answer.event = e
	o := talk.Ask(p.ctx, e)
	if wanted {
		p.answer.outcome = o
	}
	if failure := p.answer.failure; decided { // what follows only tells of the end
		p.answer = before
		if p.answer.failure == nil && failure != nil {
			p.answer.failure, p.answer.stage = failure, e.Stage
		}
	}
	return o
}

// forget makes what came of the end of something else no part of this step,
// unless it failed.
func (p *player) forget() {
	if p.answer.failure == nil {
		p.answer = answered{}
	}
}

func (p *player) open(t *Step) {
	addr := func(s, def string, port, other uint16) netip.AddrPort {
		a, err := netip.ParseAddr(s)
		if err != nil {
			a = netip.MustParseAddr(def)
		}
		if port == 0 {
			port = other
		}
		return netip.AddrPortFrom(a, port)
	}
	p.close("QUIT")
	p.number++
	listener := t.Listener
	if listener == "" {
		listener = "mx"
	}
	p.client = mail.Client{
		Session: fmt.Sprintf("S%d", p.number), Listener: listener, PTR: t.PTR, Auth: t.Auth, AuthUser: t.Auth, Arrived: p.world.time(),
		Remote: addr(t.IP, "192.0.2.1", t.Port, 40000), Local: addr(t.LocalIP, "198.51.100.1", t.LocalPort, 25),
	}
	p.facts = hook.Session{Client: &p.client, Attrs: mail.Attrs{}, Banner: "mx.example.org ESMTP"}
	p.talk = p.converse(listener)
}

// knows plays the end of SCRAM: whether the client has the password of the keys.
func knows(password string, keys *mail.ScramKeys) bool {
	if keys == nil {
		return false
	}
	ok, err := passwords.Check([]byte(keys.Text()), []byte(password))
	return err == nil && ok
}

func (p *player) converse(listener string) *hook.Conversation {
	return p.chain.Open(listener, func(f hook.Failure) {
		if p.answer.failure != nil {
			return
		}
		var c *engine.CallError
		if !errors.As(f.Err, &c) {
			c = &engine.CallError{Plugin: f.Plugin, Hook: f.Stage.String(), Fault: hostapi.FaultVerdict, Detail: f.Err.Error()}
		}
		p.answer.failure, p.answer.stage, p.answer.asked = c, f.Stage, true
	})
}

// abort ends a transaction that came to nothing.
func (p *player) abort(reason string) {
	if p.tx != nil {
		p.ask(p.talk, &hook.Event{Stage: hook.Reset, Session: &p.facts, Tx: p.tx, Reason: reason})
		p.finish()
	}
}

func (p *player) finish() {
	p.tx, p.asked, p.discard = nil, false, false
	p.talk.EndTransaction()
}

// close ends the session.
func (p *player) close(reason string) {
	if p.talk == nil {
		return
	}
	p.abort(reason)
	p.ask(p.talk, &hook.Event{Stage: hook.Close, Session: &p.facts, Reason: reason})
	p.talk.Close()
	p.talk = nil
}

// end closes what is open without asking anybody.
func (p *player) end() {
	if p.talk != nil {
		p.talk.Close()
	}
	if p.queue != nil {
		p.queue.talk.Close()
	}
}

// refuses tells whether a verdict ends what it was asked about.
func refuses(o hook.Outcome) bool { return o.Action == hook.Reject || o.Action == hook.Defer }

func (p *player) do(t *Step) error {
	switch t.Do {
	case "wait":
		d, _ := time.ParseDuration(t.For) // checked
		p.world.wait(d)
		return nil
	case "tick":
		talk := p.converse("")
		defer talk.Close()
		p.ask(talk, &hook.Event{Stage: hook.Tick, Recipient: -1})
		return nil
	case "attr":
		return p.attr(t)
	case "route", "attempt", "result", "dsn":
		return p.deliver(t)
	case "connect":
		p.open(t)
		p.forget()
		if o := p.ask(p.talk, &hook.Event{Stage: hook.Connect, Session: &p.facts}); o.Action != hook.Continue && o.Action != hook.Accept {
			p.close("policy")
		}
		return nil
	}
	if p.talk == nil {
		p.open(&Step{})
	}
	e := &hook.Event{Session: &p.facts, Tx: p.tx}
	var o hook.Outcome
	switch t.Do {
	case "tls":
		p.client.TLS = &mail.TLS{Version: tlsVersions[t.Version], Cipher: t.Cipher, ServerName: t.SNI, Fingerprint: t.Fingerprint}
		p.facts.CertNames = t.Names
		if p.client.TLS.Cipher == "" {
			p.client.TLS.Cipher = "TLS_AES_128_GCM_SHA256"
		}
		p.client.Helo, p.client.ESMTP = "", false
		e.Stage = hook.TLS
		if o = p.ask(p.talk, e); o.Action != hook.Continue {
			p.close("policy")
		}
	case "ehlo":
		verb := t.Verb
		if verb == "" {
			verb = "EHLO"
		}
		p.abort(verb)
		p.forget()
		p.client.Helo, p.client.ESMTP = t.name(), verb != "HELO"
		p.facts.Extensions = []string{"PIPELINING", "SIZE 52428800", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8", "CHUNKING", "DSN"}
		o = p.ask(p.talk, &hook.Event{Stage: hook.Ehlo, Session: &p.facts, Verb: verb, Arg: t.name()})
		if o.Action != hook.Continue && o.Action != hook.Accept {
			p.client.Helo, p.client.ESMTP = "", false
		}
	case "auth":
		p.client.Auth, p.client.AuthMech, p.client.AuthUser = "", "", ""
		c := &hook.Credentials{Mechanism: "EXTERNAL", User: t.Auth, AuthzID: t.AuthzID}
		if t.Password != "" {
			c.Mechanism, c.Password = "PLAIN", []byte(t.Password)
		}
		if t.Mechanism != "" {
			c.Mechanism = t.Mechanism
		}
		if c.WantsScram() {
			c.Password = nil
		}
		e.Stage, e.Verb, e.Arg, e.Auth = hook.Auth, "AUTH", c.Mechanism, c
		// As the server: no opinion authenticates nobody, and a client that wants to
		// act as somebody else needs a plugin that says so.
		if o = p.ask(p.talk, e); o.Action == hook.Accept && (c.ID != "" || c.AuthzID == "" || c.AuthzID == t.Auth) {
			if c.ID == "" {
				c.ID = t.Auth
			}
			if c.WantsScram() && !knows(t.Password, c.Scram) {
				break
			}
			p.client.Auth, p.client.AuthMech, p.client.AuthUser = c.ID, c.Mechanism, t.Auth
		}
	case "command":
		e.Stage, e.Verb, e.Arg = hook.Command, strings.ToUpper(t.Verb), t.Arg
		o = p.ask(p.talk, e)
	case "mail":
		if p.tx != nil {
			return errors.New("a transaction is open already: let message or reset end it")
		}
		path, params, _ := mail.ParseMail("<"+t.From+"> "+t.Params, all)
		p.number++
		p.talk.EndTransaction()
		p.tx = &hook.Transaction{ID: fmt.Sprintf("%s.%d", p.client.Session, p.number), Attrs: mail.Attrs{}, SizeLimit: 50 << 20,
			Envelope: mail.Envelope{ReversePath: path, MailParams: params, Client: p.client, Attrs: mail.Attrs{}}}
		e.Stage, e.Tx = hook.Mail, p.tx
		if o = p.ask(p.talk, e); refuses(o) {
			p.finish()
		}
		p.discard = o.Action == hook.Discard
	case "rcpt":
		if p.tx == nil {
			return errors.New("there is no transaction: mail was refused or is missing")
		}
		o = p.rcpt(t, e)
	case "data":
		if err := p.ready(); err != nil {
			return err
		}
		o = p.data(e)
	case "message":
		if err := p.ready(); err != nil {
			return err
		}
		return p.message(t)
	case "reset":
		reason := t.Reason
		if reason == "" {
			reason = "RSET"
		}
		e.Stage, e.Reason = hook.Reset, reason
		p.ask(p.talk, e)
		p.finish()
	case "close", "quit":
		reason := t.Reason
		if reason == "" {
			reason = "QUIT"
		}
		p.close(reason)
	}
	if o.Action == hook.Drop && p.talk != nil {
		p.close("policy")
	}
	return nil
}

func (p *player) rcpt(t *Step, e *hook.Event) hook.Outcome {
	path, params, _ := mail.ParseRcpt(t.rcptArg(), true, all)
	before := p.tx.Envelope.Recipients
	p.tx.Envelope.Recipients = append(slices.Clone(before), mail.Recipient{ForwardPath: path, RcptParams: params})
	e.Stage, e.Recipient = hook.Rcpt, len(before)
	o := p.ask(p.talk, e)
	switch {
	case refuses(o):
		p.tx.Envelope.Recipients = before
	case o.Action == hook.Discard:
		p.tx.Envelope.Recipients = slices.Delete(slices.Clone(p.tx.Envelope.Recipients), e.Recipient, e.Recipient+1)
	}
	return o
}

// ready tells whether a message can come.
func (p *player) ready() error {
	switch {
	case p.tx == nil:
		return errors.New("there is no transaction: mail was refused or is missing")
	case len(p.tx.Envelope.Recipients) == 0:
		return errors.New("there is no recipient: rcpt was refused or is missing")
	}
	return nil
}

func (p *player) data(e *hook.Event) hook.Outcome {
	p.asked = true
	e.Stage, e.Tx = hook.Data, p.tx
	o := p.ask(p.talk, e)
	if refuses(o) {
		p.abort("refused")
	}
	return o
}

// split parts a content into header section and body.
func split(content []byte) (mail.Header, []byte, error) {
	var find mail.HeaderScanner
	end, _ := find.Scan(content, true)
	h, err := mail.ParseHeader(bytes.Clone(content[:end]))
	return h, content[end:], err
}

// standard is the message that has no content of its own.
const standard = "From: <a@example.com>\r\nTo: <b@example.org>\r\nSubject: test\r\nMessage-ID: <1@example.com>\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n\r\ntext\r\n"

func (p *player) content(t *Step) (mail.Header, []byte, error) {
	b, ok, err := t.message(p.scenario.dir)
	if err != nil {
		return mail.Header{}, nil, err
	}
	if !ok {
		b = []byte(standard)
	}
	return split(b)
}

func (p *player) message(t *Step) error {
	header, body, err := p.content(t)
	if err != nil {
		return err
	}
	stop := func(o hook.Outcome) bool {
		if o.Action == hook.Drop {
			p.close("policy")
		} else if refuses(o) {
			p.abort("refused")
		}
		return o.Action == hook.Drop || refuses(o)
	}
	if !p.asked {
		if o := p.data(&hook.Event{Session: &p.facts}); refuses(o) || stop(o) {
			return nil
		}
	}
	if int64(header.Size())+int64(len(body)) > p.tx.SizeLimit {
		p.abort("refused")
		return errors.New("the message is larger than the limit of this transaction")
	}
	p.tx.Envelope.Client = p.client
	p.tx.Envelope.Client.Arrived = p.world.time()
	if p.discard {
		p.finish()
		return nil
	}
	content := &hook.Content{Header: header}
	if stop(p.ask(p.talk, &hook.Event{Stage: hook.Headers, Session: &p.facts, Tx: p.tx, Content: content})) {
		return nil
	}
	content.Body, content.BodySize = bytes.NewReader(body), int64(len(body))
	o := p.ask(p.talk, &hook.Event{Stage: hook.Message, Session: &p.facts, Tx: p.tx, Content: content})
	if stop(o) {
		return nil
	}
	if o.Action != hook.Discard && len(p.tx.Envelope.Recipients) > 0 {
		p.taken = &message{env: p.tx.Envelope, header: content.Header, body: body}
		if p.queue != nil {
			p.queue.talk.Close()
			p.queue = nil
		}
	}
	p.finish()
	return nil
}

// enter makes the queue entry that a step is about.
func (p *player) enter(t *Step) error {
	own := t.From != "" || t.To != nil || t.Domain != "" || t.Listener != ""
	if p.queue != nil && !own {
		_, ok, err := t.message(p.scenario.dir)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
	}
	m := p.taken
	if m == nil || t.From != "" || t.To != nil {
		header, body, err := p.content(t)
		if err != nil {
			return err
		}
		m = &message{header: header, body: body}
		m.env.Attrs = mail.Attrs{}
		m.env.Client = mail.Client{Session: "S0", Listener: "mx", Remote: netip.MustParseAddrPort("192.0.2.1:40000"),
			Local: netip.MustParseAddrPort("198.51.100.1:25"), Arrived: p.world.time()}
		from := t.From
		if from != "" {
			var reply *mail.Reply
			if m.env.ReversePath, _, reply = mail.ParseMail("<"+from+">", all); reply != nil {
				return fmt.Errorf("from = %q: %s", from, reply.Text)
			}
		}
		paths, err := t.paths()
		if err != nil {
			return err
		}
		if len(paths) == 0 {
			domain := t.Domain
			if domain == "" {
				domain = "example.org"
			}
			paths = []mail.Path{{Local: "b", Domain: domain}}
		}
		for _, path := range paths {
			m.env.Recipients = append(m.env.Recipients, mail.Recipient{ForwardPath: path})
		}
	}
	if t.Listener != "" {
		m.env.Client.Listener = t.Listener
	}
	domain := mail.DomainKey(t.Domain)
	if domain == "" {
		domain = m.env.Recipients[0].ForwardPath.DomainKey()
	}
	d := &delivery{}
	env := m.env
	env.Recipients = nil
	for _, r := range m.env.Recipients {
		if r.ForwardPath.DomainKey() == domain {
			env.Recipients = append(env.Recipients, r)
		}
	}
	if len(env.Recipients) == 0 {
		return fmt.Errorf("the message has no recipient at %q", domain)
	}
	now := p.world.time()
	id := mail.FirstID(now) + 1
	d.tx = hook.Transaction{ID: id.String(), Envelope: env, Attrs: mail.Attrs{}}
	d.content = hook.Content{Header: m.header, Body: bytes.NewReader(m.body), BodySize: int64(len(m.body))}
	d.delivery = hook.Delivery{ID: id, Domain: domain, Attempt: 1, Arrived: env.Client.Arrived, Expire: env.Client.Arrived.Add(5 * 24 * time.Hour)}
	if p.queue != nil {
		p.queue.talk.Close()
	}
	d.talk = p.converse(env.Client.Listener)
	p.queue = d
	return nil
}

// deliver plays the hooks of a queue entry.
func (p *player) deliver(t *Step) error {
	if err := p.enter(t); err != nil {
		return err
	}
	d := p.queue
	if t.Do == "route" { // a new turn of the queue
		d.talk.Close()
		d.talk = p.converse(d.tx.Envelope.Client.Listener)
		d.tx.Attrs = mail.Attrs{}
		d.delivery.NextHops, d.delivery.Retry, d.delivery.Results = nil, time.Time{}, nil
	}
	hops, err := t.hops()
	if err != nil {
		return err
	}
	if len(hops) > 0 {
		d.delivery.NextHops = hops
	}
	if len(d.delivery.NextHops) == 0 && (t.Do == "attempt" || t.Do == "result") {
		d.delivery.NextHops = []mail.NextHop{{Transport: mail.TransportMX, Host: d.delivery.Domain}}
	}
	stage, _ := hook.ParseStage(t.Do)
	if t.Reply != "" {
		r, err := t.reply()
		if err != nil {
			return err
		}
		host := t.Host
		if host == "" {
			host = "mx." + d.delivery.Domain
		}
		res := mail.Result{Outcome: mail.Delivered, Reply: r, RemoteMTA: host, Relay: host, Reached: true}
		switch r.Class() {
		case 4:
			res.Outcome = mail.Deferred
		case 5:
			res.Outcome = mail.Failed
		}
		d.delivery.Results = slices.Repeat([]mail.Result{res}, len(d.tx.Envelope.Recipients))
	}
	e := &hook.Event{Stage: stage, Tx: &d.tx, Content: &d.content, Delivery: &d.delivery, Recipient: -1}
	if len(d.tx.Envelope.Recipients) == 1 {
		e.Recipient = 0
	}
	stored := d.content
	p.ask(d.talk, e)
	if stage == hook.Attempt {
		shown := d.content
		e.Content = &shown // edits are for this attempt only
		d.content = stored
	}
	if stage == hook.Result && len(d.delivery.Results) > 0 {
		last := d.delivery.Results[0]
		d.delivery.Last = last
		d.delivery.History = append(d.delivery.History, mail.Attempt{At: p.world.time(), Relay: last.Relay, Result: last})
		d.delivery.Attempt++
	}
	return nil
}

// attr leaves an attribute, as another plugin would.
func (p *player) attr(t *Step) error {
	var e hook.Event
	switch {
	case p.queue != nil:
		e = hook.Event{Tx: &p.queue.tx, Recipient: -1}
		if len(p.queue.tx.Envelope.Recipients) == 1 {
			e.Recipient = 0
		}
	case p.talk == nil:
		p.open(&Step{})
		fallthrough
	default:
		e = hook.Event{Session: &p.facts, Tx: p.tx, Recipient: -1}
		if p.tx != nil {
			e.Recipient = len(p.tx.Envelope.Recipients) - 1
		}
	}
	if err := e.SetAttr(scopes[t.Scope], t.Key, []byte(t.Value)); err != nil {
		return fmt.Errorf("there is no scope %q here", t.Scope)
	}
	return nil
}
