package harness

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/operator"
)

// Limits of a scenario.
const (
	MaxScenario = 4 << 20  // octets of the file
	MaxContent  = 64 << 20 // octets of one message
	maxSteps    = 10_000
	maxNested   = 100
)

// Scenario is a scripted session and what the plugin finds in it; the package
// comment has the format.
type Scenario struct {
	Title   string     `toml:"title,omitempty"`
	Name    string     `toml:"name,omitempty"`
	OnError string     `toml:"on_error,omitempty"`
	Clock   *time.Time `toml:"clock,omitempty"`
	Seed    int64      `toml:"seed,omitempty"`

	Config  map[string]any    `toml:"config,omitempty"`
	Grant   Grant             `toml:"grant,omitempty"`
	Limits  Limits            `toml:"limits,omitempty"`
	Secrets map[string]string `toml:"secrets,omitempty"`
	Keys    map[string]string `toml:"keys,omitempty"`
	KV      map[string]any    `toml:"kv,omitempty"` // texts; whole numbers are counters
	Tables  map[string]Table  `toml:"tables,omitempty"`
	DNS     []DNS             `toml:"dns,omitempty"`
	HTTP    []HTTP            `toml:"http,omitempty"`
	Steps   []Step            `toml:"step,omitempty"`

	file string // as it was named
	dir  string // where its files are
}

// Grant is [plugin.grant].
type Grant struct {
	Envelope     string      `toml:"envelope,omitempty"`
	Headers      string      `toml:"headers,omitempty"`
	Body         string      `toml:"body,omitempty"`
	AuthPassword bool        `toml:"auth_password,omitempty"`
	AttrsRead    []string    `toml:"attrs_read,omitempty"`
	KV           GrantKV     `toml:"kv,omitempty"`
	DNS          GrantDNS    `toml:"dns,omitempty"`
	HTTP         []GrantHTTP `toml:"http,omitempty"`
	SignKeys     []string    `toml:"sign_keys,omitempty"`
	Secrets      []string    `toml:"secrets,omitempty"`
	Tables       []string    `toml:"tables,omitempty"`
	Events       []string    `toml:"events,omitempty"`
}

// GrantKV is kv = { mb = 16 }.
type GrantKV struct {
	MB int `toml:"mb,omitempty"`
}

// GrantDNS is dns = { zones = ["*"] }.
type GrantDNS struct {
	Zones []string `toml:"zones,omitempty"`
}

// GrantHTTP is one place that requests may go to.
type GrantHTTP struct {
	URL     string   `toml:"url"`
	Methods []string `toml:"methods,omitempty"`
	Private bool     `toml:"private,omitempty"`
}

// Limits is [plugin.limits]; zero: the default.
type Limits struct {
	MemoryMB   int `toml:"memory_mb,omitempty"`
	CPUms      int `toml:"cpu_ms,omitempty"`
	WallMs     int `toml:"wall_ms,omitempty"`
	Concurrent int `toml:"concurrent,omitempty"`
}

// Table is a table of the operator.
type Table struct {
	Type string            `toml:"type,omitempty"`
	Rows map[string]string `toml:"rows,omitempty"`
}

// DNS is what the DNS answers for one name and type.
type DNS struct {
	Name    string   `toml:"name"`
	Type    string   `toml:"type,omitempty"`
	Records []string `toml:"records,omitempty"`
	TTL     string   `toml:"ttl,omitempty"`
	Secure  bool     `toml:"secure,omitempty"`
	Error   string   `toml:"error,omitempty"`
}

// HTTP is what a server answers to one request.
type HTTP struct {
	Method  string            `toml:"method,omitempty"`
	URL     string            `toml:"url"`
	Status  int               `toml:"status,omitempty"`
	Headers map[string]string `toml:"headers,omitempty"`
	Body    string            `toml:"body,omitempty"`
	Error   string            `toml:"error,omitempty"`
}

