package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// fake is a queue and its operator.
type fake struct {
	mu       sync.Mutex
	messages map[mail.ID]queue.Message
	items    []queue.Item // sorted
	damaged  map[queue.Ref]bool
	acts     []string
	fail     error
	during   func() // called once, after the first page of a List
}

func (f *fake) List(ctx context.Context, q queue.Filter, do func(queue.Item, error) bool) error {
	f.mu.Lock()
	items := slices.Clone(f.items)
	f.mu.Unlock()
	for _, i := range items {
		from := f.messages[i.ID].Envelope.ReversePath
		if q.ID != 0 && i.ID != q.ID || q.Domain != "" && i.Domain != q.Domain || q.Held != nil && i.Held != *q.Held ||
			q.Sender != "" && q.Sender != "<>" && from.String() != q.Sender || q.Sender == "<>" && !from.IsNull() ||
			i.ID < q.After.ID || i.ID == q.After.ID && i.Ref.Item <= q.After.Item {
			continue
		}
		var err error
		if f.damaged[i.Ref] {
			i, err = queue.Item{Ref: i.Ref}, queue.ErrCorrupt
		}
		if !do(i, err) {
			break
		}
	}
	if d := f.during; d != nil {
		f.during = nil
		d()
	}
	return nil
}

func (f *fake) Message(_ context.Context, id mail.ID) (queue.Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, ok := f.messages[id]
	if !ok {
		return m, queue.ErrGone
	}
	return m, nil
}

func (f *fake) Counts() queue.Counts {
	return queue.Counts{Messages: int64(len(f.messages)), Items: int64(len(f.items))}
}

func (f *fake) did(ref queue.Ref, format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	f.acts = append(f.acts, fmt.Sprintf("%s/%d ", ref.ID, ref.Item)+fmt.Sprintf(format, args...))
	return nil
}

func (f *fake) Hold(_ context.Context, r queue.Ref, why string) error {
	return f.did(r, "hold %s", why)
}
func (f *fake) Release(_ context.Context, r queue.Ref) error { return f.did(r, "release") }
func (f *fake) Retry(_ context.Context, r queue.Ref) error   { return f.did(r, "retry") }
func (f *fake) Delete(_ context.Context, r queue.Ref) error  { return f.did(r, "delete") }
func (f *fake) Bounce(_ context.Context, r queue.Ref, reply mail.Reply) error {
	return f.did(r, "bounce %s", reply)
}
func (f *fake) Reroute(_ context.Context, r queue.Ref, to *mail.NextHop) error {
	return f.did(r, "reroute %v", to)
}

func (f *fake) ListPlugins() []PluginStatus {
	return []PluginStatus{{Name: "a", State: "active", Hooks: []string{"rcpt"}}, {Name: "b", State: "failed", LastError: "compile: bad"}}
}
func (f *fake) LoadPlugin(_ context.Context, name, file string) (PluginStatus, error) {
	if name != "a" {
		return PluginStatus{}, errors.New("there is no plugin of that name")
	}
	return PluginStatus{Name: name, Module: file, State: "active"}, nil
}
func (f *fake) PluginSeries() []PluginSeries {
	return []PluginSeries{
		{Plugin: "a", Name: "seen", Kind: "counter", Value: 3},
		{Plugin: "b", Name: "seen", Kind: "gauge", Value: -2},
		{Plugin: "a", Name: "size", Kind: "histogram", Value: 9, Buckets: []Bucket{{LE: 1, Count: 1}, {LE: 8, Count: 2}}},
	}
}

func (f *fake) RollbackPlugin(_ context.Context, name, generation string) (PluginStatus, error) {
	if name != "a" {
		return PluginStatus{}, errors.New("there is no plugin of that name")
	}
	return PluginStatus{Name: name, Generation: generation, Generations: []PluginGeneration{{
		Generation: generation, InForce: true, Hooks: []hook.Figures{{Hook: "rcpt", Calls: 3, Failures: map[string]uint64{"trap": 1}}},
	}}}, nil
}
func (f *fake) ReloadPlugins(_ context.Context, name string) error {
	if name == "b" {
		return errors.New("plugin b: compile: bad")
	}
	return nil
}

