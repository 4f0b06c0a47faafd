package tlsrpt_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/wasmta/wasmta/core/deliver/tlsrpt"
	"github.com/wasmta/wasmta/core/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRecord(t *testing.T) {
	for in, want := range map[string]string{
		"v=TLSRPTv1; rua=mailto:reports@example.com":                     "mailto:reports@example.com",
		"v=TLSRPTv1;rua=mailto:a@example.com,https://r.example/v1?x=1":   "mailto:a@example.com https://r.example/v1?x=1",
		"v=TLSRPTv1 ;\trua=MAILTO:a%2Bb@example.com ; x=y;":              "mailto:a+b@example.com",
		"v=TLSRPTv1;rua=mailto:a@example.com;rua=mailto:b@example.com":   "mailto:a@example.com",
		"v=TLSRPTv1;rua=ftp://x.example/,mailto:a@example.com?subject=x": "mailto:a@example.com",
		"v=TLSRPTv1;rua=http://x.example/":                               "",
		"v=TLSRPTv1;rua=https://user@x.example/":                         "",
		"v=TLSRPTv1;rua=https:///path":                                   "",
		"v=TLSRPTv1;rua=mailto:nobody":                                   "",
		"v=TLSRPTv1;rua=mailto:a@b.example%0D%0ABcc:c@d.example":         "",
		"v=TLSRPTv1":                          "",
		"v=TLSRPTv2;rua=mailto:a@example.com": "",
		"rua=mailto:a@example.com;v=TLSRPTv1": "",
		"V=TLSRPTv1;rua=mailto:a@example.com": "",
		"v=spf1 -all":                         "",
		"":                                    "",
		"v=TLSRPTv1;rua=" + strings.Repeat("mailto:a@b.example,", 100):  strings.TrimSpace(strings.Repeat("mailto:a@b.example ", 4)),
		"v=TLSRPTv1;rua=https://x.example/" + strings.Repeat("a", 2000): "",
	} {
		to, ok := tlsrpt.ParseRecord([]string{"v=spf1 -all", in})
		var got []string
		for _, a := range to {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != want || ok != (want != "") {
			t.Errorf("%.80q: %q, %v; want %q", in, got, ok, want)
		}
	}
	twice := "v=TLSRPTv1;rua=mailto:a@example.com"
	if _, ok := tlsrpt.ParseRecord([]string{twice, twice}); ok {
		t.Error("two records are none (RFC 8460 3)")
	}
}

func FuzzRecord(f *testing.F) {
	f.Add("v=TLSRPTv1; rua=mailto:reports@example.com,https://r.example/v1")
	f.Add("v=TLSRPTv1;rua=mailto:%00@x;;=,")
	f.Fuzz(func(t *testing.T, record string) {
		to, ok := tlsrpt.ParseRecord([]string{record})
		if ok != (len(to) > 0) || len(to) > 4 {
			t.Fatalf("%d addresses, %v", len(to), ok)
		}
		for _, a := range to {
			switch {
			case a.URL != "" && (!strings.HasPrefix(a.URL, "https://") || strings.ContainsAny(a.URL, " \r\n\x00")):
				t.Fatalf("%q", a.URL)
			case a.URL == "" && (a.Mail.IsNull() || a.Mail.Domain == "" || strings.ContainsAny(a.Mail.String(), "\r\n\x00")):
				t.Fatalf("%q", a.Mail)
			}
		}
	})
}

// world is what the sender of reports talks to.
type world struct {
	mu      sync.Mutex
	records map[string]string
	err     error
	mailErr error
	mails   []tlsrpt.Message
	posts   [][]byte
	status  int
}

func (w *world) TXT(_ context.Context, name string) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	if r, ok := w.records[name]; ok {
		return []string{r}, nil
	}
	return nil, errAbsent
}

var errAbsent = errors.New("no such record")

func (w *world) mail(_ context.Context, m tlsrpt.Message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mailErr == nil {
		w.mails = append(w.mails, m)
	}
	return w.mailErr
}

func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(r.Body)
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Header.Get("Content-Type") != "application/tlsrpt+gzip" {
		err = errors.New("the wrong type")
	}
	w.posts = append(w.posts, b)
	return &http.Response{StatusCode: w.status, Body: io.NopCloser(strings.NewReader(""))}, err
}

