package dsn_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	netmail "net/mail"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wasmta/wasmta/core/dsn"
	"github.com/wasmta/wasmta/core/mail"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var now = time.Date(2026, 11, 22, 3, 14, 45, 0, time.UTC)

func path(s string) mail.Path {
	p, _, err := mail.ParsePath("<" + s + ">")
	if err != nil {
		panic(err)
	}
	return p
}

const content = "Received: from client.example by mx.example.org with ESMTP id 0BcD\r\n" +
	"From: Alice <alice@example.org>\r\nTo: bob@example.net\r\nSubject: lunch\r\nMessage-ID: <lunch.1@example.org>\r\n\r\n"

func reply(code int, enhanced, text string) mail.Reply { return *mail.NewReply(code, enhanced, text) }

func template(text string) *dsn.Template {
	t, err := dsn.ParseTemplate([]byte(text))
	if err != nil {
		panic(err)
	}
	return t
}

func failure(to string) dsn.Recipient {
	return dsn.Recipient{
		Recipient: mail.Recipient{ForwardPath: path(to)},
		Result: mail.Result{Outcome: mail.Failed, RemoteMTA: "mx.example.net", Relay: "mx.example.net[192.0.2.25]:25",
			Reply: reply(550, "5.1.1", "User unknown; see https://example.net/help for what this may mean and what can be done about it")},
		Attempted: now.Add(-time.Second),
	}
}

func base(a dsn.Action, rcpts ...dsn.Recipient) dsn.Report {
	return dsn.Report{
		Action: a, Hostname: "mx.example.org", ID: mail.FirstID(now.Add(-time.Hour)), Now: now, Arrived: now.Add(-time.Hour),
		Envelope: mail.Envelope{ReversePath: path("alice@example.org")}, Recipients: rcpts,
		Header: []byte(content), Size: int64(len(content)) + 7,
	}
}