// Step is one thing that happens. Which facts it may have depends on Do.
type Step struct {
	Do string `toml:"do"`

	IP          string   `toml:"ip,omitempty"`
	Port        uint16   `toml:"port,omitempty"`
	LocalIP     string   `toml:"local_ip,omitempty"`
	LocalPort   uint16   `toml:"local_port,omitempty"`
	PTR         string   `toml:"ptr,omitempty"`
	Listener    string   `toml:"listener,omitempty"`
	Auth        string   `toml:"auth,omitempty"`
	Password    string   `toml:"password,omitempty"`
	AuthzID     string   `toml:"authzid,omitempty"`
	Version     string   `toml:"version,omitempty"`
	Cipher      string   `toml:"cipher,omitempty"`
	SNI         string   `toml:"sni,omitempty"`
	Fingerprint string   `toml:"fingerprint,omitempty"`
	Mechanism   string   `toml:"mechanism,omitempty"`
	Names       []string `toml:"names,omitempty"`

	Name   string `toml:"name,omitempty"`
	Verb   string `toml:"verb,omitempty"`
	Arg    string `toml:"arg,omitempty"`
	Reason string `toml:"reason,omitempty"`

	From    string `toml:"from,omitempty"`
	To      any    `toml:"to,omitempty"` // a text; in a delivery a list
	Params  string `toml:"params,omitempty"`
	Content string `toml:"content,omitempty"`
	Base64  string `toml:"base64,omitempty"`
	File    string `toml:"file,omitempty"`

	Domain   string   `toml:"domain,omitempty"`
	NextHops []string `toml:"next_hops,omitempty"`
	Reply    string   `toml:"reply,omitempty"`
	Host     string   `toml:"host,omitempty"`

	For   string `toml:"for,omitempty"`
	Scope string `toml:"scope,omitempty"`
	Key   string `toml:"key,omitempty"`
	Value string `toml:"value,omitempty"`

	Want *Want `toml:"want,omitempty"`

	line int
}

// Want is what a step must come to. What is not given is not looked at.
type Want struct {
	Action   string `toml:"action,omitempty"`
	Hook     string `toml:"hook,omitempty"`
	Code     int    `toml:"code,omitempty"`
	Enhanced string `toml:"enhanced,omitempty"`
	Text     string `toml:"text,omitempty"`
	Fault    string `toml:"fault,omitempty"`

	Header     string                       `toml:"header,omitempty"`
	Fields     map[string]string            `toml:"fields,omitempty"`
	Absent     []string                     `toml:"absent,omitempty"`
	From       *string                      `toml:"from,omitempty"`
	Auth       *string                      `toml:"auth,omitempty"`
	Recipients []string                     `toml:"recipients,omitempty"`
	NextHops   []string                     `toml:"next_hops,omitempty"`
	Retry      string                       `toml:"retry,omitempty"`
	Priority   *int                         `toml:"priority,omitempty"`
	Banner     string                       `toml:"banner,omitempty"`
	Extensions []string                     `toml:"extensions,omitempty"`
	SizeLimit  int64                        `toml:"size_limit,omitempty"`
	Attrs      map[string]map[string]string `toml:"attrs,omitempty"`
	Log        []string                     `toml:"log,omitempty"`
	KV         map[string]string            `toml:"kv,omitempty"`
	KVAbsent   []string                     `toml:"kv_absent,omitempty"`
	HTTP       []string                     `toml:"http,omitempty"`
	Events     []string                     `toml:"events,omitempty"`
}

// facts are the keys that a step may have beside do and want.
var facts = map[string]string{
	"connect": "ip port local_ip local_port ptr listener auth",
	"tls":     "version cipher sni fingerprint names",
	"ehlo":    "name verb",
	"auth":    "auth password authzid mechanism",
	"command": "verb arg",
	"mail":    "from params",
	"rcpt":    "to params",
	"data":    "",
	"message": "content base64 file",
	"reset":   "reason",
	"close":   "reason",
	"quit":    "reason",
	"route":   "domain from to content base64 file listener",
	"attempt": "domain from to content base64 file listener next_hops",
	"result":  "domain from to content base64 file listener next_hops reply host",
	"dsn":     "domain from to content base64 file listener reply host",
	"tick":    "",
	"wait":    "for",
	"attr":    "scope key value",
}

