package core

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/deliver/tlsrpt"
	"github.com/wasmta/wasmta/core/event"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailtest"
)

// What [credentials], [secrets], [[source]] and [tls_report] say reaches the next hop, and secrets are read again.
func TestOutbound(t *testing.T) {
	var mu sync.Mutex
	var told []string
	smarthost := mailtest.ServeSMTP(t, mailtest.Script{Extensions: []string{"PIPELINING", "AUTH PLAIN", "LIMITS MAILMAX=1"}, Auth: func(a *mailtest.Auth) string {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, string(a.Initial))
		return "235 2.7.0 Ok"
	}})
	socket, err := os.MkdirTemp("", "mta") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(socket) })
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`
hostname = "mx.here.test"
data_dir = "data"
[[listener]]
address = "127.0.0.1:0"
[dns]
resolvers = ["127.0.0.1:9"]
[admin]
socket = %q
[limits]
min_free = "1MB"
[[source]]
name = "out"
addresses = ["127.0.0.7", "::1"]
helo = "out.here.test"
[[pool]]
name = "ours"
sources = [{ name = "out" }]
[credentials]
relay = { user = "us", secret = "smarthost", mechanisms = ["PLAIN"] }
[secrets]
smarthost = { file = "secret" }
[tls_report]
send = true
from = "tls@here.test"
[[route]]
domains = ["*"]
to = "smtp:%s"
credential = "relay"
pool = "ours"
`, filepath.Join(socket, "s"), smarthost.Addr)
	c, err := config.Parse([]byte(text), "test.toml", dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Config: c, Log: event.NewLog(event.NewLineHandler(testLog{t}, "mx.here.test", slog.LevelError))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if got := sources(c)["out"]; got.V4.String() != "127.0.0.7" || got.V6.String() != "::1" || got.Helo != "out.here.test" {
		t.Errorf("%+v", got)
	}
	if r := s.outbound.reports; r == nil || r.From.String() != "tls@here.test" || r.Organization != "mx.here.test" || r.Contact != "tls@here.test" {
		t.Errorf("%+v", r)
	}

	// A report goes the way of all mail.
	send := func(n int) {
		t.Helper()
		header := fmt.Sprintf("From: <tls@here.test>\r\nSubject: report %d\r\n\r\n", n)
		if err := s.sendReport(t.Context(), tlsrpt.Message{To: mail.Path{Local: "tls", Domain: "there.test"}, Header: []byte(header), Body: []byte("text\r\n")}); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Minute); smarthost.Count() < n; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("report %d does not arrive", n)
			}
		}
	}
	send(1)
	got := smarthost.Messages()[0]
	if got.From != "<>" || !slices.Equal(got.To, []string{"<tls@there.test>"}) || got.Auth != "PLAIN" || !strings.HasSuffix(string(got.Content), "Subject: report 1\r\n\r\ntext\r\n") {
		t.Errorf("%+v\n%s", got, got.Content)
	}

	if !strings.HasPrefix(got.Remote, "127.0.0.7:") || got.Helo != "out.here.test" {
		t.Errorf("came from %s as %s", got.Remote, got.Helo)
	}

	// The secret is changed, and used by the next session.
	for _, bad := range []string{"", "\n", strings.Repeat("x", maxSecret+2)} {
		if err := os.WriteFile(secret, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.LoadCredentials(c); err == nil || !strings.Contains(err.Error(), `[credentials] relay: secret "smarthost"`) {
			t.Errorf("%.10q: %v", bad, err)
		}
	}
	if err := os.WriteFile(secret, []byte("second\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	use, err := s.LoadCredentials(c)
	if err != nil {
		t.Fatal(err)
	}
	use()
	send(2)
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(told, []string{"\x00us\x00first", "\x00us\x00second"}) {
		t.Errorf("%q", told)
	}
}

// testLog is the log of a test.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", p)
	return len(p), nil
}