// cases are the golden files, and what the tests of structure run over.
func cases() map[string]dsn.Report {
	m := map[string]dsn.Report{}
	m["failed"] = base(dsn.Failed, failure("bob@example.net"))

	r := base(dsn.Failed, failure("bob@example.net"), failure("carol@example.net"))
	r.Recipients[1].Notify = mail.NotifyNever
	r.Recipients[0].OrcptType, r.Recipients[0].Orcpt = "rfc822", "Bob+lists@example.com"
	r.Recipients[0].Original = path("bob@example.com")
	r.Envelope.EnvID = "QQ 314159+x"
	m["failed-orcpt-envid-one-never"] = r

	r = base(dsn.Failed, failure("bob@example.net"))
	r.Envelope.Return = mail.ReturnFull
	r.Body = []byte("Gr\xfc\xdfe\r\n.\r\n--=_boundary--\r\n")
	r.Size = int64(len(r.Header) + len(r.Body))
	m["failed-ret-full-8bit"] = r

	r = base(dsn.Failed, failure("bob@example.net"))
	r.Recipients[0].Result = mail.Result{Outcome: mail.Expired, Reply: reply(451, "4.4.1", "Connection to mx.example.net timed out")}
	m["expired"] = r

	r = base(dsn.Delayed, failure("bob@example.net"))
	r.Recipients[0].Result = mail.Result{Outcome: mail.Deferred, RemoteMTA: "mx.example.net", Reply: reply(452, "4.2.2", "Mailbox full")}
	r.Recipients[0].RetryUntil = now.Add(5 * 24 * time.Hour)
	m["delayed"] = r

	r = base(dsn.Success, failure("bob@example.net"), failure("carol@example.net"))
	for i := range r.Recipients {
		r.Recipients[i].Notify = mail.NotifySuccess | mail.NotifyFailure
		r.Recipients[i].Result = mail.Result{Outcome: mail.Delivered, RemoteMTA: "mx.example.net", Reply: reply(250, "2.0.0", "Ok: queued as 8BDC"), Relayed: i == 1}
	}
	m["success-one-relayed"] = r

	r = base(dsn.Failed, failure("bob@example.net"))
	r.Envelope.ReversePath, r.Envelope.SMTPUTF8 = path("ålice@exämple.org"), true
	r.Recipients[0].ForwardPath = path("bøb@example.net")
	r.Recipients[0].Result.Reply.Text = "Böb is unknown"
	r.Header = []byte("Subject: grüße\r\n\r\n")
	m["failed-smtputf8"] = r

	r = base(dsn.Failed, failure("bob@example.net"))
	r.Recipients[0].Original = path("bøb@example.com")
	r.Recipients[0].Result.Reply.Text = "Böb is unknown"
	r.Header = []byte("Subject: gr\xfc\xdfe\r\n\r\n")
	m["failed-8bit-without-smtputf8"] = r

	r = base(dsn.Failed, failure("bob@example.net"))
	r.Recipients[0].Result.Reply.Text = "no\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n<b>\x1b[2J\x00 \u2028 \xff caf\u00e9 " + strings.Repeat("y", 5000)
	r.Recipients[0].Result.RemoteMTA = "evil\r\nBcc: all@example.org"
	r.Header = []byte("Message-ID: <a@b> <c@d>\r\nX-Long: " + strings.Repeat("z", 2000) + "\r\nX-Nul: a\x00b\r\nSubject: kept\r\n\r\n")
	m["failed-hostile"] = r

	r = base(dsn.Expanded, failure("sales@example.org"))
	r.Recipients[0].Notify = mail.NotifySuccess
	r.Recipients[0].OrcptType, r.Recipients[0].Orcpt = "rfc822", "sales@example.org"
	r.Recipients[0].Result = mail.Result{Outcome: mail.Delivered}
	m["expanded"] = r

	r = base(dsn.Failed, failure("bob@example.net"))
	r.Envelope.By = mail.DeliverBy{Time: now.Add(-time.Second), Return: true}
	r.Recipients[0].Result = mail.Result{Outcome: mail.Expired, Reply: reply(451, "4.4.1", "Connection to mx.example.net timed out")}
	m["deliver-by-return"] = r

	r = base(dsn.Delayed, failure("bob@example.net"))
	r.Envelope.By = mail.DeliverBy{Time: now.Add(-time.Second)}
	r.Recipients[0].Notify = mail.NotifyFailure
	r.Recipients[0].Result = mail.Result{Outcome: mail.Deferred, RemoteMTA: "mx.example.net", Reply: reply(452, "4.2.2", "Mailbox full")}
	r.Recipients[0].RetryUntil = now.Add(time.Hour)
	m["deliver-by-notify"] = r

	r = base(dsn.Failed, failure("bob@example.net"))
	r.Template = template("# ours\n[failed]\nFrom: Die Post \"{hostname}\"\nSubject: Unzustellbar: {sender}\n\nGuten Tag,\n\nIhre Nachricht {id} vom {arrived} konnte " +
		"leider nicht allen Empf\u00e4ngern zugestellt werden, was uns au\u00dferordentlich leid tut.\n[delayed]\n\nlater\n")
	m["failed-template"] = r

	r = base(dsn.Failed, failure(`"a  b@c"@example.net`))
	r.Envelope.ReversePath = path(`"x  \" y>"@example.org`)
	m["failed-quoted"] = r
	return m
}

