package core_test

import (
	"bufio"
	"fmt"
	"net"
	"net/textproto"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/mailtest"
)

// RFC 4865: a message is not handed over before its time, and others do not wait
// for it.
func TestHeldMessagesGoWhenTheyMay(t *testing.T) {
	peer := mailtest.ServeSMTP(t, mailtest.Script{})
	s := newServer(t, quick+routeTo("*", "smtp:"+peer.Addr), nil)
	begin := time.Now()
	s.send("day@src.test HOLDFOR=86400", "b@dst.test")
	s.send("soon@src.test HOLDFOR=2", "b@dst.test")
	s.send("now@src.test HOLDUNTIL=2000-01-01T00:00:00Z", "b@dst.test")
	eventually(t, 30*time.Second, "two messages arrive", func() bool { return peer.Count() == 2 })
	if d := time.Since(begin); d < 2*time.Second {
		t.Errorf("the held message went after %v", d)
	}
	var from []string
	for _, m := range peer.Messages() {
		from = append(from, m.From)
	}
	slices.Sort(from)
	if got := strings.Join(from, " "); got != "<now@src.test> <soon@src.test>" {
		t.Errorf("from %q", got)
	}
}

// The configuration says on which listener who may say XCLIENT, and how long a
// message may be held.
func TestXClientAndHoldAreConfigured(t *testing.T) {
	s := newServer(t, `
[[listener]]
name = "proxies"
role = "mx"
address = "unix:x.sock"
xclient_networks = ["127.0.0.1"]
[queue]
lifetime = "10h"
`, nil)
	for name, c := range map[string]struct{ network, address, want string }{
		"the one":   {"unix", filepath.Join(s.dir, "x.sock"), "XCLIENT NAME ADDR"},
		"the other": {"tcp", s.addr, ""},
	} {
		conn, err := net.Dial(c.network, c.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r := textproto.NewReader(bufio.NewReader(conn))
		if _, _, err := r.ReadResponse(220); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "EHLO proxy.test\r\n")
		_, text, err := r.ReadResponse(250)
		if err != nil || strings.Contains(text, "XCLIENT") != (c.want != "") || !strings.Contains(text, c.want) || !strings.Contains(text, "FUTURERELEASE 28800 ") {
			t.Errorf("%s: %q %v", name, text, err)
		}
	}
}