func (f *fake) add(id mail.ID, from string, held bool, to ...string) {
	p, _ := mail.ParseMailbox(from)
	f.messages[id] = queue.Message{ID: id, Header: []byte("Subject: <x>\r\n\r\n"), BodySize: 100, Arrived: id.Time(),
		Envelope: mail.Envelope{ReversePath: p, Client: mail.Client{Helo: "client.example", Listener: "mx"}}}
	for n, address := range to {
		r, _ := mail.ParseMailbox(address)
		i := queue.Item{Ref: queue.Ref{ID: id, Item: uint32(n)}, Domain: r.DomainKey(), Held: held, Arrived: id.Time(), Due: id.Time(),
			Recipients: []queue.Recipient{{Recipient: mail.Recipient{ForwardPath: r}}}}
		if n > 0 {
			i.Attempts = 1
			i.Recipients[0].Last = mail.Result{Reply: *mail.NewReply(451, "4.2.1", "busy <now>"), Relay: "mx[192.0.2.1]:25"}
			i.History = []mail.Attempt{{At: id.Time(), Relay: "mx[192.0.2.1]:25", Result: i.Recipients[0].Last}}
		}
		f.items = append(f.items, i)
	}
}

var base = mail.FirstID(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))

func newFake() *fake {
	f := &fake{messages: map[mail.ID]queue.Message{}, damaged: map[queue.Ref]bool{}}
	f.add(base+1, "a@example.org", false, "x@one.example", "y@two.example")
	f.add(base+2, "", true, "x@one.example")
	f.add(base+3, "b@example.org", false, "x@three.example")
	return f
}

// serve starts a server on a unix socket and a TCP address.
func serve(t *testing.T, f *fake) (c *Client, address string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	unix, err := ListenUnix(socket)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := ListenTCP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{Queue: f, Operator: f, Plugins: f})
	done := make(chan error, 1)
	go func() { done <- s.Serve(unix, tcp) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(socket); err == nil {
			t.Error("the socket is left behind")
		}
	})
	return NewClient(socket, ""), tcp.Addr().String()
}

func collect(t *testing.T, c *Client, o ListOptions) string {
	t.Helper()
	var b strings.Builder
	for i, err := range c.List(context.Background(), o) {
		if err != nil {
			return err.Error()
		}
		id, _ := mail.ParseID(i.ID)
		fmt.Fprintf(&b, "%d/%d %s;", id-base, i.Item, i.Sender)
	}
	return b.String()
}

func TestListNarrows(t *testing.T) {
	f := newFake()
	c, _ := serve(t, f)
	yes, no := true, false
	for _, test := range []struct {
		o    ListOptions
		want string
	}{
		{ListOptions{}, "1/0 a@example.org;1/1 a@example.org;2/0 <>;3/0 b@example.org;"},
		{ListOptions{Selection: Selection{Domain: "ONE.example"}}, "1/0 a@example.org;2/0 <>;"},
		{ListOptions{Selection: Selection{Sender: "<>"}}, "2/0 <>;"},
		{ListOptions{Selection: Selection{Sender: "b@example.org"}}, "3/0 b@example.org;"},
		{ListOptions{Selection: Selection{Held: &yes}}, "2/0 <>;"},
		{ListOptions{Selection: Selection{Held: &no, Domain: "one.example"}}, "1/0 a@example.org;"},
		{ListOptions{ID: (base + 1).String()}, "1/0 a@example.org;1/1 a@example.org;"},
		{ListOptions{Limit: 2}, "1/0 a@example.org;1/1 a@example.org;"},
		{ListOptions{Limit: 2, After: queue.Ref{ID: base + 1, Item: 1}}, "2/0 <>;3/0 b@example.org;"},
		{ListOptions{Selection: Selection{Domain: "a b"}}, `domain "a b": its domain has a character other than letters, digits and '-'`},
		{ListOptions{ID: "nope"}, `queue id "nope": a queue id has 12 characters; wasmta queue list shows the ids there are`},
	} {
		if got := collect(t, c, test.o); got != test.want {
			t.Errorf("%+v:\n got %s\nwant %s", test.o, got, test.want)
		}
	}
}