func TestGolden(t *testing.T) {
	for name, r := range cases() {
		t.Run(name, func(t *testing.T) {
			env, header, body, ok := dsn.Compose(r)
			if !ok {
				t.Fatal("nothing composed")
			}
			var got bytes.Buffer
			got.WriteString("MAIL FROM:<" + env.ReversePath.String() + ">")
			if env.Body != 0 {
				got.WriteString(" BODY=" + env.Body.String())
			}
			if env.SMTPUTF8 {
				got.WriteString(" SMTPUTF8")
			}
			for _, rcpt := range env.Recipients {
				got.WriteString("\nRCPT TO:<" + rcpt.ForwardPath.String() + "> NOTIFY=" + rcpt.Notify.String())
			}
			got.WriteString("\n\n")
			got.Write(bytes.ReplaceAll(append(bytes.Clone(header), body...), []byte("\r\n"), []byte("\n")))
			file := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// parsed is a notification as other software sees it.
type parsed struct {
	header  textproto.MIMEHeader
	kinds   []string
	parts   [][]byte
	message textproto.MIMEHeader
	rcpts   []textproto.MIMEHeader
}

func parse(t testing.TB, header, body []byte) parsed {
	t.Helper()
	var p parsed
	var err error
	if p.header, err = textproto.NewReader(bufio.NewReader(bytes.NewReader(header))).ReadMIMEHeader(); err != nil {
		t.Fatalf("header: %v\n%q", err, header)
	}
	kind, params, err := mime.ParseMediaType(p.header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" {
		t.Fatalf("Content-Type %q: %v", p.header.Get("Content-Type"), err)
	}
	mr := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for {
		part, err := mr.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kind, _, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range b {
			if c >= 0x80 && part.Header.Get("Content-Transfer-Encoding") != "8bit" {
				t.Fatalf("undeclared 8-bit octet in %s", kind)
			}
		}
		p.kinds, p.parts = append(p.kinds, kind), append(p.parts, b)
	}
	if len(p.parts) != 3 {
		t.Fatalf("parts %q, want three", p.kinds)
	}
	if want := strings.TrimPrefix(p.kinds[1], "message/"); params["report-type"] != want {
		t.Errorf("report-type %q, second part %q", params["report-type"], p.kinds[1])
	}
	tp := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(p.parts[1], "\r\n\r\n"...))))
	if p.message, err = tp.ReadMIMEHeader(); err != nil {
		t.Fatalf("per-message fields: %v", err)
	}
	for {
		h, err := tp.ReadMIMEHeader()
		if len(h) > 0 {
			p.rcpts = append(p.rcpts, h)
		}
		if err != nil || len(h) == 0 {
			break
		}
	}
	for line := range bytes.SplitSeq(append(header, body...), []byte("\r\n")) {
		if len(line) > 998 || bytes.ContainsAny(line, "\r\n\x00") {
			t.Errorf("line of %d octets or with a bare control: %.80q", len(line), line)
		}
	}
	return p
}

var allowed = map[string]bool{"Original-Recipient": true, "Final-Recipient": true, "Action": true, "Status": true, "Remote-Mta": true,
	"Diagnostic-Code": true, "Last-Attempt-Date": true, "Will-Retry-Until": true}

func TestStructure(t *testing.T) {
	for name, r := range cases() {
		t.Run(name, func(t *testing.T) {
			env, header, body, _ := dsn.Compose(r)
			p := parse(t, header, body)
			if !env.ReversePath.IsNull() || len(env.Recipients) != 1 || env.Recipients[0].ForwardPath != r.Envelope.ReversePath {
				t.Errorf("envelope %+v", env)
			}
			for _, key := range []string{"Date", "From", "To", "Subject", "Message-Id", "Auto-Submitted", "Mime-Version"} {
				if len(p.header[key]) != 1 {
					t.Errorf("%s: %q", key, p.header[key])
				}
			}
			if _, err := netmail.ParseDate(p.header.Get("Date")); err != nil {
				t.Error(err)
			}
			if len(p.header["Bcc"]) > 0 {
				t.Error("a field was injected")
			}
			wanted := dsn.Wanted(r.Action, r.Envelope, r.Recipients)
			if len(p.rcpts) != len(wanted) {
				t.Fatalf("%d recipients in the report, want %d", len(p.rcpts), len(wanted))
			}
			for _, h := range p.rcpts {
				for key := range h {
					if !allowed[key] {
						t.Errorf("field %s was injected", key)
					}
				}
			}
		})
	}
}

func TestNoNotification(t *testing.T) {
	null := base(dsn.Failed, failure("bob@example.net"))
	null.Envelope.ReversePath = mail.Path{}
	never := base(dsn.Failed, failure("bob@example.net"))
	never.Recipients[0].Notify = mail.NotifyNever
	onlySuccess := base(dsn.Failed, failure("bob@example.net"))
	onlySuccess.Recipients[0].Notify = mail.NotifySuccess
	unsaidSuccess := base(dsn.Success, failure("bob@example.net"))
	noDelay := base(dsn.Delayed, failure("bob@example.net"))
	noDelay.Recipients[0].Notify = mail.NotifyFailure
	for name, r := range map[string]dsn.Report{"null reverse-path": null, "NOTIFY=NEVER": never, "NOTIFY=SUCCESS and it failed": onlySuccess,
		"success that nobody asked for": unsaidSuccess, "delay without DELAY": noDelay, "no recipients": base(dsn.Failed)} {
		if _, _, _, ok := dsn.Compose(r); ok {
			t.Errorf("%s: a notification was made", name)
		}
	}
}

func TestReturnedContent(t *testing.T) {
	full := func(f func(*dsn.Report)) dsn.Report {
		r := base(dsn.Failed, failure("bob@example.net"))
		r.Envelope.Return, r.Body, r.Size = mail.ReturnFull, []byte("hello\r\n"), int64(len(content)+7)
		f(&r)
		return r
	}
	for name, c := range map[string]struct {
		r    dsn.Report
		kind string
	}{
		"RET=FULL":           {full(func(*dsn.Report) {}), "message/rfc822"},
		"RET=HDRS":           {full(func(r *dsn.Report) { r.Envelope.Return = mail.ReturnHeaders }), "text/rfc822-headers"},
		"RET not given":      {full(func(r *dsn.Report) { r.Envelope.Return = mail.ReturnUnspecified }), "text/rfc822-headers"},
		"too large":          {full(func(r *dsn.Report) { r.Body = bytes.Repeat([]byte("x\r\n"), 20000); r.Size = 60000 }), "text/rfc822-headers"},
		"size and body lie":  {full(func(r *dsn.Report) { r.Body = bytes.Repeat([]byte("x\r\n"), 20000) }), "text/rfc822-headers"},
		"bare LF in body":    {full(func(r *dsn.Report) { r.Body = []byte("a\nb\r\n") }), "text/rfc822-headers"},
		"NUL in body":        {full(func(r *dsn.Report) { r.Body = []byte("a\x00b\r\n") }), "text/rfc822-headers"},
		"line beyond 998":    {full(func(r *dsn.Report) { r.Body = bytes.Repeat([]byte("x"), 1200) }), "text/rfc822-headers"},
		"no body, no header": {full(func(r *dsn.Report) { r.Body, r.Header = []byte{}, nil }), "message/rfc822"},
	} {
		_, header, body, _ := dsn.Compose(c.r)
		p := parse(t, header, body)
		if p.kinds[2] != c.kind {
			t.Errorf("%s: returned as %s, want %s", name, p.kinds[2], c.kind)
		}
		if c.kind == "message/rfc822" && !bytes.Contains(p.parts[2], c.r.Body) {
			t.Errorf("%s: the body is not there", name)
		}
		if len(body) > dsn.MaxReturn+10_000 {
			t.Errorf("%s: %d octets", name, len(body))
		}
	}
}

func TestRemoteTextIsBounded(t *testing.T) {
	r := base(dsn.Failed, failure("bob@example.net"))
	r.Recipients[0].Result.Reply.Text = strings.Repeat("attack \r\nX: y\r\n", 1<<16)
	r.Recipients[0].Result.RemoteMTA = strings.Repeat("h", 1<<20)
	_, header, body, _ := dsn.Compose(r)
	if len(body) > 16<<10 {
		t.Errorf("%d octets", len(body))
	}
	parse(t, header, body)
}

func TestManyRecipientsMakeNoHugeNotification(t *testing.T) {
	r := base(dsn.Failed)
	for i := range 10_000 {
		one := failure(fmt.Sprintf("user%d@example.net", i))
		one.Result.Reply.Text = strings.Repeat("blah ", 400)
		r.Recipients = append(r.Recipients, one)
	}
	_, header, body, _ := dsn.Compose(r)
	if len(body) > 5<<20 {
		t.Errorf("%d octets", len(body))
	}
	parse(t, header, body)
	if !strings.Contains(string(body), "user9999@example.net") {
		t.Error("the last recipient is missing")
	}
}

func TestMessageIDIsCopiedOnlyIfSound(t *testing.T) {
	for id, copied := range map[string]bool{
		"<ok.1@example.org>": true, "<a@b> <c@d>": false, "<a@b\r\n Bcc: x@y>": false, "<a@b>;evil": false, "<>": false, "no": false,
		"<" + strings.Repeat("x", 300) + "@y>": false, "<a\x7f@b>": false, "<\xffa@b>": false, "<a@@b>": false, "<(a@b>": false,
	} {
		r := base(dsn.Failed, failure("bob@example.net"))
		r.Header = []byte("Message-ID: " + id + "\r\n\r\n")
		_, header, body, _ := dsn.Compose(r)
		p := parse(t, header, body)
		if got := p.header.Get("In-Reply-To") != ""; got != copied {
			t.Errorf("%q: copied %v", id, got)
		}
	}
}

func TestPythonReadsIt(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: its email package is asked whether it can read our notifications")
	}
	const script = `
import sys, json, base64, email, email.policy
for line in sys.stdin:
    m = email.message_from_bytes(base64.b64decode(line), policy=email.policy.SMTP)
    parts = list(m.iter_parts())
    status = list(parts[1].iter_parts()) if parts[1].is_multipart() else []
    print(json.dumps({
      "type": m.get_content_type(), "defects": [str(d) for p in m.walk() for d in p.defects],
      "to": m["To"].addresses[0].addr_spec, "parts": [p.get_content_type() for p in parts],
      "rcpts": [{k.lower(): str(v) for k, v in s.items()} for s in status[1:]]}))
`
	var names []string
	var in bytes.Buffer
	all := cases()
	delete(all, "failed-smtputf8") // Python does not read message/global-delivery-status as a list of fields
	for name, r := range all {
		_, header, body, _ := dsn.Compose(r)
		names = append(names, name)
		in.WriteString(base64.StdEncoding.EncodeToString(append(header, body...)) + "\n")
	}
	cmd := exec.Command(python, "-c", script)
	cmd.Stdin = &in
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	for _, name := range names {
		r := all[name]
		var got struct {
			Type, To       string
			Defects, Parts []string
			Rcpts          []map[string]string
		}
		if err := dec.Decode(&got); err != nil {
			t.Fatal(err)
		}
		wanted := dsn.Wanted(r.Action, r.Envelope, r.Recipients)
		if got.Type != "multipart/report" || len(got.Defects) > 0 || len(got.Parts) != 3 || len(got.Rcpts) != len(wanted) {
			t.Errorf("%s: %+v", name, got)
			continue
		}
		if name != "failed-quoted" && got.To != r.Envelope.ReversePath.String() {
			t.Errorf("%s: To %q", name, got.To)
		}
		for i, w := range wanted {
			if final := got.Rcpts[i]["final-recipient"]; final != "rfc822; "+w.ForwardPath.String() || got.Rcpts[i]["action"] == "" {
				t.Errorf("%s: final-recipient %q, action %q", name, final, got.Rcpts[i]["action"])
			}
		}
	}
}

