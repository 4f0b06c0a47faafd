package plugintest

import (
	"crypto"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/internal/guest"
)

// Options say how the plugin is configured.
type Options struct {
	Name   string // default "plugin"
	Config string // [plugin.config] as a JSON object; default {}
	Script string // the section mta1.script of the module, of a plugin that is an interpreter
	Grant  Grant
	Now    int64 // the clock, in milliseconds since 1970; default the year 2026

	// What is given here is granted too.
	KV      bool                         // a memory; see [Plugin.Value]
	Tables  map[string]map[string]string // by name: values by key, in lower case, as the plugin looks them up
	Secrets map[string]string
	Topics  []string // of events that it may emit, or "*"

	// What the plugin finds outside. One that is nil is not granted; the names
	// of keys are those of the grant sign_keys.
	DNS       Zone
	HTTP      http.Handler             // answers every request; the places of a grant are not looked at
	SignKeys  map[string]crypto.Signer // of sign
	MACKeys   map[string][]byte        // of hmac
	Passwords map[string]string        // of password_verify, by hash: another hash is of no known format
}

// Grant is [plugin.grant]: none, read or write; empty is none. The envelope can
// always be read.
type Grant struct {
	Envelope, Headers, Body string
	AuthPassword            bool
	AttrsRead               []string // "plugin/key" or "plugin/*"
}

// Plugin is the plugin under test.
type Plugin struct {
	Log []string // what it logged, each line with its level: "info: text"
	Now int64    // the clock; set it to let time pass

	Events []Event // what it emitted

	o      Options
	t      testing.TB
	config map[string]string
	memory memory
}

// New initialises the plugin and fails the test if the plugin refuses.
func New(t testing.TB, o Options) *Plugin {
	t.Helper()
	p, err := Load(t, o)
	if err != nil {
		t.Fatalf("mta1_init: %v; log: %q", err, p.Log)
	}
	return p
}

// Load initialises the plugin. The error is what its mta1_init returned.
func Load(t testing.TB, o Options) (*Plugin, error) {
	t.Helper()
	if o.Name == "" {
		o.Name = "plugin"
	}
	if o.Config == "" {
		o.Config = "{}"
	}
	if o.Now == 0 {
		o.Now = 1767225600000
	}
	for _, g := range []string{o.Grant.Envelope, o.Grant.Headers, o.Grant.Body} {
		if g != "" && g != "none" && g != "read" && g != "write" {
			t.Fatalf("grant %q: write none, read or write", g)
		}
	}
	config, err := members(o.Config)
	if err != nil {
		t.Fatalf("Options.Config: %v", err)
	}
	p := &Plugin{Now: o.Now, o: o, t: t, config: config}
	h := &host{p: p, s: &Session{p: p}}
	var code int32
	if err := protect(func() { code = guest.Init(h) }); err != nil {
		return p, err
	}
	if code != 0 {
		return p, abi.Code(code)
	}
	return p, nil
}

// Session begins a session. Change its fields before the first hook if the
// test needs another client.
func (p *Plugin) Session() *Session {
	return &Session{
		p: p, ID: "s1", RemoteIP: "192.0.2.1", RemotePort: 40000, LocalIP: "198.51.100.1", LocalPort: 25, Listener: "mx",
		ESMTP: true, Connections: 1, view: view{banner: "ESMTP", extensions: []string{"PIPELINING", "8BITMIME"}, sizeLimit: 50 << 20},
	}
}

// Tick plays the hook tick, which has neither session nor message.
func (p *Plugin) Tick() Answer { return (&Session{p: p, ticking: true}).ask(tick) }

// Session is one connection, with at most one transaction at a time.
type Session struct {
	ID, RemoteIP, LocalIP, Listener, PTR, Helo string
	RemotePort, LocalPort                      int
	ESMTP, TLS                                 bool
	AuthID, AuthUser, AuthMechanism            string   // the authenticated identity, the name the client gave for it, and how
	Connections                                int      // open ones of this address; default 1
	ProxyIP                                    string   // of the proxy that spoke for the client
	CertificateNames                           []string // of the client's certificate, if it was verified
	SMTPUTF8                                   bool     // parameters of the next MAIL
	DeclaredSize                               int64

	p           *Plugin
	view        view
	inTx        bool
	hasContent  bool
	body        string
	verb, arg   string
	reason      string
	current     int // recipient, at rcpt
	credentials Credentials
	detached    bool
	detachedTx  bool
	delivery    *Delivery
	transaction int
	ticking     bool // it is none
}

// Connect plays the hook connect.
func (s *Session) Connect() Answer { return s.ask(connect) }

// StartTLS plays the hook tls.
func (s *Session) StartTLS() Answer {
	s.TLS = true
	return s.ask(tls)
}