func TestListShowsDamageAndGoesOn(t *testing.T) {
	f := newFake()
	f.damaged[queue.Ref{ID: base + 2}] = true
	c, _ := serve(t, f)
	var seen, damaged int
	for i, err := range c.List(context.Background(), ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		seen++
		if i.Damaged != "" {
			damaged++
		}
	}
	if seen != 4 || damaged != 1 {
		t.Errorf("%d items, %d damaged", seen, damaged)
	}
}

func TestListIsLongerThanABatch(t *testing.T) {
	f := newFake()
	for n := range mail.ID(3 * batch) {
		f.add(base+10+n, "c@example.org", false, "x@many.example")
	}
	c, _ := serve(t, f)
	if n := strings.Count(collect(t, c, ListOptions{Selection: Selection{Domain: "many.example"}}), ";"); n != 3*batch {
		t.Errorf("%d items", n)
	}
	r, err := c.Act(context.Background(), "retry", Request{Selection: Selection{Domain: "many.example"}})
	if err != nil || r.Done != 3*batch || r.Messages != 3*batch || len(f.acts) != 3*batch {
		t.Errorf("%+v %v", r, err)
	}
}

func TestShow(t *testing.T) {
	c, _ := serve(t, newFake())
	m, err := c.Show(context.Background(), (base + 1).String())
	if err != nil {
		t.Fatal(err)
	}
	if m.Sender != "a@example.org" || m.Header != "Subject: <x>\r\n\r\n" || m.Size != 116 || len(m.Items) != 2 || m.Session.Helo != "client.example" {
		t.Errorf("%+v", m)
	}
	if a := m.Items[1].History; len(a) != 1 || a[0].Reply != "451 4.2.1 busy <now>" || a[0].Status != "deferred" || a[0].Relay != "mx[192.0.2.1]:25" {
		t.Errorf("%+v", a)
	}
	if r := m.Items[0].Recipients[0]; r.Status != "" || r.Reply != "" {
		t.Errorf("never attempted, and has a result: %+v", r)
	}
	if _, err := c.Show(context.Background(), (base + 9).String()); !NotFound(err) || !strings.Contains(err.Error(), "no such message") {
		t.Errorf("%v", err)
	}
}