func FuzzCompose(f *testing.F) {
	f.Add("bob", "550 no", "mx.example", []byte(content), []byte("hi\r\n"), uint8(0))
	f.Add("b\r\n\r\n--x", "a\nb\x00", "m\r\nX: y", []byte("X: y\n\n"), []byte("\x80\xff"), uint8(255))
	f.Fuzz(func(t *testing.T, orcpt, text, mta string, header, body []byte, bits uint8) {
		r := base(dsn.Action(bits%3), failure("bob@example.net"))
		r.Recipients[0].Notify = mail.NotifySuccess | mail.NotifyDelay | mail.NotifyFailure
		r.Recipients[0].OrcptType, r.Recipients[0].Orcpt = "rfc822", orcpt
		r.Recipients[0].Result.Reply.Text, r.Recipients[0].Result.RemoteMTA = text, mta
		r.Envelope.SMTPUTF8 = bits&4 != 0
		r.Envelope.EnvID = orcpt
		if bits&8 != 0 {
			r.Envelope.Return = mail.ReturnFull
		}
		r.Header, r.Body, r.Size = header, body, int64(len(header)+len(body))
		_, h, b, ok := dsn.Compose(r)
		if !ok {
			t.Fatal("nothing composed")
		}
		p := parse(t, h, b)
		if len(p.rcpts) != 1 || p.rcpts[0].Get("Final-Recipient") != "rfc822; bob@example.net" {
			t.Errorf("recipients %q", p.rcpts)
		}
		for key := range p.rcpts[0] {
			if !allowed[key] {
				t.Errorf("field %q was injected", key)
			}
		}
	})
}

func TestFaultsOfATemplateNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"[failed]\nTo: x\n":                    "line 2: a section begins with From: and Subject: and an empty line",
		"[failed]\n\n[bounced]\n":              "line 3: there is no section [bounced]; write [failed]",
		"[failed]\n\na\n[failed]\n":            "line 4: the section [failed] is there twice",
		"[delayed]\nSubject: {to}\n":           "line 2: the placeholders are {hostname}",
		"[delayed]\n\na {\n":                   "line 3: the placeholders are",
		"[delayed]\n\na\x00\n":                 "line 3: it is not text in UTF-8",
		"[delayed]\nSubject:\n":                "line 2: a field needs a value",
		strings.Repeat("x", dsn.MaxTemplate+1): "the limit is 65536",
	} {
		if _, err := dsn.ParseTemplate([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

// Whatever a template says, the notification stays one that programs can read.
func FuzzTemplate(f *testing.F) {
	f.Add("[failed]\nFrom: a\nSubject: {sender}\n\nx {id}\n\n--=_\n", "a\r\nb@example.org")
	f.Add("[failed]\nFrom: \u00e4\"\\\n\n.\n", "x")
	f.Fuzz(func(t *testing.T, text, said string) {
		tmpl, err := dsn.ParseTemplate([]byte(text))
		if err != nil {
			return
		}
		r := base(dsn.Failed, failure("bob@example.net"))
		r.Template, r.Recipients[0].Result.Reply.Text = tmpl, said
		_, header, body, ok := dsn.Compose(r)
		if !ok {
			t.Fatal("nothing composed")
		}
		m, err := netmail.ReadMessage(bytes.NewReader(append(bytes.Clone(header), body...)))
		if err != nil {
			t.Fatal(err)
		}
		if from, err := m.Header.AddressList("From"); err != nil || len(from) != 1 || from[0].Address != "MAILER-DAEMON@mx.example.org" {
			t.Fatalf("From %q: %v", m.Header.Get("From"), err)
		}
		if h, err := mail.ParseHeader(header); err != nil || h.Count("Subject") != 1 || h.Count("From") != 1 || h.Count("Content-Type") != 1 {
			t.Fatalf("%v\n%s", err, header)
		}
	})
}

// A smaller MaxReturn holds for the header section too, and a larger one does not make notifications of headers.
func TestTheReturnedHeaderIsBounded(t *testing.T) {
	line := "X-Long: " + strings.Repeat("x", 90) + "\r\n"
	for limit, most := range map[int64]int{0: dsn.MaxReturn, 2000: 2000, 10 * dsn.MaxReturn: dsn.MaxReturn} {
		r := dsn.Report{Action: dsn.Failed, Hostname: "us.test", Envelope: mail.Envelope{ReversePath: mail.Path{Local: "a", Domain: "x.test"}},
			Recipients: []dsn.Recipient{{Recipient: mail.Recipient{ForwardPath: mail.Path{Local: "b", Domain: "y.test"}}, Result: mail.Result{Outcome: mail.Failed, Reply: *mail.NewReply(550, "5.1.1", "No")}}},
			Header:     []byte(strings.Repeat(line, 2000) + "\r\n"), MaxReturn: limit}
		_, _, body, ok := dsn.Compose(r)
		if got := strings.Count(string(body), "X-Long") * len(line); !ok || got > most || got < most-len(line) {
			t.Errorf("limit %d: %d octets of the header section, want about %d", limit, got, most)
		}
	}
}

// RFC 8689 5: what must not be read on its way must not be read on its way back.
func TestNotificationsAboutRequireTLS(t *testing.T) {
	r := dsn.Report{Action: dsn.Failed, Hostname: "us.test", Envelope: mail.Envelope{ReversePath: mail.Path{Local: "a", Domain: "x.test"}},
		Recipients: []dsn.Recipient{{Recipient: mail.Recipient{ForwardPath: mail.Path{Local: "b", Domain: "y.test"}}, Result: mail.Result{Outcome: mail.Failed, Reply: *mail.NewReply(550, "5.1.1", "No")}}},
		Header:     []byte("Subject: x\r\n\r\n"), Body: []byte("secret\r\n"), Size: 20}
	r.Envelope.Return = mail.ReturnFull
	for _, require := range []bool{false, true} {
		r.Envelope.RequireTLS = require
		env, _, body, ok := dsn.Compose(r)
		if !ok || env.RequireTLS != require || strings.Contains(string(body), "secret") == require || dsn.WantsBody(r.Envelope, r.Size, 0) == require {
			t.Errorf("REQUIRETLS %v: %+v\n%s", require, env, body)
		}
	}
}