// Ehlo plays the hook ehlo.
func (s *Session) Ehlo(name string) Answer {
	s.Helo, s.verb, s.arg = name, "EHLO", name
	return s.ask(ehlo)
}

// Credentials are what a client gives in a SASL exchange.
type Credentials struct {
	Mechanism string // default PLAIN
	User      string
	AuthzID   string // as whom it asks to act; empty: it does not
	// Password is what the client knows, or its token. The plugin reads it if
	// Options.Grant has AuthPassword, but not by SCRAM. Empty: the mechanism has none.
	Password string
}

// Authenticate plays the hook auth. If the plugin accepts, AuthID, AuthUser and
// AuthMechanism are set, but in one case: the client asks to act as somebody
// else, and the plugin does not say who it is by SetAuthID. The server refuses
// that. By SCRAM-SHA-256 the client must also have the password of the keys that
// the plugin sets: Options.Passwords has it, under their text.
func (s *Session) Authenticate(c Credentials) Answer {
	if c.Mechanism == "" {
		c.Mechanism = "PLAIN"
	}
	s.AuthID, s.AuthUser, s.AuthMechanism = "", "", ""
	s.credentials, s.view.authID, s.view.scram = c, "", ""
	s.verb, s.arg = "AUTH", c.Mechanism
	a := s.ask(auth)
	id := s.view.authID
	if want, known := s.p.o.Passwords[s.view.scram]; scram(c.Mechanism) && (!known || want != c.Password) {
		id, c.User = "", ""
	}
	s.credentials, s.view.authID, s.view.scram = Credentials{}, "", ""
	if id == "" && (c.AuthzID == "" || c.AuthzID == c.User) {
		id = c.User
	}
	if a.Err == nil && a.Action == abi.Accept && id != "" {
		s.AuthID, s.AuthUser, s.AuthMechanism = id, c.User, c.Mechanism
	}
	return a
}

// Login is Authenticate with a name and a password.
func (s *Session) Login(user, password string) Answer {
	return s.Authenticate(Credentials{User: user, Password: password})
}

// Auth is Authenticate by a mechanism that has no password.
func (s *Session) Auth(identity string) Answer {
	return s.Authenticate(Credentials{Mechanism: "EXTERNAL", User: identity})
}

// Command plays the hook command.
func (s *Session) Command(verb, argument string) Answer {
	s.verb, s.arg = strings.ToUpper(verb), argument
	return s.ask(command)
}

// Mail begins a transaction and plays the hook mail. The path has no brackets;
// it is empty for the null reverse-path.
func (s *Session) Mail(reversePath string) Answer {
	if reversePath != "" && !mailbox(reversePath, s.SMTPUTF8) {
		s.p.t.Helper()
		s.p.t.Fatalf("Mail: %q is not an address", reversePath)
	}
	s.end()
	s.inTx = true
	s.transaction++
	s.view.reversePath = reversePath
	a := s.ask(mailFrom)
	if a.refused() {
		s.end()
	}
	return a
}

// Rcpt plays the hook rcpt. The recipient stays in the list unless the answer
// refuses it; in the server a recipient that is not local also needs an accept.
func (s *Session) Rcpt(forwardPath string) Answer {
	s.p.t.Helper()
	s.needTx("Rcpt")
	if !mailbox(forwardPath, s.SMTPUTF8) {
		s.p.t.Fatalf("Rcpt: %q is not an address", forwardPath)
	}
	s.view.recipients = append(s.view.recipients, recipient{path: forwardPath})
	s.current = len(s.view.recipients) - 1
	a := s.ask(rcpt)
	if a.refused() {
		s.view.recipients = append(s.view.recipients[:s.current], s.view.recipients[s.current+1:]...)
	}
	return a
}

// Data plays the hook data.
func (s *Session) Data() Answer {
	s.p.t.Helper()
	s.needTx("Data")
	return s.ask(data)
}

// Message plays the hooks headers and message. The content has CRLF at its line
// ends. The answer is the first that is neither continue nor accept, or that of
// message.
func (s *Session) Message(content string) Answer {
	s.p.t.Helper()
	s.needTx("Message")
	s.view.header, s.body = splitContent(content)
	s.hasContent = true
	if a := s.ask(headers); a.refused() {
		return a
	}
	return s.ask(message)
}

// Reset plays the hook reset and ends the transaction.
func (s *Session) Reset(reason string) Answer {
	s.reason = reason
	a := s.ask(reset)
	s.end()
	return a
}

// Close plays the hook close and ends the session.
func (s *Session) Close(reason string) Answer {
	s.end()
	s.reason = reason
	return s.ask(closing)
}

