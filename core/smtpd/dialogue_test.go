package smtpd_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/smtpd"
)

// The dialogues of testdata/*.txt. One line each:
//
//	# a comment
//	@ role=lmtp size=1000 recipients=3 budget=50 barelf=normalize   options of the server
//	@ auth guesses=3 relay                   AUTH is asked of the plugin [users]; relay: who is authenticated may relay
//	@ binary        BINARYMIME is taken
//	@ xclient       the client may say XCLIENT
//	@ clear         not played over TLS
//	C: text         the client sends text and CR LF
//	C" "text\r"     the client sends a quoted Go string as it is
//	S: text         the server sends a line that begins with text
//	S~ regexp       the server sends a line that matches
//	S! text         and the next line does not contain text
//	S* regexp       the server sends a reply, whose lines, joined by blanks, match
//	X               the server closes
//	= 2             so many messages were committed in the end
//
// Each is played five times over fresh connections: line by line; octet by
// octet; after the banner, in one write; and the first and last over TLS.
type step struct {
	kind byte // C, S, ~, !, *, X
	text string
	at   string // file:line
}

type dialogue struct {
	edit    func(*smtpd.Options)
	steps   []step
	commits int
	clear   bool
}

func readDialogue(t *testing.T, name string) dialogue {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	d := dialogue{commits: -1}
	words := ""
	for i, line := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		at := filepath.Base(name) + ":" + strconv.Itoa(i+1)
		mark, rest, _ := strings.Cut(line, " ")
		switch mark {
		case "#", "":
		case "@":
			words = rest
		case "C:":
			d.steps = append(d.steps, step{'C', rest + "\r\n", at})
		case `C"`:
			raw, err := strconv.Unquote(rest)
			if err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			d.steps = append(d.steps, step{'C', raw, at})
		case "S:":
			d.steps = append(d.steps, step{'S', rest, at})
		case "S~":
			d.steps = append(d.steps, step{'~', rest, at})
		case "S!":
			d.steps = append(d.steps, step{'!', rest, at})
		case "S*":
			d.steps = append(d.steps, step{'*', rest, at})
		case "X":
			d.steps = append(d.steps, step{'X', "", at})
		case "=":
			if d.commits, err = strconv.Atoi(rest); err != nil {
				t.Fatalf("%s: %v", at, err)
			}
		default:
			t.Fatalf("%s: unknown mark %q", at, mark)
		}
	}
	d.clear = strings.Contains(words, "clear")
	d.edit = func(o *smtpd.Options) {
		for word := range strings.FieldsSeq(words) {
			key, value, _ := strings.Cut(word, "=")
			n, _ := strconv.Atoi(value)
			switch key {
			case "role":
				if o.Role, err = smtpd.ParseRole(value); err != nil {
					t.Fatal(err)
				}
			case "size":
				o.MaxSize = int64(n)
			case "recipients":
				o.MaxRecipients = n
			case "budget":
				o.ErrorBudget = n
			case "barelf":
				o.BareLF = map[string]smtpd.BareLF{"reject": smtpd.BareLFReject, "normalize": smtpd.BareLFNormalize}[value]
			case "auth":
				o.Source, o.AuthWithoutTLS, o.AuthDelay = users(), true, -1
			case "guesses":
				o.AuthFailures = n
			case "relay":
				o.AuthRelay = true
			case "xclient":
				o.XClientNetworks = loopback
			case "binary":
				o.BinaryMIME = true
			case "clear":
			default:
				t.Fatalf("%s: unknown option %q", name, key)
			}
		}
	}
	return d
}

func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d dialogues, %v", len(files), err)
	}
	server, trust := testTLS(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			d := readDialogue(t, file)
			for _, mode := range []string{"by line", "by octet", "in one write"} {
				t.Run(mode, func(t *testing.T) { d.play(t, mode, nil, nil) })
				if mode != "by octet" && !d.clear {
					t.Run(mode+" over TLS", func(t *testing.T) { d.play(t, mode, server, trust) })
				}
			}
		})
	}
}

func (d dialogue) play(t *testing.T, mode string, server, trust *tls.Config) {
	l := newPipeListener()
	h := start(t, l, func(o *smtpd.Options) {
		d.edit(o)
		o.TLS, o.ImplicitTLS = server, server != nil
	})
	conn := l.dial()
	if trust != nil {
		conn = tls.Client(conn, trust)
	}
	c := newClient(t, conn)
	greeted := false
	for i, s := range d.steps {
		if s.kind == 'C' {
			switch {
			case mode == "by octet":
				for j := range len(s.text) {
					c.send(s.text[j : j+1])
				}
			case mode == "by line":
				c.send(s.text)
			case !greeted:
				greeted = true
				var all strings.Builder
				for _, s := range d.steps[i:] {
					if s.kind == 'C' {
						all.WriteString(s.text)
					}
				}
				c.send(all.String())
			}
			continue
		}
		line := c.line()
		ok := false
		switch s.kind {
		case 'S':
			ok = strings.HasPrefix(line, s.text)
		case '~':
			ok = regexp.MustCompile(s.text).MatchString(line)
		case '!':
			ok = line != closed && !strings.Contains(line, s.text)
		case '*':
			for last := line; len(last) > 3 && last[3] == '-'; {
				last = c.line()
				line += " " + last
			}
			ok = regexp.MustCompile(s.text).MatchString(line)
		case 'X':
			ok = line == closed
		}
		if !ok {
			t.Fatalf("%s: %q, want %c %s", s.at, line, s.kind, s.text)
		}
	}
	c.conn.Close()
	for line := range c.lines {
		t.Errorf("the server said more: %q", line)
	}
	if got := len(h.intake.all()); d.commits >= 0 && got != d.commits {
		t.Errorf("%d messages committed, want %d", got, d.commits)
	}
}
