package harness

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/engine"
)

// FuzzOptions say how long and with what a plugin is fuzzed.
type FuzzOptions struct {
	Seed int64
	Runs int // dialogues; 0: until the context ends
	// Found is called for each failure of another kind.
	Found func(Finding)
}

// Finding is a failure of the plugin, with a dialogue that leads to it.
type Finding struct {
	Run        int // of the seed
	Failure    *engine.CallError
	Scenario   *Scenario // plays the failure; as small as it was made
	Transcript []Played
}

const (
	maxFindings = 25  // kinds of failures, then fuzzing ends
	maxShrink   = 400 // dialogues played to make one smaller
	maxWords    = 400
)

// Fuzz plays random dialogues, the same for the same seed, and returns how many
// it played. A dialogue that ends with the context is not counted. base has the
// configuration, grants and world; its steps do not count.
func (h *Harness) Fuzz(ctx context.Context, base *Scenario, wasm []byte, manifest json.RawMessage, o FuzzOptions) (runs int, err error) {
	s, err := h.Load(ctx, base, wasm, manifest)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	words := dictionary(base, wasm)
	seen := map[string]bool{}
	for o.Runs == 0 || runs < o.Runs {
		g := &generator{Rand: rand.New(rand.NewPCG(uint64(o.Seed), uint64(runs))), words: words, stages: s.Stages()}
		steps := g.dialogue()
		played, err := s.play(ctx, steps)
		if ctx.Err() != nil {
			return runs, nil
		}
		if err != nil {
			return runs, err
		}
		runs++
		for _, p := range played {
			key := kind(p.Failure)
			if key == "" || seen[key] {
				continue
			}
			seen[key] = true
			// To the end, even if the time is over meanwhile.
			f, err := s.shrink(context.WithoutCancel(ctx), steps[:p.Step], p.Failure)
			if err != nil {
				return runs, err
			}
			f.Run = runs - 1
			f.Scenario.Title = fmt.Sprintf("found by wasmta plugin fuzz --seed %d: %s: %s", o.Seed, f.Failure.Hook, f.Failure.Fault)
			o.Found(f)
			break
		}
		if len(seen) >= maxFindings {
			break
		}
	}
	return runs, nil
}

// kind tells one failure from another; empty: it is not the plugin's.
func kind(f *engine.CallError) string {
	if f == nil || f.Fault == hostapi.FaultBusy {
		return ""
	}
	detail := f.Detail
	if f.Fault != hostapi.FaultTrap {
		detail = ""
	}
	return f.Hook + "\x00" + string(f.Fault) + "\x00" + strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, detail)
}

// shrink leaves out what the failure does not need.
func (s *Subject) shrink(ctx context.Context, steps []Step, want *engine.CallError) (Finding, error) {
	steps = slices.Clone(steps)
	best := Finding{Failure: want}
	left := maxShrink
	var broken error
	same := func(list []Step) bool {
		if left--; left < 0 || broken != nil {
			return false
		}
		played, err := s.play(ctx, list)
		if err != nil {
			broken = err
			return false
		}
		for i, p := range played {
			if p.Failure != nil && p.Failure.Hook == want.Hook && p.Failure.Fault == want.Fault {
				best.Failure, best.Transcript = p.Failure, played[:i+1]
				return true
			}
		}
		return false
	}
	same(steps)
	for n := len(steps) / 2; n >= 1; n /= 2 {
		for i := len(steps) - n; i >= 0; i -= n {
			if less := slices.Delete(slices.Clone(steps), i, min(i+n, len(steps))); len(less) > 0 && same(less) {
				steps = less
			}
			i = min(i, len(steps))
		}
	}
	for i := range steps {
		content, ok, _ := steps[i].message("")
		if !ok {
			continue
		}
		for n := len(content) / 2; n >= 1 && left > 0; n /= 2 {
			for at := 0; at+n <= len(content) && left > 0; {
				less := slices.Delete(bytes.Clone(content), at, at+n)
				list := slices.Clone(steps)
				if len(less) > 0 {
					list[i].setContent(less)
				}
				if len(less) > 0 && same(list) {
					content, steps = less, list
				} else {
					at += n
				}
			}
		}
	}
	if broken != nil {
		return best, broken
	}
	out := *s.scenario
	out.Steps = steps
	best.Scenario = &out
	left = 1
	same(steps) // the transcript of what is left
	return best, broken
}

// setContent keeps a content as text if that brings back the same octets.
func (t *Step) setContent(b []byte) {
	t.Content, t.Base64 = "", ""
	clean := utf8.Valid(b) && bytes.Equal(crlf(b), b) && bytes.Count(b, []byte("\r")) == bytes.Count(b, []byte("\r\n"))
	for _, c := range b {
		clean = clean && (c >= ' ' || c == '\r' || c == '\n' || c == '\t') && c != 0x7f
	}
	if clean {
		t.Content = strings.ReplaceAll(string(b), "\r\n", "\n")
		return
	}
	t.Base64 = base64.StdEncoding.EncodeToString(b)
}