func (w *world) sender(t *testing.T, dir string) *tlsrpt.Sender {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	store, err := tlsrpt.Open(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	return &tlsrpt.Sender{Store: store, TXT: w.TXT, Absent: func(err error) bool { return errors.Is(err, errAbsent) }, Mail: w.mail, HTTP: w,
		Host: "mx.us.test", From: mail.Path{Local: "postmaster", Domain: "us.test"}, Organization: "Us", Contact: "postmaster@us.test", Log: log}
}

// count adds what a day has: two successes and three failures under an MTA-STS policy, and a failure under DANE.
func count(s *tlsrpt.Store, domain string) {
	sts := tlsrpt.Policy{Type: tlsrpt.STS, Strings: []string{"version: STSv1", "mode: testing", "mx: *.d.test", "max_age: 86400"}, MX: []string{"*.d.test"}}
	v := tlsrpt.Session{Domain: domain, Policy: sts, SendingIP: netip.MustParseAddr("192.0.2.1"), ReceivingIP: netip.MustParseAddr("192.0.2.25"), ReceivingMX: "mx.d.test", ReceivingHelo: "mx.d.test"}
	s.Add(v)
	s.Add(v)
	v.Result, v.Reason = tlsrpt.Expired, "x509: certificate has expired"
	s.Add(v)
	s.Add(v)
	v.Result, v.Reason, v.ReceivingHelo = tlsrpt.StartTLSNotSupported, "", "evil\r\nhelo\x1b[31m"
	s.Add(v)
	s.Add(tlsrpt.Session{Domain: domain, Policy: tlsrpt.Policy{Type: tlsrpt.TLSA, Strings: []string{"3 1 1 00ff"}, MX: []string{"mx.d.test"}}, Result: tlsrpt.ValidationFailure})
}

const reported = `{"organization-name":"Us","date-range":{"start-datetime":"2026-11-22T00:00:00Z","end-datetime":"2026-11-22T23:59:59Z"},
"contact-info":"postmaster@us.test","report-id":"tls.20261122.d.test@mx.us.test","policies":[
{"policy":{"policy-type":"sts","policy-string":["version: STSv1","mode: testing","mx: *.d.test","max_age: 86400"],"policy-domain":"d.test","mx-host":["*.d.test"]},
"summary":{"total-successful-session-count":2,"total-failure-session-count":3},"failure-details":[
{"result-type":"certificate-expired","sending-mta-ip":"192.0.2.1","receiving-mx-hostname":"mx.d.test","receiving-mx-helo":"mx.d.test","receiving-ip":"192.0.2.25","failed-session-count":2,"failure-reason-code":"x509: certificate has expired"},
{"result-type":"starttls-not-supported","sending-mta-ip":"192.0.2.1","receiving-mx-hostname":"mx.d.test","receiving-mx-helo":"evilhelo[31m","receiving-ip":"192.0.2.25","failed-session-count":1}]},
{"policy":{"policy-type":"tlsa","policy-string":["3 1 1 00ff"],"policy-domain":"d.test","mx-host":["mx.d.test"]},
"summary":{"total-successful-session-count":0,"total-failure-session-count":1},"failure-details":[{"result-type":"validation-failure","failed-session-count":1}]}]}`

// same compares a compressed report with what is expected.
func same(t *testing.T, compressed []byte) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := errors.Join(json.Unmarshal(b, &got), json.Unmarshal([]byte(reported), &want)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%s", err, b)
	}
}

// until sets the clock of the bubble, which begins with the year 2000.
func until(t *testing.T, text string) {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(at))
}

func TestReportsGoOutOnceADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until(t, "2026-11-22T10:00:00Z")
		w := &world{status: 201, records: map[string]string{
			"_smtp._tls.d.test":     "v=TLSRPTv1; rua=mailto:tls@d.test,https://reports.d.test/",
			"_smtp._tls.other.test": "v=TLSRPTv1; rua=mailto:tls@other.test",
		}}
		s := w.sender(t, t.TempDir())
		count(s.Store, "D.test")
		count(s.Store, "silent.test") // does not ask for reports
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var run sync.WaitGroup
		run.Go(func() { s.Run(ctx, true) })
		until(t, "2026-11-22T23:59:59Z")
		if len(w.mails)+len(w.posts) != 0 {
			t.Fatal("a day that is not over is reported")
		}
		count(s.Store, "other.test")
		until(t, "2026-11-23T05:30:00Z")
		synctest.Wait()
		if len(w.mails) != 2 || len(w.posts) != 1 {
			t.Fatalf("%d mails, %d posts", len(w.mails), len(w.posts))
		}
		same(t, w.posts[0])
		checkMail(t, w.mails[0])
		until(t, "2026-12-10T00:00:00Z")
		cancel()
		run.Wait()
		if len(w.mails) != 2 || len(w.posts) != 1 {
			t.Errorf("%d mails, %d posts: reported twice", len(w.mails), len(w.posts))
		}
	})
}