// mechanisms are those of SASL that the server has.
var mechanisms = []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER", "XOAUTH2", "EXTERNAL"}

// verbs in the order in which the package comment has them.
const verbs = "connect, tls, ehlo, auth, command, mail, rcpt, data, message, reset, close, quit, route, attempt, result, dsn, tick, wait or attr"

// Error is a fault of a scenario.
type Error struct {
	File         string
	Line, Column int // 1-based; 0: not known
	What         string
}

// Error is file:line:column: what.
func (e *Error) Error() string {
	switch {
	case e.Line == 0:
		return fmt.Sprintf("%s: %s", e.File, e.What)
	case e.Column == 0:
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.What)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.What)
}

// Parse reads a scenario. file is named in errors, dir is what its files are
// relative to. The error is all faults that were found, joined, each an *Error.
func Parse(data []byte, file, dir string) (*Scenario, error) {
	if len(data) > MaxScenario {
		return nil, &Error{File: file, What: fmt.Sprintf("is larger than %d octets; put long messages into files of their own", MaxScenario)}
	}
	lines, err := outline(data, file)
	if err != nil {
		return nil, err
	}
	s := &Scenario{file: file, dir: dir}
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(s); err != nil {
		return nil, decodeError(err, file)
	}
	for i, line := range lines {
		if i < len(s.Steps) {
			s.Steps[i].line = line
		}
	}
	return s, s.check()
}

func decodeError(err error, file string) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var all []error
		for _, e := range strict.Errors {
			line, column := e.Position()
			all = append(all, &Error{file, line, column, fmt.Sprintf("unknown key %q", strings.Join(e.Key(), "."))})
		}
		return errors.Join(all...)
	}
	var one *toml.DecodeError
	if errors.As(err, &one) {
		line, column := one.Position()
		what := strings.TrimPrefix(one.Error(), "toml: ")
		if i := strings.Index(what, " into "); i > 0 && strings.HasPrefix(what, "cannot decode TOML ") {
			what = "wrong type: " + what[len("cannot decode TOML "):i] // without the names that it has in Go
		}
		if key := strings.Join(one.Key(), "."); key != "" && !strings.Contains(what, key) {
			what = key + ": " + what
		}
		return &Error{file, line, column, what}
	}
	return &Error{File: file, What: strings.TrimPrefix(err.Error(), "toml: ")}
}

// outline are the lines of the [[step]]s. It refuses what would cost the decoder
// far more than the file is long. What is no TOML is left to the decoder.
func outline(data []byte, file string) (lines []int, err error) {
	var p unstable.Parser
	p.Reset(data)
	line, at := 1, 0
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind == unstable.Comment {
			continue
		}
		it := e.Key()
		if it.Next() {
			if begin := int(it.Node().Raw.Offset); begin > at {
				line += bytes.Count(data[at:begin], []byte("\n"))
				at = begin
			}
			if e.Kind == unstable.ArrayTable && string(it.Node().Data) == "step" && it.IsLast() {
				lines = append(lines, line)
			}
		}
		if nested(e) > maxNested {
			return nil, &Error{File: file, Line: line, What: fmt.Sprintf("tables are nested more than %d deep", maxNested)}
		}
		if len(lines) > maxSteps {
			return nil, &Error{File: file, Line: line, What: fmt.Sprintf("has more than %d steps", maxSteps)}
		}
	}
	return lines, nil
}

// nested is how many tables lie in each other, those of dotted keys too.
func nested(n *unstable.Node) int {
	depth, most := 0, 0
	var inner unstable.Iterator
	switch n.Kind {
	case unstable.Table, unstable.ArrayTable, unstable.KeyValue:
		for it := n.Key(); it.Next(); {
			depth++
		}
		if n.Kind == unstable.KeyValue {
			most = nested(n.Value())
		}
	case unstable.InlineTable, unstable.Array:
		inner = n.Children()
	}
	for inner.Next() {
		most = max(most, nested(inner.Node()))
	}
	return depth + most
}