func TestActs(t *testing.T) {
	one := Selection{IDs: []string{(base + 3).String()}}
	ref := (base + 3).String() + "/0 "
	for _, test := range []struct {
		act  string
		q    Request
		want string
	}{
		{"hold", Request{Selection: one, Reason: "wait"}, ref + "hold wait"},
		{"release", Request{Selection: one}, ref + "release"},
		{"retry", Request{Selection: one}, ref + "retry"},
		{"reroute", Request{Selection: one, NextHop: "smtp:relay.example:26"}, ref + "reroute smtp:relay.example:26"},
		{"reroute", Request{Selection: one, NextHop: Unpin}, ref + "reroute <nil>"},
		{"bounce", Request{Selection: one, Reason: "full"}, ref + "bounce 554 5.0.0 full"},
		{"delete", Request{Selection: one}, ref + "delete"},
		{"delete", Request{Selection: Selection{Domain: "one.example", Sender: "<>"}}, (base + 2).String() + "/0 delete"},
	} {
		f := newFake()
		c, _ := serve(t, f)
		r, err := c.Act(context.Background(), test.act, test.q)
		if err != nil || r.Matched != 1 || r.Done != 1 || r.Messages != 1 || strings.Join(f.acts, ";") != test.want {
			t.Errorf("%s: %+v %v %q, want %q", test.act, r, err, f.acts, test.want)
		}
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	f := newFake()
	c, _ := serve(t, f)
	r, err := c.Act(context.Background(), "delete", Request{Selection: Selection{All: true}, DryRun: true})
	if err != nil || r.Matched != 4 || r.Messages != 3 || r.Done != 0 || !r.DryRun || len(f.acts) != 0 {
		t.Errorf("%+v %v %q", r, err, f.acts)
	}
}

func TestAnActTouchesNothingThatArrivesMeanwhile(t *testing.T) {
	f := newFake()
	c, _ := serve(t, f)
	f.during = func() { f.add(base+20, "late@example.org", false, "x@one.example") }
	r, err := c.Act(context.Background(), "delete", Request{Selection: Selection{All: true}})
	if err != nil || r.Matched != 4 || r.Done != 4 || len(f.acts) != 4 {
		t.Errorf("%+v %v %q", r, err, f.acts)
	}
}

func TestActsThatAreRefused(t *testing.T) {
	f := newFake()
	c, _ := serve(t, f)
	all := Selection{All: true}
	for _, test := range []struct {
		act  string
		q    Request
		want string
	}{
		{"delete", Request{}, "nothing is selected"},
		{"retry", Request{}, "nothing is selected"},
		{"explode", Request{Selection: all}, `no act "explode"`},
		{"reroute", Request{Selection: all}, "next hop"},
		{"reroute", Request{Selection: all, NextHop: "maildir:./x"}, "must be absolute"},
		{"retry", Request{Selection: all, NextHop: "mx"}, "takes no next hop"},
		{"retry", Request{Selection: all, Reason: "x"}, "takes no reason"},
		{"hold", Request{Selection: all, Reason: "a\r\nb"}, "control characters"},
		{"hold", Request{Selection: Selection{IDs: []string{"x"}}}, `queue id "x"`},
		{"hold", Request{Selection: Selection{IDs: make([]string, MaxIDs+1)}}, "the limit is"},
		{"hold", Request{Selection: Selection{Sender: "a b"}}, `sender "a b"`},
	} {
		_, err := c.Act(context.Background(), test.act, test.q)
		var e *Error
		if !errors.As(err, &e) || e.Status != http.StatusBadRequest || !strings.Contains(e.Text, test.want) {
			t.Errorf("%s %+v: %v", test.act, test.q, err)
		}
	}
	if len(f.acts) != 0 {
		t.Errorf("%q", f.acts)
	}
}

func TestActsSayWhatFailed(t *testing.T) {
	f := newFake()
	c, _ := serve(t, f)
	r, err := c.Act(context.Background(), "retry", Request{Selection: Selection{IDs: []string{(base + 3).String(), (base + 9).String()}}})
	if err != nil || r.Done != 1 || r.Missing != 1 || len(r.Errors) != 1 || r.Errors[0].ID != (base+9).String() {
		t.Errorf("%+v %v", r, err)
	}
	f.fail = queue.ErrGone
	if r, _ = c.Act(context.Background(), "retry", Request{Selection: Selection{All: true}}); r.Gone != 3 || r.Failed != 0 {
		t.Errorf("%+v", r)
	}
	f.fail = errors.New("disk on fire")
	if r, _ = c.Act(context.Background(), "retry", Request{Selection: Selection{All: true}}); r.Failed != 3 || r.Errors[0].Error != "disk on fire" {
		t.Errorf("%+v", r)
	}
}

func TestPlugins(t *testing.T) {
	c, _ := serve(t, newFake())
	var names []string
	for p, err := range c.Plugins(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, p.Name+" "+p.State+" "+p.LastError)
	}
	if got := strings.Join(names, ";"); got != "a active ;b failed compile: bad" {
		t.Error(got)
	}
	if p, err := c.LoadPlugin(context.Background(), "a", "/x.wasm"); err != nil || p.Module != "/x.wasm" {
		t.Errorf("%+v %v", p, err)
	}
	if _, err := c.LoadPlugin(context.Background(), "z", "/x.wasm"); err == nil || err.Error() != "there is no plugin of that name" {
		t.Errorf("%v", err)
	}
	if _, err := c.LoadPlugin(context.Background(), "a", "x.wasm"); err == nil || !strings.Contains(err.Error(), "absolute path") {
		t.Errorf("%v", err)
	}
	n := 0
	if p, err := c.RollbackPlugin(context.Background(), "a", "g1"); err != nil || p.Generation != "g1" || p.Generations[0].Hooks[0].Failures["trap"] != 1 {
		t.Errorf("rolled back: %+v, %v", p, err)
	}
	if _, err := c.RollbackPlugin(context.Background(), "z", ""); err == nil || err.Error() != "there is no plugin of that name" {
		t.Errorf("rolled back what is not there: %v", err)
	}
	if _, err := c.RollbackPlugin(context.Background(), "", ""); err == nil || !strings.Contains(err.Error(), "name") {
		t.Errorf("rolled back nothing: %v", err)
	}
	for p, err := range c.ReloadPlugins(context.Background(), "a") {
		if n++; err != nil || p.Name != "a" {
			t.Errorf("%+v %v", p, err)
		}
	}
	for _, err := range c.ReloadPlugins(context.Background(), "b") {
		if n++; err == nil || err.Error() != "plugin b: compile: bad" {
			t.Errorf("%v", err)
		}
	}
	if n != 2 {
		t.Errorf("%d answers", n)
	}
}