// end forgets the transaction.
func (s *Session) end() {
	s.inTx, s.hasContent, s.detachedTx = false, false, false
	s.body, s.delivery = "", nil
	v := &s.view
	v.reversePath, v.recipients, v.header = "", nil, nil
	v.attrs[abi.ScopeTransaction], v.attrs[abi.ScopeMessage] = nil, nil
}

func (s *Session) needTx(what string) {
	s.p.t.Helper()
	if !s.inTx {
		s.p.t.Fatalf("%s needs a transaction: call Mail first", what)
	}
}

// Banner is the text of the 220 reply.
func (s *Session) Banner() string { return s.view.banner }

// Extensions are the EHLO keywords.
func (s *Session) Extensions() []string { return s.view.extensions }

// ReversePath is the reverse-path as it stands.
func (s *Session) ReversePath() string { return s.view.reversePath }

// Recipients are the forward-paths as they stand.
func (s *Session) Recipients() []string {
	var list []string
	for _, r := range s.view.recipients {
		list = append(list, r.path)
	}
	return list
}

// Header is the value of the first header field called name.
func (s *Session) Header(name string) string {
	if i := s.view.findHeader(0, name); i >= 0 {
		return s.view.header[i].value()
	}
	return ""
}

// RawHeader is the header section with its folds and the empty line.
func (s *Session) RawHeader() string { return s.view.rawHeader() }

// Body is the message's body as it stands.
func (s *Session) Body() string { return s.body }

// Attr is an attribute of the plugin, and whether it is set.
func (s *Session) Attr(scope abi.Scope, key string) (string, bool) {
	m := s.attrs(scope)
	if m == nil {
		return "", false
	}
	v, ok := (*m)[s.p.o.Name+"/"+key]
	return v, ok
}

// SetForeignAttr sets an attribute of another plugin, "plugin/key".
func (s *Session) SetForeignAttr(scope abi.Scope, key, value string) {
	s.p.t.Helper()
	m := s.attrs(scope)
	if m == nil {
		s.p.t.Fatalf("SetForeignAttr: there is no scope %d now", scope)
	}
	if *m == nil {
		*m = make(map[string]string)
	}
	(*m)[key] = value
}

// Delivery is the message of a session in the queue: its recipients of one
// domain.
type Delivery struct {
	Domain  string
	Attempt int // 1 for the first
	Code    int // of the last remote reply
	Text    string
	MX      string

	s      *Session
	action string // of the notification
}

// Deliver takes the session's message, as it was accepted, to the queue. No
// recipients or content are needed for it.
func (s *Session) Deliver(domain string) *Delivery {
	copied := *s
	copied.view = s.view.clone()
	copied.view.attrs[abi.ScopeSession], copied.view.attrs[abi.ScopeTransaction] = nil, nil
	copied.detached, copied.detachedTx, copied.inTx = false, false, true
	d := &Delivery{Domain: strings.ToLower(domain), Attempt: 1, s: &copied}
	copied.view.expire = s.p.Now + 5*24*3600*1000
	var mine []recipient
	for _, r := range copied.view.recipients {
		if _, domain := splitPath(r.path); domain == d.Domain {
			mine = append(mine, r)
		}
	}
	copied.view.recipients = mine
	copied.delivery = d
	return d
}

// Route plays the hook route.
func (d *Delivery) Route() Answer { return d.s.ask(route) }

// Try plays the hook attempt.
func (d *Delivery) Try() Answer { return d.s.ask(attempt) }

// Result plays the hook result after a remote reply, and counts the attempt.
func (d *Delivery) Result(code int, text string) Answer {
	d.Code, d.Text = code, text
	a := d.s.ask(result)
	d.Attempt++
	return a
}

// Notify plays the hook dsn for a notification to the sender: "failed",
// "delayed" or "delivered". With no sender there is none to be made.
func (d *Delivery) Notify(action string) Answer {
	d.action, d.s.view.dsnTo, d.s.view.dsnText = action, d.s.view.reversePath, ""
	return d.s.ask(dsn)
}

// Notification is whom it goes to, and the plugin's text; empty: the usual one.
func (d *Delivery) Notification() (to, text string) { return d.s.view.dsnTo, d.s.view.dsnText }

// Suspended is until when the plugin keeps messages from the next hop, in
// milliseconds since 1970; 0: it does not.
func (d *Delivery) Suspended() int64 { return d.s.view.suspend }

// NextHop is where the recipients go; empty: the plugin did not say.
func (d *Delivery) NextHop() string {
	if len(d.s.view.nextHops) == 0 {
		return ""
	}
	return d.s.view.nextHops[0].to
}

// SetNextHop says where the recipients go, for a test of attempt or result.
func (d *Delivery) SetNextHop(hop string) { d.s.view.nextHops = []nextHop{{to: hop}} }

// Retry is when the plugin wants the next attempt, in milliseconds since 1970;
// 0: it did not say.
func (d *Delivery) Retry() int64 { return d.s.view.retry }

