package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/cmd/lab/scene"
	"github.com/wasmta/wasmta/core/deliver"
)

func onLinux(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs all of 127.0.0.0/8 as loopback addresses, as Linux has it")
	}
}

// TestCheck sends a message to every domain.
func TestCheck(t *testing.T) {
	onLinux(t)
	var out, errs bytes.Buffer
	code, err := run(t.Context(), []string{"-check"}, &out, &errs)
	if code != 0 || err != nil {
		t.Errorf("exit code %d, %v\n%s\n%s", code, err, out.String(), errs.String())
	}
	if n := strings.Count(out.String(), "pass"); n < len(scene.Rows()) {
		t.Errorf("%d rows passed, want %d", n, len(scene.Rows()))
	}
}

// TestTheCheckSeesWhatIsWrong takes DANE and MTA-STS away from the server, and expects exactly the rows to fail whose
// mail they hold back.
func TestTheCheckSeesWhatIsWrong(t *testing.T) {
	onLinux(t)
	var want []string
	for _, r := range scene.Rows() {
		switch {
		case !strings.HasPrefix(r.Name, "dane-") && !strings.HasPrefix(r.Name, "sts") && !strings.HasPrefix(r.Name, "both"):
		case r.Want.Status == scene.Deferred && r.Name != "dane-bogus-addr", r.Name == "dane-next", r.Name == "sts-next":
			want = append(want, r.Name)
		case r.Outage != nil:
			want = append(want, r.Name) // and its row before the outage passes
		}
	}
	var got []string
	for _, rows := range []string{"dane-", "sts", "both"} {
		var out, errs bytes.Buffer
		code, err := runWith(t.Context(), flags{tamper: func(o *deliver.Options) { o.DANE, o.STS = nil, nil }}, []string{"-check", "-only", rows}, &out, &errs)
		if code != 1 || err != nil {
			t.Errorf("%s: exit code %d, %v\n%s\n%s", rows, code, err, out.String(), errs.String())
		}
		for line := range strings.Lines(out.String()) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "FAIL" {
				got = append(got, f[1])
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("failed rows\n%q, want\n%q", got, want)
	}
}

// judge is what Python's email package makes of a notification.
const judge = `
import email, email.policy, sys
from email.headerregistry import Address
m = email.message_from_binary_file(open(sys.argv[1], "rb"), policy=email.policy.default)
to, status, diagnostic = sys.argv[2:]
def check(ok, what):
    if not ok: sys.exit("%s\n%s" % (what, m.as_string()))
for part in m.walk():
    check(not part.defects, part.defects)
    for name in part: check(not part[name].defects if hasattr(part[name], "defects") else True, name)
check(m.get_content_type() == "multipart/report" and m.get_param("report-type") == "delivery-status", m["Content-Type"])
check(m["Auto-Submitted"] == "auto-replied", m["Auto-Submitted"])
check(m["Date"].datetime and m["Message-ID"] and m["From"].addresses and len(m["To"].addresses) == 1, "header")
text, report, original = m.iter_parts()
check(text.get_content_type() == "text/plain" and to in text.get_content(), "text")
check(report.get_content_type() == "message/delivery-status", "report")
about, recipient = report.get_payload()
check(about["Reporting-MTA"] == "dns; mta.lab.test", about["Reporting-MTA"])
check(recipient["Final-Recipient"] == "rfc822; " + to, recipient["Final-Recipient"])
check(recipient["Action"] == "failed" and recipient["Status"] == status, recipient["Status"])
check(diagnostic in recipient["Diagnostic-Code"], recipient["Diagnostic-Code"])
check(original.get_content_type() in ("message/rfc822", "text/rfc822-headers"), original.get_content_type())
sent = original.get_content() if original.get_content_type() == "message/rfc822" else email.message_from_string(original.get_content())
check(sent["To"] == to and sent["Message-ID"], "original")
`

// TestBouncesAreReadByOthers lets Python read what the senders got.
func TestBouncesAreReadByOthers(t *testing.T) {
	onLinux(t)
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	var rows []scene.Row
	for _, r := range scene.Rows() {
		if r.Want.Status == scene.Bounced && r.User == "" { // Python knows no message/global-delivery-status
			rows = append(rows, r)
		}
	}
	var errs bytes.Buffer
	l, err := open(rows, flags{}, &errs)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	results, err := l.scene.Check(ctx, l.target())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if !r.Passed() {
			t.Errorf("%s: %s", r.Row.Name, r.Faults)
			continue
		}
		files, _ := filepath.Glob(l.path("home/" + r.Row.Name + "/new/*"))
		if len(files) != 1 {
			t.Errorf("%s: %d notifications", r.Row.Name, len(files))
			continue
		}
		status, text, _ := strings.Cut(r.Reply, " ")
		out, err := exec.Command(python, "-c", judge, files[0], "first@"+r.Row.Domain(), status, text[:9]).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", r.Row.Name, err, out)
		}
	}
}

// TestNamespace runs the program wasmta, which is told nothing of the laboratory, at the real ports.
func TestNamespace(t *testing.T) {
	onLinux(t)
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes a network namespace")
	}
	if exec.Command("unshare", "--net", "ip", "link", "set", "lo", "up").Run() != nil {
		t.Skip("this machine does not let us make a network namespace (unshare; ip of iproute2; CAP_SYS_ADMIN)")
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir, ".", "../wasmta")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, rows := range []string{"both", "sts-s"} {
		out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "lab"), "-netns", "-wasmta", filepath.Join(dir, "wasmta"), "-check", "-only", rows).CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// TestOptions: what cannot be done is said, with exit code 2.
func TestOptions(t *testing.T) {
	for _, args := range [][]string{{"-nothing"}, {"-check", "now"}, {"-check", "-only", "nothing"}} {
		var out, errs bytes.Buffer
		code, err := run(t.Context(), args, &out, &errs)
		if code != 2 || err == nil && errs.Len() == 0 {
			t.Errorf("%q: %d, %v", args, code, err)
		}
	}
}

// TestTheTable: each row names its RFC and what must come of it, and no two are at one domain.
func TestTheTable(t *testing.T) {
	onLinux(t)
	seen := make(map[string]bool)
	for _, r := range scene.Rows() {
		rfc, section, _ := strings.Cut(r.RFC, " ")
		if len(rfc) != 4 || section == "" || r.What == "" || r.Want.Status == "" || seen[r.Name] {
			t.Errorf("%+v", r)
		}
		seen[r.Name] = true
	}
	ctx, stop := context.WithCancel(t.Context())
	stop() // at once
	var out, errs bytes.Buffer
	if code, err := run(ctx, nil, &out, &errs); code != 0 || err != nil {
		t.Fatalf("%d, %v", code, err)
	}
	for _, r := range scene.Rows() {
		if !strings.Contains(out.String(), "\n"+r.Domain()+" ") {
			t.Errorf("%s is not described:\n%s", r.Domain(), out.String())
		}
	}
}