func TestReadiness(t *testing.T) {
	c, address := serve(t, newFake())
	if err := c.Ready(context.Background()); err != nil {
		t.Error(err)
	}
	if err := NewClient("/nonexistent/s", address).Ready(context.Background()); err != nil {
		t.Errorf("over TCP: %v", err)
	}
	s := New(Options{Queue: newFake(), Ready: func() error { return errors.New("draining") }})
	l, err := ListenTCP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	var e *Error
	if err := NewClient("/nonexistent/s", l.Addr().String()).Ready(context.Background()); !errors.As(err, &e) || e.Status != 503 || e.Text != "draining" {
		t.Errorf("%v", err)
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestABrowserGetsNothingDone sends what a page could make a browser send.
func TestABrowserGetsNothingDone(t *testing.T) {
	f := newFake()
	_, address := serve(t, f)
	_, port, _ := net.SplitHostPort(address)
	all := `{"all":true}`
	for _, test := range []struct {
		name, method, path, host, contentType, header, body string
		status                                              int
	}{
		{"rebound name", "GET", "/v1/queue", "evil.example:" + port, "", "", "", 403},
		{"rebound name, act", "POST", "/v1/queue/delete", "evil.example", "application/json", "1", all, 403},
		{"no host", "GET", "/v1/queue", "", "", "", "", 403},
		{"form", "POST", "/v1/queue/delete", address, "application/x-www-form-urlencoded", "", all, 403},
		{"form with header", "POST", "/v1/queue/delete", address, "text/plain", "1", all, 415},
		{"fetch without header", "POST", "/v1/queue/delete", address, "application/json", "", all, 403},
		{"act by GET", "GET", "/v1/queue/delete", address, "", "", "", 400},
		{"preflight", "OPTIONS", "/v1/queue/delete", address, "", "", "", 403},
		{"localhost", "GET", "/v1/queue", "localhost:" + port, "", "", "", 200},
		{"ipv6 literal", "GET", "/v1/queue", "[::1]:" + port, "", "", "", 200},
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %d\r\n", test.method, test.path, test.host, len(test.body))
		if test.contentType != "" {
			fmt.Fprintf(conn, "Content-Type: %s\r\n", test.contentType)
		}
		if test.header != "" {
			fmt.Fprintf(conn, "%s: %s\r\n", ControlHeader, test.header)
		}
		fmt.Fprintf(conn, "Origin: http://evil.example\r\n\r\n%s", test.body)
		got, _ := io.ReadAll(conn)
		conn.Close()
		if !strings.HasPrefix(string(got), fmt.Sprintf("HTTP/1.1 %d ", test.status)) {
			t.Errorf("%s: want %d, got\n%s", test.name, test.status, got)
		}
		if strings.Contains(strings.ToLower(string(got)), "access-control-allow") {
			t.Errorf("%s: CORS is granted", test.name)
		}
	}
	if len(f.acts) != 0 {
		t.Errorf("%q", f.acts)
	}
}

func post(t *testing.T, address, path, body string) (int, string) {
	t.Helper()
	req, _ := http.NewRequest("POST", "http://"+address+path, strings.NewReader(body))
	req.Header.Set(ControlHeader, "1")
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var e errorBody
	_ = json.NewDecoder(res.Body).Decode(&e)
	return res.StatusCode, e.Error
}

func TestRequestsAreBoundedAndStrict(t *testing.T) {
	f := newFake()
	_, address := serve(t, f)
	defer http.DefaultClient.CloseIdleConnections()
	for body, want := range map[string]int{
		`{"ids":["` + strings.Repeat("x", MaxRequest) + `"]}`: 413,
		`{"al":true}`:           400,
		`{"all":true} {"x":1}`:  400,
		`{"all":`:               400,
		``:                      400,
		`[]`:                    400,
		`{"all":"yes"}`:         400,
		`{"all":true,"ids":[]}`: 200,
	} {
		if status, text := post(t, address, "/v1/queue/release", body); status != want || want != 200 && text == "" {
			t.Errorf("%.40s: %d %q, want %d", body, status, text, want)
		}
	}
	for _, query := range []string{"limit=0", "limit=x", "held=maybe", "after=1", "colour=red"} {
		res, err := http.Get("http://" + address + "/v1/queue?" + query)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 400 {
			t.Errorf("%s: %s", query, res.Status)
		}
	}
}

func TestTheSocketIsPrivateAndNotTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if _, err := ListenUnix(path); err == nil || !strings.Contains(err.Error(), "another server answers") {
		t.Errorf("%v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	l, err = ListenUnix(path)
	if err != nil {
		t.Fatalf("a stale socket stops the server: %v", err)
	}
	l.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenUnix(path); err == nil || !strings.Contains(err.Error(), "something else") {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Error("a file was removed")
	}
}

func TestOnlyLoopbackIsListenedOn(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.org:0", "x"} {
		if l, err := ListenTCP(address); err == nil {
			l.Close()
			t.Errorf("%s is taken", address)
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	dir := t.TempDir()
	c := NewClient(filepath.Join(dir, "s"), "")
	_, err := c.Show(context.Background(), base.String())
	if !errors.Is(err, ErrNoServer) || !strings.Contains(err.Error(), "no server answers at "+dir+"/s; is wasmta serve running with this configuration?") {
		t.Errorf("%v", err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("delete", `{"all":true}`, "domain=x&limit=1")
	f.Add("reroute", `{"ids":["00000000000B"],"next_hop":"smtp:x"}`, "after=00000000000B/1")
	f.Fuzz(func(t *testing.T, act, body, query string) {
		var q Request
		if json.Unmarshal([]byte(body), &q) == nil {
			s := New(Options{Queue: newFake(), Operator: newFake()})
			_, _ = s.operation(act, q)
			if filters, err := q.filters(); err == nil && len(filters) == 1 && filters[0] == (queue.Filter{}) && !q.All {
				t.Errorf("%q selects everything", body)
			}
		}
		r, err := http.NewRequest("GET", "http://localhost/v1/queue", nil)
		if err == nil {
			r.URL.RawQuery = query
			_, _, _ = listQuery(r)
		}
	})
}
