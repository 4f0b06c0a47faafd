//go:build linux

package interop_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// relay is a peer between two servers of ours. It takes mail for each way's domain, WAY.test, at a port of its own,
// and passes it on to where it is told.
type relay struct {
	dir string
	in  map[string]int // the peer's ports, by way
	out map[string]int // where it is to send
	// fallsBack: the peer may fail in its handshakes as a server, and gets the message in clear text then.
	fallsBack bool
	port      int // of the first server, which has the message from the client
	logs      []*output
}

// ways are "clear": in clear text, with all extensions; "tls": with TLS or not at all, certificates verified; "bare":
// in clear text, without PIPELINING and CHUNKING.
var ways = []string{"clear", "tls", "bare"}

// newRelay starts our two servers. policy is what the way "tls" asks of the connection to the peer.
func newRelay(t *testing.T, policy string) *relay {
	t.Helper()
	r := &relay{dir: directory(t), in: make(map[string]int), out: make(map[string]int), port: freePort(t)}
	pki(t, r.dir, "peer.test", "in.test")
	plain, secure := freePort(t), freePort(t)
	routes := ""
	for _, way := range ways {
		r.in[way], r.out[way] = freePort(t), plain
		tls := "none"
		if way == "tls" {
			r.out[way], tls = secure, policy
		}
		routes += fmt.Sprintf("[[route]]\ndomains = [\"%s.test\"]\nto = \"smtp:127.0.0.1:%d\"\ntls = %q\n", way, r.in[way], tls)
	}
	r.logs = append(r.logs,
		serve(t, r.dir, "in", fmt.Sprintf(`
[[listener]]
name = "plain"
role = "mx"
address = "127.0.0.1:%d"
[[listener]]
name = "secure"
role = "mx"
address = "127.0.0.1:%d"
tls = "starttls"
[[route]]
domains = ["*"]
to = "maildir:%s/in/{domain}-{user}"
`, plain, secure, r.dir), plain, secure),
		serve(t, r.dir, "out", fmt.Sprintf(`
[[listener]]
role = "mx"
address = "127.0.0.1:%d"
[queue]
retry = ["2s"]
[[route]]
domains = ["src.test"]
to = "maildir:%s/out/{user}"
%s`, r.port, r.dir, routes), r.port))
	return r
}

// run sends the letters each way.
func (r *relay) run(t *testing.T) {
	for _, way := range ways {
		greets(t, "the peer", r.in[way])
	}
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			list := letters()
			if way == "tls" {
				list = append(list, large())
			}
			for _, l := range list {
				submit(t, r.port, l, l.to()+"@"+way+".test")
			}
			for _, l := range list {
				r.arrived(t, way, l)
			}
		})
	}
}

// arrived checks a letter and how it came.
func (r *relay) arrived(t *testing.T, way string, l letter) {
	t.Helper()
	received := same(t, l, mailbox(t, filepath.Join(r.dir, "in", way+".test-"+l.to())))
	if len(received) != 3 {
		t.Fatalf("%s: %d servers were on the way, want 3:\n%s", l.name, len(received), strings.Join(received, ""))
	}
	types := []string{"ESMTP"}
	switch {
	case way == "tls" && l.utf8:
		types = []string{"UTF8SMTPS", "UTF8ESMTPS", "ESMTPS"} // the peers do not all call it what RFC 6531 does
	case way == "tls":
		types = []string{"ESMTPS"}
	case l.utf8:
		types = []string{"UTF8SMTP", "UTF8ESMTP", "ESMTP"}
	}
	wantWith(t, l, received[0], types...)
	if way == "tls" && r.fallsBack {
		types = append(types, "ESMTP")
	}
	wantWith(t, l, received[1], types...)
}

// bounces sends a letter that the peer cannot take, and waits for the notification.
func (r *relay) bounces(t *testing.T, way string, l letter, status string) {
	t.Helper()
	submit(t, r.port, l, l.to()+"@"+way+".test")
	content := string(mailbox(t, filepath.Join(r.dir, "out", "a")))
	if !strings.Contains(content, "\nStatus: "+status) && !strings.Contains(content, "\r\nStatus: "+status) {
		t.Errorf("%s: bounced otherwise than with %s:\n%s", l.name, status, content)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