// dictionary are words that the plugin may look for: those of its configuration
// and texts in its data.
func dictionary(s *Scenario, wasm []byte) []string {
	words := []string{"example.org", "example.com", "postmaster", "test", "a"}
	add := func(w string) {
		if w = strings.TrimSpace(w); len(w) > 0 && len(w) <= 200 && len(words) < maxWords && !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			add(v)
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			keys := make([]string, 0, len(v))
			for k := range v {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			for _, k := range keys {
				add(k)
				walk(v[k])
			}
		}
	}
	walk(map[string]any(s.Config))
	start := 0
	for i, c := range wasm {
		if c < '!' || c > '~' {
			if n := i - start; n >= 3 && n <= 40 && len(wasm) < 1<<20 {
				add(string(wasm[start:i]))
			}
			start = i + 1
		}
	}
	return words
}

// generator makes dialogues that a server could have with a client: what its
// own parsers refuse never reaches a plugin.
type generator struct {
	*rand.Rand
	words  []string
	stages hook.StageSet
	utf8   bool
}

func (g *generator) chance(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

func (g *generator) wants(stages ...hook.Stage) bool {
	return slices.ContainsFunc(stages, g.stages.Has)
}

func (g *generator) dialogue() []Step {
	var steps []Step
	add := func(t Step) {
		if t.check() == nil {
			steps = append(steps, t)
		}
	}
	for range 1 + g.IntN(2) {
		add(Step{Do: "connect", IP: g.ip(), Port: uint16(g.IntN(1 << 16)), PTR: g.maybe(g.domain), Listener: pick(g, "", "submission", "lmtp"), Auth: g.maybe(g.word)})
		if g.chance(3) {
			add(Step{Do: "tls", Version: pick(g, "1.2", "1.3"), SNI: g.maybe(g.domain)})
		}
		if !g.chance(10) {
			add(Step{Do: "ehlo", Name: pick(g, g.domain(), "["+g.ip()+"]"), Verb: pick(g, "EHLO", "HELO", "")})
		}
		if g.wants(hook.Command) || g.chance(8) {
			add(Step{Do: "command", Verb: pick(g, "VRFY", "EXPN", "HELP", "NOOP", "ETRN", "XCLIENT", "X"), Arg: g.text(200)})
		}
		if g.wants(hook.Auth) {
			add(Step{Do: "auth", Auth: g.word(), Mechanism: pick(g, append(mechanisms, "")...), Password: g.maybe(g.word)})
		}
		for range 1 + g.IntN(3) {
			g.transaction(add)
		}
		if g.wants(hook.Tick) {
			add(Step{Do: "wait", For: pick(g, "1ms", "1m", "24h")})
			add(Step{Do: "tick"})
		}
		add(Step{Do: "close", Reason: pick(g, "", "lost connection", "timeout")})
	}
	return steps
}

func (g *generator) transaction(add func(Step)) {
	g.utf8 = g.chance(4)
	var params []string
	if g.utf8 {
		params = append(params, "SMTPUTF8")
	}
	if g.chance(2) {
		params = append(params, "SIZE="+pick(g, "0", "1000", "52428800"), "BODY="+pick(g, "7BIT", "8BITMIME"))
	}
	from := g.mailbox()
	if g.chance(6) {
		from = ""
	}
	add(Step{Do: "mail", From: from, Params: strings.Join(params, " ")})
	n := 1 + g.IntN(4)
	if g.chance(40) {
		n = 200
	}
	for range n {
		add(Step{Do: "rcpt", To: g.mailbox(), Params: pick(g, "", "", "NOTIFY=NEVER", "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a@example.org")})
	}
	if !g.wants(hook.Data, hook.Headers, hook.Message, hook.Route, hook.Attempt, hook.Result, hook.DSN) || g.chance(8) {
		add(Step{Do: "reset"})
		return
	}
	m := Step{Do: "message"}
	m.setContent(g.content())
	add(m)
	add(Step{Do: "reset"})
	if !g.wants(hook.Route, hook.Attempt, hook.Result, hook.DSN) {
		return
	}
	for range 1 + g.IntN(2) {
		add(Step{Do: "route"})
		add(Step{Do: "attempt", NextHops: []string{pick(g, "mx", "smtp:192.0.2.9:25", "smtp:mx.example.org", "lmtp:127.0.0.1:24", "maildir:/var/mail/u", "discard")}})
		add(Step{Do: "result", Reply: pick(g, "250 2.0.0 Ok", "451 4.2.0 ", "550 5.1.1 ", "421 ", "554 5.7.1 ") + g.text(300)})
		add(Step{Do: "dsn"})
	}
}

func (g *generator) maybe(f func() string) string {
	if g.chance(2) {
		return ""
	}
	return f()
}

func (g *generator) ip() string {
	if g.chance(4) {
		return fmt.Sprintf("2001:db8:%x::%x", g.IntN(1<<16), g.IntN(1<<16))
	}
	return pick(g, "192.0.2.1", "127.0.0.1", "0.0.0.0", "255.255.255.255", fmt.Sprintf("%d.%d.%d.%d", g.IntN(256), g.IntN(256), g.IntN(256), g.IntN(256)))
}

func (g *generator) word() string { return g.words[g.IntN(len(g.words))] }

// domain is one that the server takes.
func (g *generator) domain() string {
	d := g.word()
	switch g.IntN(8) {
	case 0:
		d = "x." + d
	case 1:
		d = strings.ToUpper(d)
	case 2:
		d = strings.Repeat(strings.Repeat("a", 1+g.IntN(60))+".", 1+g.IntN(3)) + "example"
	case 3:
		if g.utf8 {
			d = "bücher.example"
		}
	}
	if _, err := mail.ParseDomain(d); err != nil {
		return "example.org"
	}
	return d
}

func (g *generator) mailbox() string {
	local := g.word()
	switch g.IntN(10) {
	case 0:
		local = strings.Repeat("l", 64)
	case 1:
		local = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(g.text(40)) + `"`
	case 2:
		local = g.word() + "+" + g.word()
	case 3:
		if g.utf8 {
			local = "jürgen😀"
		}
	case 4:
		local = strings.ToUpper(local)
	}
	domain := g.domain()
	if g.chance(20) {
		domain = "[192.0.2.1]"
	}
	m := local + "@" + domain
	if p, rest, err := mail.ParsePath("<" + m + ">"); err != nil || rest != "" || p.NeedsUTF8() && !g.utf8 {
		return "a@" + "example.org"
	}
	return m
}

// text is one line of printable ASCII.
func (g *generator) text(most int) string {
	b := make([]byte, g.IntN(most+1))
	for i := range b {
		b[i] = byte(' ' + g.IntN('~'-' '+1))
	}
	return strings.TrimSpace(string(b))
}

// octets are any, with line ends that the server lets through.
func (g *generator) octets(most int) []byte {
	b := make([]byte, g.IntN(most+1))
	high := g.chance(2)
	for i := range b {
		if b[i] = byte(1 + g.IntN(126)); high {
			b[i] |= byte(g.IntN(2) << 7)
		}
		if b[i] == '\r' || b[i] == '\n' {
			b[i] = '\t'
		}
	}
	return b
}

func (g *generator) content() []byte {
	var b bytes.Buffer
	n := g.IntN(12)
	if g.chance(30) {
		n = 2000
	}
	for range n {
		g.field(&b)
	}
	switch g.IntN(12) {
	case 0: // a header section that nothing ends
		return b.Bytes()
	case 1:
		return []byte("\r\n")
	}
	b.WriteString("\r\n")
	g.body(&b, 3)
	return b.Bytes()
}

func (g *generator) field(b *bytes.Buffer) {
	name := pick(g, "From", "To", "Subject", "subject", "Date", "Message-ID", "Received", "Content-Type", "Content-Transfer-Encoding",
		"MIME-Version", "DKIM-Signature", "Bcc", "X-Spam", "X", strings.Repeat("N", 76))
	if w := g.word(); g.chance(4) && !strings.ContainsAny(w, ": \t") {
		name = w
	}
	b.WriteString(name + pick(g, ":", ": ", ":\t", " : "))
	switch g.IntN(10) {
	case 0: // no value
	case 1:
		b.WriteString(strings.Repeat("v", 990-len(name)))
	case 2:
		for range g.IntN(30) {
			b.WriteString(g.text(60) + "\r\n ")
		}
	case 3:
		b.Write(g.octets(200))
	case 4:
		b.WriteString("=?utf-8?" + pick(g, "B", "Q", "X") + "?" + g.text(60) + "?=")
	case 5:
		b.WriteString("multipart/mixed; boundary=\"" + g.text(30) + "\"")
	case 6:
		b.WriteString(strings.Repeat("<"+g.mailbox()+">, ", 1+g.IntN(20)))
	case 7:
		b.WriteString(g.text(998))
	default:
		b.WriteString(g.word())
	}
	b.WriteString("\r\n")
}

func (g *generator) body(b *bytes.Buffer, depth int) {
	switch g.IntN(8) {
	case 0:
	case 1: // parts in parts
		boundary := pick(g, "b", "--", strings.Repeat("=", 70))
		for range g.IntN(4) {
			b.WriteString("--" + boundary + "\r\n")
			for range g.IntN(3) {
				g.field(b)
			}
			b.WriteString("\r\n")
			if depth > 0 {
				g.body(b, depth-1)
			}
		}
		if !g.chance(3) {
			b.WriteString("--" + boundary + "--\r\n")
		}
	case 2:
		b.WriteString(base64.StdEncoding.EncodeToString(g.octets(3000)) + "\r\n")
	case 3:
		if g.chance(10) {
			b.Write(bytes.Repeat([]byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abc\r\n"), g.IntN(20000)))
		}
	case 4:
		b.WriteString(strings.Repeat(".\r\n", g.IntN(50)))
	default:
		for range g.IntN(20) {
			b.Write(g.octets(300))
			b.WriteString("\r\n")
		}
	}
}