// check finds what the decoder does not.
func (s *Scenario) check() error {
	var all []error
	fault := func(line int, format string, args ...any) {
		all = append(all, &Error{File: s.file, Line: line, What: fmt.Sprintf(format, args...)})
	}
	switch {
	case len(s.Steps) == 0:
		fault(0, "has no [[step]], so it tests nothing")
	case len(s.Steps) > maxSteps:
		fault(0, "has %d steps; the limit is %d", len(s.Steps), maxSteps)
		return errors.Join(all...)
	}
	if _, err := s.spec(); err != nil {
		fault(0, "%v", err)
	}
	if _, err := newZone(s.DNS); err != nil {
		fault(0, "%v", err)
	}
	for _, h := range s.HTTP {
		if err := h.check(); err != nil {
			fault(0, "%v", err)
		}
	}
	for key, v := range s.KV {
		switch v.(type) {
		case string, int64:
		default:
			fault(0, "kv.%s: write a text, or a whole number for a counter", key)
		}
	}
	for name, t := range s.Tables {
		if _, err := operator.ParseTableType(t.Type); err != nil {
			fault(0, "tables.%s: %v", name, err)
		}
	}
	for i := range s.Steps {
		if err := s.Steps[i].check(); err != nil {
			fault(s.Steps[i].line, "step %d: %v", i+1, err)
		}
	}
	return errors.Join(all...)
}

func (t *Step) check() error {
	allowed, ok := facts[t.Do]
	if !ok {
		return fmt.Errorf("do = %q: write %s", t.Do, verbs)
	}
	words := strings.Fields(allowed)
	v := reflect.ValueOf(t).Elem()
	for i := range v.NumField() {
		key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("toml"), ",")
		if key == "" || key == "do" || key == "want" || v.Field(i).IsZero() || slices.Contains(words, key) {
			continue
		}
		return fmt.Errorf("%q has no fact %q; it may have: %s", t.Do, key, strings.Join(append(words, "want"), " "))
	}
	if _, err := t.paths(); err != nil {
		return err
	}
	if _, err := t.hops(); err != nil {
		return err
	}
	for key, ip := range map[string]string{"ip": t.IP, "local_ip": t.LocalIP} {
		if ip != "" {
			if _, err := netip.ParseAddr(ip); err != nil {
				return fmt.Errorf("%s = %q is no IP address", key, ip)
			}
		}
	}
	if t.Mechanism != "" && !slices.Contains(mechanisms, t.Mechanism) {
		return fmt.Errorf("mechanism = %q: write one of %s", t.Mechanism, strings.Join(mechanisms, " "))
	}
	for key, d := range map[string]string{"ptr": t.PTR, "sni": t.SNI, "domain": t.Domain} {
		if d != "" {
			if _, err := mail.ParseDomain(d); err != nil {
				return fmt.Errorf("%s = %q: %v", key, d, err)
			}
		}
	}
	switch t.Do {
	case "mail":
		if _, _, r := mail.ParseMail("<"+t.From+"> "+t.Params, all); r != nil {
			return fmt.Errorf("from = %q, params = %q: %s", t.From, t.Params, r.Text)
		}
	case "rcpt":
		if _, ok := t.To.(string); !ok {
			return errors.New(`"rcpt" needs to = "forward-path"`)
		}
		if _, _, r := mail.ParseRcpt(t.rcptArg(), true, all); r != nil {
			return fmt.Errorf("to = %q, params = %q: %s", t.To, t.Params, r.Text)
		}
	case "ehlo":
		if _, err := mail.ParseDomain(t.name()); err != nil {
			return fmt.Errorf("name = %q: %v", t.Name, err)
		}
		if !slices.Contains([]string{"", "EHLO", "HELO", "LHLO"}, t.Verb) {
			return fmt.Errorf("verb = %q: write EHLO, HELO or LHLO", t.Verb)
		}
	case "tls":
		if _, ok := tlsVersions[t.Version]; !ok {
			return fmt.Errorf("version = %q: write 1.2 or 1.3", t.Version)
		}
	case "command":
		if t.Verb == "" {
			return errors.New(`"command" needs verb = "VERB"`)
		}
	case "wait":
		if d, err := time.ParseDuration(t.For); err != nil || d < 0 {
			return fmt.Errorf(`for = %q: write a time such as "90s", "5m", "4h"`, t.For)
		}
	case "attr":
		if _, ok := scopes[t.Scope]; !ok {
			return fmt.Errorf("scope = %q: write session, transaction, message or recipient", t.Scope)
		}
		if owner, key, ok := strings.Cut(t.Key, "/"); !ok || owner == "" || key == "" {
			return fmt.Errorf(`key = %q: write "plugin/key"`, t.Key)
		}
	case "result":
		if _, err := t.reply(); err != nil {
			return err
		}
	}
	if t.Want != nil {
		return t.Want.check()
	}
	return nil
}

