package plugintest

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/wasmta/wasmta/hostapi/abi"
)

// hook is a hook by its place in abi.Hooks.
type hook uint8

const (
	connect hook = iota
	tls
	ehlo
	auth
	command
	mailFrom
	rcpt
	data
	headers
	message
	reset
	closing
	route
	attempt
	result
	dsn
	tick
)

var names = func() (list []string) {
	abi.Hooks(func(name string) { list = append(list, name) })
	return list
}()

type hookSet uint32

func hooks(list ...hook) (set hookSet) {
	for _, h := range list {
		set |= 1 << h
	}
	return set
}

func (h hook) in(set hookSet) bool { return set&(1<<h) != 0 }

// The rules of the contract: where things exist, where they can be changed,
// which verdicts fit.
var (
	ignored     = hooks(reset, closing, tick)
	transaction = hooks(mailFrom, rcpt, data, headers, message)
	delivering  = hooks(route, attempt, result, dsn)
	inTx        = transaction | hooks(reset) | delivering
	inAll       = hooks(connect, tls, ehlo, auth, command, closing) | inTx
	inSession   = inAll &^ delivering
	inContent   = hooks(message, route, attempt, result)
	inHeader    = inContent | hooks(headers)
	rcptEdits   = hooks(rcpt, data, headers, message)
	headerEdits = hooks(headers, message, attempt)
	routing     = hooks(route, attempt)

	allowed = map[abi.Action]hookSet{
		abi.Accept:  hooks(connect, auth, command, mailFrom, rcpt, headers, message, route, attempt),
		abi.Reject:  inAll &^ hooks(reset, closing, dsn),
		abi.Defer:   hooks(connect, ehlo, auth, mailFrom, rcpt, data, headers, message, route, attempt, result),
		abi.Discard: hooks(mailFrom, rcpt, message, route, dsn),
		abi.Hold:    hooks(mailFrom, rcpt, message, route, attempt),
		abi.Drop:    hooks(connect, tls, ehlo, command, mailFrom, rcpt, data),
	}
)

// view is all that a plugin can change. A copy is kept while it is asked.
type view struct {
	banner      string
	extensions  []string
	reversePath string
	recipients  []recipient
	sizeLimit   int64
	authID      string // at auth: set by a plugin
	scram       string // at auth: keys that a plugin gave
	header      []field
	attrs       [3]map[string]string // session, transaction, message
	nextHops    []nextHop

	retry, expire, priority int64
	suspend                 int64
	dsnTo, dsnText          string
}

type recipient struct {
	path, original string
	attrs          map[string]string
}

type nextHop struct {
	to, source, helo string
	tls              int64
}

// field is a header field with its folds and final CRLF.
type field string

func (f field) name() string { return string(f[:strings.IndexByte(string(f), ':')]) }

func (f field) value() string {
	_, v, _ := strings.Cut(string(f), ":")
	return strings.TrimSpace(strings.NewReplacer("\r", "", "\n", "").Replace(v))
}

func (v view) clone() view {
	v.extensions = slices.Clone(v.extensions)
	v.recipients = slices.Clone(v.recipients)
	for i := range v.recipients {
		v.recipients[i].attrs = maps.Clone(v.recipients[i].attrs)
	}
	v.header = slices.Clone(v.header)
	v.nextHops = slices.Clone(v.nextHops)
	for i := range v.attrs {
		v.attrs[i] = maps.Clone(v.attrs[i])
	}
	return v
}

func (v *view) findHeader(from int, name string) int {
	for i := from; i < len(v.header); i++ {
		if strings.EqualFold(v.header[i].name(), name) {
			return i
		}
	}
	return -1
}

func (v *view) rawHeader() string {
	var b strings.Builder
	for _, f := range v.header {
		b.WriteString(string(f))
	}
	return b.String() + "\r\n"
}

// splitContent separates header fields and body at the first empty line.
func splitContent(content string) (header []field, body string) {
	for content != "" {
		line, rest, _ := strings.Cut(content, "\n")
		line += "\n"
		switch {
		case strings.TrimRight(line, "\r\n") == "":
			return header, rest
		case (line[0] == ' ' || line[0] == '\t') && len(header) > 0:
			header[len(header)-1] += field(line)
		case strings.IndexByte(line, ':') > 0 && !strings.ContainsAny(line[:strings.IndexByte(line, ':')], " \t"):
			header = append(header, field(line))
		default:
			return header, content
		}
		content = rest
	}
	return header, ""
}

// mailbox is a rough check of an address; the server's is exact.
func mailbox(path string, utf8 bool) bool {
	local, domain := splitPath(path)
	if local == "" || domain == "" || len(path) > 254 || strings.HasPrefix(domain, ".") {
		return false
	}
	for i := range len(path) {
		c := path[i]
		quoted := local[0] == '"' && i < len(local)
		if c < ' ' || c == 0x7f || c >= 0x80 && !utf8 || !quoted && strings.IndexByte(" <>(),;\\\"", c) >= 0 {
			return false
		}
	}
	return true
}

func splitPath(path string) (local, domain string) {
	at := strings.LastIndexByte(path, '@')
	if at < 0 {
		return path, ""
	}
	return path[:at], strings.ToLower(path[at+1:])
}

// members reads a JSON object as the host hands it out: a text as it is, all
// else as JSON; "" is the whole.
func members(config string) (map[string]string, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(config), &all); err != nil {
		return nil, err
	}
	whole, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	m := map[string]string{}
	for k, raw := range all {
		var text string
		if raw[0] == '"' && json.Unmarshal(raw, &text) == nil {
			m[k] = text
			continue
		}
		compact, err := json.Marshal(raw)
		if err != nil {
			return nil, err
		}
		m[k] = string(compact)
	}
	m[""] = string(whole)
	return m, nil
}