// checkMail has RFC 8460 5.3.
func checkMail(t *testing.T, m tlsrpt.Message) {
	t.Helper()
	msg, err := netmail.ReadMessage(io.MultiReader(bytes.NewReader(m.Header), bytes.NewReader(m.Body)))
	if err != nil {
		t.Fatalf("%v\n%s", err, m.Header)
	}
	h := msg.Header
	if h.Get("From") != "<postmaster@us.test>" || h.Get("To") != "<tls@d.test>" || m.To.String() != "tls@d.test" || h.Get("TLS-Report-Domain") != "d.test" || h.Get("TLS-Report-Submitter") != "us.test" ||
		h.Get("Subject") != "Report Domain: d.test Submitter: us.test Report-ID: <tls.20261122.d.test@mx.us.test>" || h.Get("Message-Id") != "<tls.20261122.d.test@mx.us.test>" {
		t.Errorf("%v", h)
	}
	typ, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || typ != "multipart/report" || params["report-type"] != "tlsrpt" {
		t.Errorf("%s %v %v", typ, params, err)
	}
	r := multipart.NewReader(msg.Body, params["boundary"])
	if p, err := r.NextPart(); err != nil || !strings.HasPrefix(p.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("%v %v", p, err)
	}
	p, err := r.NextPart()
	if err != nil || p.Header.Get("Content-Type") != "application/tlsrpt+gzip" || p.FileName() != "us.test!d.test!1795305600!1795391999.json.gz" {
		t.Fatalf("%v %v", p, err)
	}
	b, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
	if err != nil {
		t.Fatal(err)
	}
	same(t, b)
	for line := range strings.SplitSeq(string(m.Header)+string(m.Body), "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
			t.Errorf("the line %q", line)
		}
	}
	if _, err := r.NextPart(); err != io.EOF {
		t.Error(err)
	}
}

// What cannot be sent is tried again for a day, each address by itself, and a restart forgets nothing.
func TestReportsAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until(t, "2026-11-22T10:00:00Z")
		dir := t.TempDir()
		w := &world{status: 500, err: errors.New("SERVFAIL"), records: map[string]string{"_smtp._tls.d.test": "v=TLSRPTv1; rua=mailto:tls@d.test,https://reports.d.test/"}}
		s := w.sender(t, dir)
		count(s.Store, "d.test")
		if err := s.Store.Save(); err != nil {
			t.Fatal(err)
		}
		until(t, "2026-11-23T04:00:00Z")
		s = w.sender(t, dir) // after a restart
		s.Round(t.Context())
		if len(w.mails) != 0 {
			t.Fatal("sent without a record")
		}
		w.err = nil
		s.Round(t.Context())
		s.Round(t.Context())
		s = w.sender(t, dir)
		s.Round(t.Context())
		if len(w.mails) != 1 || len(w.posts) != 3 {
			t.Fatalf("%d mails, %d posts", len(w.mails), len(w.posts))
		}
		same(t, w.posts[2])
		w.status = 200
		s.Round(t.Context())
		s.Round(t.Context())
		if len(w.mails) != 1 || len(w.posts) != 4 {
			t.Fatalf("%d mails, %d posts", len(w.mails), len(w.posts))
		}
		// After a day of failures it is forgotten, and after a week the file is.
		count(s.Store, "d.test")
		w.mailErr = errors.New("no room")
		until(t, "2026-11-25T05:00:00Z")
		s.Round(t.Context())
		w.mailErr = nil
		s.Round(t.Context())
		if len(w.mails) != 1 {
			t.Error("a report was sent after its time")
		}
		until(t, "2026-12-10T00:00:00Z")
		if err := s.Store.Save(); err != nil {
			t.Error(err)
		}
		if files, _ := os.ReadDir(dir); len(files) != 0 {
			t.Errorf("%v", files)
		}
	})
}

// Nobody can make it grow without end.
func TestBounds(t *testing.T) { synctest.Test(t, testBounds) } // on one day

func testBounds(t *testing.T) {
	s, err := tlsrpt.Open("", nil)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 1000)
	policies := [][]string{{long}, slices.Repeat([]string{long}, 100), {long, long}}
	for i := range 2 * tlsrpt.MaxDetails {
		for j := range 2 * tlsrpt.MaxPolicies {
			s.Add(tlsrpt.Session{Domain: "d.test", Policy: tlsrpt.Policy{Type: tlsrpt.STS, Strings: policies[j%3], MX: []string{fmt.Sprint(j)}},
				Result: tlsrpt.ValidationFailure, Reason: fmt.Sprint(i, long), ReceivingMX: fmt.Sprint("mx", i%7), Info: long})
		}
	}
	for _, bad := range []string{"", "a b", "ü.test", "a\r\nb", strings.Repeat("a", 256), "../x"} {
		s.Add(tlsrpt.Session{Domain: bad, Policy: tlsrpt.Policy{Type: tlsrpt.NoPolicy}})
	}
	for i := range tlsrpt.MaxDomains + 100 {
		s.Add(tlsrpt.Session{Domain: fmt.Sprintf("d%d.test", i), Policy: tlsrpt.Policy{Type: tlsrpt.NoPolicy}})
	}
	domains, kinds, details, size := s.Size()
	if domains != tlsrpt.MaxDomains || kinds > tlsrpt.MaxPolicies+tlsrpt.MaxDomains || details > tlsrpt.MaxPolicies*tlsrpt.MaxDetails {
		t.Errorf("%d domains, %d policies, %d details", domains, kinds, details)
	}
	if failures := 2 * tlsrpt.MaxDetails * 2 * tlsrpt.MaxPolicies; size != failures {
		t.Errorf("%d failures are counted, want %d", size, failures)
	}
}