// Header is the value of the first header field called name.
func (d *Delivery) Header(name string) string { return d.s.Header(name) }

// Answer is what a hook came to.
type Answer struct {
	Hook     string
	Asked    bool // false: the plugin does not subscribe, or was detached
	Action   abi.Action
	Flags    abi.Flag
	Code     int    // of its reply; 0: the server's default
	Enhanced string // of its reply
	Text     string // of its reply
	Err      error  // the plugin failed: on_error is the verdict

	t testing.TB
}

var actions = [...]string{"continue", "accept", "reject", "defer", "discard", "hold", "drop"}

// String is the action, then code, enhanced code and text of the reply as far
// as they were given: "reject 550 5.7.1 no". A failure is "failed: reason".
func (a Answer) String() string {
	if a.Err != nil {
		return "failed: " + a.Err.Error()
	}
	words := []string{actions[a.Action]}
	if a.Code != 0 {
		words = append(words, fmt.Sprint(a.Code))
	}
	if a.Enhanced != "" {
		words = append(words, a.Enhanced)
	}
	if a.Text != "" {
		words = append(words, a.Text)
	}
	return strings.Join(words, " ")
}

// Want fails the test unless the answer's String is want or begins with it and
// a blank, a colon or a line break.
func (a Answer) Want(want string) {
	a.t.Helper()
	rest, ok := strings.CutPrefix(a.String(), want)
	if !ok || rest != "" && !strings.ContainsAny(rest[:1], " :\n") {
		a.t.Errorf("%s: %q, want %q", a.Hook, a, want)
	}
}

// refused tells whether the transaction, recipient or message does not go on.
func (a Answer) refused() bool {
	return a.Err != nil || a.Action != abi.Continue && a.Action != abi.Accept
}

// protect turns a panic of the guest into an error, as a trap would be.
func protect(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	f()
	return nil
}

// ask calls the handler and judges its verdict by the contract.
func (s *Session) ask(h hook) Answer {
	a := Answer{Hook: names[h], t: s.p.t}
	if s.detached || s.detachedTx || !guest.Subscribed(a.Hook) {
		return a
	}
	a.Asked = true
	before := s.view.clone()
	call := &host{p: s.p, s: s, hook: h, inHook: true}
	var verdict int32
	err := protect(func() { verdict = guest.Call(a.Hook, call) })
	if err == nil {
		err = a.judge(h, verdict, call.reply)
	}
	if err == nil && !a.refused() {
		err = call.body.keep(s)
	}
	if err != nil {
		a.Action, a.Err = abi.Continue, err
	}
	if a.refused() && !h.in(ignored) {
		s.view = before
	}
	if err == nil {
		s.detachedTx = s.detachedTx || a.Flags&abi.DetachTransaction != 0
		s.detached = s.detached || a.Flags&abi.DetachSession != 0
	}
	return a
}

func (a *Answer) judge(h hook, verdict int32, r *reply) error {
	if h.in(ignored) {
		return nil
	}
	action, flags, code := abi.SplitVerdict(verdict)
	fits := func(code int) bool {
		switch action {
		case abi.Reject:
			return code >= 500 && code <= 599 && code != 521
		case abi.Defer:
			return code >= 400 && code <= 499
		case abi.Drop:
			return code == 421 || code == 554
		}
		return false
	}
	switch {
	case int(action) >= len(actions):
		return fmt.Errorf("there is no action %d", action)
	case action != abi.Continue && !h.in(allowed[action]):
		return fmt.Errorf("%s is not allowed at %s", actions[action], names[h])
	case flags&^(abi.DetachTransaction|abi.DetachSession|abi.NoReply) != 0:
		return fmt.Errorf("there is no flag %#x", flags)
	case flags&abi.NoReply != 0 && action != abi.Drop:
		return fmt.Errorf("only drop can go without a reply")
	case code != 0 && !fits(code):
		return fmt.Errorf("%s cannot have the code %d", actions[action], code)
	}
	a.Action, a.Flags, a.Code = action, flags, code
	if r == nil || action == abi.Continue {
		return nil
	}
	if r.code != 0 {
		positive := action == abi.Accept || action == abi.Discard || action == abi.Hold
		if positive && r.code/100 != 2 || !positive && !fits(r.code) {
			return fmt.Errorf("%s cannot have the reply %d", actions[action], r.code)
		}
		a.Code = r.code
	}
	if r.enhanced != "" && a.Code != 0 && int(r.enhanced[0]-'0') != a.Code/100 {
		return fmt.Errorf("the reply %d cannot have the enhanced code %s", a.Code, r.enhanced)
	}
	a.Enhanced, a.Text = r.enhanced, r.text
	return nil
}