func (w *Want) check() error {
	if w.Action != "" && !slices.Contains(actions, w.Action) {
		return fmt.Errorf("want.action = %q: write %s", w.Action, strings.Join(actions, ", "))
	}
	if w.Hook != "" {
		if _, ok := hook.ParseStage(w.Hook); !ok {
			return fmt.Errorf("want.hook = %q: there is no such hook", w.Hook)
		}
	}
	if w.Retry != "" {
		if _, err := time.ParseDuration(w.Retry); err != nil {
			return fmt.Errorf(`want.retry = %q: write a time such as "90s", "5m", "4h"`, w.Retry)
		}
	}
	if w.Enhanced != "" {
		if _, rest, ok := mail.ParseEnhanced(w.Enhanced); !ok || rest != "" {
			return fmt.Errorf("want.enhanced = %q: write a code such as 5.7.1", w.Enhanced)
		}
	}
	for scope := range w.Attrs {
		if _, ok := scopes[scope]; !ok {
			return fmt.Errorf("want.attrs.%s: write session, transaction, message or recipient", scope)
		}
	}
	return nil
}

var actions = []string{"continue", "accept", "reject", "defer", "discard", "hold", "drop", "failed", "none"}

var scopes = map[string]hook.Scope{
	"session": hook.ScopeSession, "transaction": hook.ScopeTransaction, "message": hook.ScopeMessage, "recipient": hook.ScopeRecipient,
}

var tlsVersions = map[string]uint16{"": 0x0304, "1.3": 0x0304, "1.2": 0x0303}

func all(string) bool { return true }

func (t *Step) name() string {
	if t.Name == "" {
		return "client.example"
	}
	return t.Name
}

func (t *Step) rcptArg() string { return fmt.Sprintf("<%v> %s", t.To, t.Params) }

// paths are the forward-paths of to.
func (t *Step) paths() ([]mail.Path, error) {
	var texts []string
	switch to := t.To.(type) {
	case nil:
	case string:
		texts = []string{to}
	case []string:
		texts = to
	case []any:
		for _, x := range to {
			s, ok := x.(string)
			if !ok {
				return nil, fmt.Errorf("to has %v; write texts", x)
			}
			texts = append(texts, s)
		}
	default:
		return nil, errors.New("to must be a text or a list of texts")
	}
	var list []mail.Path
	for _, s := range texts {
		p, rest, err := mail.ParsePath("<" + s + ">")
		if err == nil && rest != "" {
			err = fmt.Errorf("%q follows it", rest)
		}
		if err != nil {
			return nil, fmt.Errorf("to has %q: %v", s, err)
		}
		list = append(list, p)
	}
	return list, nil
}

func (t *Step) hops() ([]mail.NextHop, error) {
	var list []mail.NextHop
	for _, s := range t.NextHops {
		h, err := mail.ParseNextHop(s)
		if err != nil {
			return nil, fmt.Errorf("next_hops has %q: %v", s, err)
		}
		list = append(list, h)
	}
	return list, nil
}