// Large policies of many domains take no more room than the many small ones of an honest day.
func TestADayIsBoundedInOctets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s, err := tlsrpt.Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		texts := slices.Repeat([]string{strings.Repeat("x", 300)}, 60)
		add := func(s *tlsrpt.Store, domain string) {
			s.Add(tlsrpt.Session{Domain: domain, Policy: tlsrpt.Policy{Type: tlsrpt.STS, Strings: texts, MX: texts}, Result: tlsrpt.NotTrusted, Info: texts[0]})
		}
		size := func(s *tlsrpt.Store) int64 {
			t.Helper()
			if err := s.Save(); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(filepath.Join(dir, time.Now().UTC().Format(time.DateOnly)+".json"))
			if err != nil {
				t.Fatal(err)
			}
			return info.Size()
		}
		for i := range 1000 {
			add(s, fmt.Sprintf("d%d.test", i))
		}
		before := size(s)
		if before > 20<<20 {
			t.Errorf("%d octets", before)
		}
		again, err := tlsrpt.Open(dir, nil) // a restart makes no room
		if err != nil {
			t.Fatal(err)
		}
		add(again, "one.more.test")
		again.Add(tlsrpt.Session{Domain: "d0.test", Policy: tlsrpt.Policy{Type: tlsrpt.TLSA, Strings: texts}, Result: tlsrpt.Expired, Reason: texts[0]})
		if after := size(again); after > before+100 {
			t.Errorf("%d octets more after a restart", after-before)
		}
		if _, _, _, failures := again.Size(); failures == 0 {
			t.Error("nothing is left after a restart")
		}
	})
}

// Many slow domains do not keep from the disk who has its report.
func TestARoundThatTakesLongIsSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until(t, "2026-11-22T10:00:00Z")
		dir := t.TempDir()
		w := &world{}
		s := w.sender(t, dir)
		asked, saved := 0, 0
		s.TXT = func(context.Context, string) ([]string, error) {
			time.Sleep(time.Minute)
			asked++
			b, err := os.ReadFile(filepath.Join(dir, "2026-11-22.json"))
			if err == nil {
				saved = strings.Count(string(b), `"closed":true`)
			}
			return nil, errAbsent
		}
		for i := range 12 {
			count(s.Store, fmt.Sprintf("d%02d.test", i))
		}
		until(t, "2026-11-23T04:00:00Z")
		s.Round(t.Context())
		if asked != 12 || saved < 5 {
			t.Errorf("%d domains were asked, and before the last %d were saved", asked, saved)
		}
	})
}

func TestDamagedFilesAreLeftBehind(t *testing.T) { synctest.Test(t, testDamagedFiles) }

func testDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	day := time.Now().UTC().Format(time.DateOnly)
	for _, text := range []string{"", "{dam", `{"domains":null}`, `{"domains":{"d.test":null}}`, `{"domains":{"a\r\nb":{}}}`, `{"domains":{"d.test":{"policies":[null]}}}`} {
		path := filepath.Join(dir, day+".json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ".new-1"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := tlsrpt.Open(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		count(s, "d.test")
		if err := s.Save(); err != nil {
			t.Error(err)
		}
		if files, _ := os.ReadDir(dir); len(files) != 1 {
			t.Errorf("%q: %v", text, files)
		}
	}
}

func TestPost(t *testing.T) {
	var got int
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/", http.StatusTemporaryRedirect)
			return
		}
		got++
	}))
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	allowed := true
	rt := tlsrpt.Transport(func(_ context.Context, host string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}, func(netip.Addr) bool { return allowed }, &tls.Config{RootCAs: pool})
	port := s.URL[strings.LastIndexByte(s.URL, ':'):]
	post := func(url string) error {
		resp, err := rt.RoundTrip(mustRequest(t, url))
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := post("https://example.com" + port); err != nil || got != 1 {
		t.Errorf("%v, %d", err, got)
	}
	if err := post("https://other.test" + port); err == nil {
		t.Error("a certificate for another name is taken")
	}
	allowed = false
	if err := post("https://example.com" + port); err == nil || !strings.Contains(err.Error(), "no address") {
		t.Errorf("an address of our own network: %v", err)
	}
}

func mustRequest(t *testing.T, url string) *http.Request {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}