// reply is what the next hop said.
func (t *Step) reply() (mail.Reply, error) {
	var r mail.Reply
	code, text, _ := strings.Cut(t.Reply, " ")
	if _, err := fmt.Sscanf(code, "%3d", &r.Code); err != nil || r.Code < 200 || r.Code > 599 || len(code) != 3 {
		return r, fmt.Errorf(`reply = %q: write a code and a text, such as "451 4.2.0 Busy"`, t.Reply)
	}
	r.Enhanced, r.Text, _ = mail.ParseEnhanced(text)
	return r, nil
}

// message is the content of a step; ok: it has one.
func (t *Step) message(dir string) (content []byte, ok bool, err error) {
	switch {
	case t.File != "":
		path := t.File
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, false, err
		}
		if !info.Mode().IsRegular() || info.Size() > MaxContent {
			return nil, false, fmt.Errorf("%q is not a regular file of at most %d octets", path, MaxContent)
		}
		content, err = os.ReadFile(path)
		return crlf(content), true, err
	case t.Base64 != "":
		content, err = base64.StdEncoding.DecodeString(t.Base64)
		return content, true, err // as it is: for content that is wrong on purpose
	case t.Content != "":
		return crlf([]byte(t.Content)), true, nil
	}
	return nil, false, nil
}

// crlf makes LF alone CR LF.
func crlf(b []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
}

// spec is the plugin as an operator would have configured it.
func (s *Scenario) spec() (hostapi.Spec, error) {
	g := &s.Grant
	spec := hostapi.Spec{
		Name: s.Name, OnErrorGiven: s.OnError != "", Config: json.RawMessage("{}"),
		Grant: hostapi.Grant{
			AuthPassword: g.AuthPassword, AttrsRead: g.AttrsRead, KV: hostapi.KVGrant{MB: g.KV.MB}, DNS: hostapi.DNSGrant{Zones: g.DNS.Zones},
			SignKeys: g.SignKeys, Secrets: g.Secrets, Tables: g.Tables, Events: g.Events,
		},
		Limits: hostapi.Limits{
			MemoryMB: s.Limits.MemoryMB, Concurrent: s.Limits.Concurrent,
			CPU: time.Duration(s.Limits.CPUms) * time.Millisecond, Wall: time.Duration(s.Limits.WallMs) * time.Millisecond,
		},
	}
	if spec.Name == "" {
		spec.Name = "plugin"
	}
	for _, h := range g.HTTP {
		spec.Grant.HTTP = append(spec.Grant.HTTP, hostapi.HTTPGrant{URL: h.URL, Methods: h.Methods, Private: h.Private})
	}
	for _, n := range []int{s.Limits.MemoryMB, s.Limits.CPUms, s.Limits.WallMs, s.Limits.Concurrent, g.KV.MB} {
		if n < 0 {
			return spec, errors.New("limits and quotas must not be less than 0")
		}
	}
	var err error
	if spec.OnError, err = hook.ParseFailurePolicy(s.OnError); err != nil {
		return spec, err
	}
	for _, a := range []struct {
		key, word string
		to        *hostapi.Access
	}{{"envelope", g.Envelope, &spec.Grant.Envelope}, {"headers", g.Headers, &spec.Grant.Headers}, {"body", g.Body, &spec.Grant.Body}} {
		if *a.to, err = hostapi.ParseAccess(a.word); err != nil {
			return spec, fmt.Errorf("grant.%s: %w", a.key, err)
		}
	}
	if len(s.Config) > 0 {
		if spec.Config, err = json.Marshal(s.Config); err != nil {
			return spec, fmt.Errorf("config: %w", err)
		}
	}
	return spec, nil
}

// TOML is the scenario as a file.
func (s *Scenario) TOML() ([]byte, error) {
	var b bytes.Buffer
	e := toml.NewEncoder(&b)
	e.SetArraysMultiline(false)
	err := e.Encode(s)
	return b.Bytes(), err
}
