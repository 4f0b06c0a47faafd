package core_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailtest"
)

// An alias of several gives one notification, of its being expanded, and none of
// success from those behind it; failures are still told (RFC 3461 5.2.7.3).
func TestAnAliasOfSeveralIsReportedAsExpanded(t *testing.T) {
	peer := mailtest.ServeSMTP(t, mailtest.Script{Extensions: []string{"PIPELINING"}, Replies: map[string]string{"RCPT <gone@there.test>": "550 5.1.1 no such user"}})
	home := mailtest.ServeSMTP(t, mailtest.Script{})
	policy := hook.Static{{Name: "aliases", Stages: hook.Stages(hook.Rcpt), Handler: hook.HandlerFunc(func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
		if to := e.Tx.Envelope.Recipients[e.Recipient].ForwardPath; to.Local != "team" {
			return hook.Verdict{}, nil
		}
		if err := e.SetForwardPath(e.Recipient, mail.Path{Local: "one", Domain: "there.test"}); err != nil {
			return hook.Verdict{}, err
		}
		for _, local := range []string{"two", "gone"} {
			if err := e.AddRecipient(mail.Path{Local: local, Domain: "there.test"}); err != nil {
				return hook.Verdict{}, err
			}
		}
		return hook.Verdict{Action: hook.Accept}, nil
	})}}
	wording := filepath.Join(t.TempDir(), "notify.txt")
	if err := os.WriteFile(wording, []byte("[expanded]\nSubject: team mail from {sender}\n\nTo the team.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, quick+"[notify]\ntemplate = \""+wording+"\"\n"+routeTo("there.test", "smtp:"+peer.Addr)+routeTo("*", "smtp:"+home.Addr), policy)
	s.send("a@src.test", "team@here.test NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;team@here.test")
	eventually(t, 20*time.Second, "two notifications arrive", func() bool { return home.Count() >= 2 })
	eventually(t, 20*time.Second, "two copies arrive", func() bool { return len(peer.Messages()) >= 1 && len(peer.Messages()[0].To) == 2 })
	steady(t, 300*time.Millisecond, "more notifications", func() bool { return home.Count() == 2 })
	for _, m := range home.Messages() {
		c := string(m.Content)
		switch {
		case strings.Contains(c, "Action: expanded\r\n"):
			if !strings.Contains(c, "Final-Recipient: rfc822; team@here.test\r\n") || !strings.Contains(c, "Subject: team mail from a@src.test\r\n") {
				t.Errorf("expanded:\n%s", c)
			}
		case strings.Contains(c, "Action: failed\r\n"):
			if !strings.Contains(c, "Original-Recipient: rfc822; team@here.test\r\n") || !strings.Contains(c, "Final-Recipient: rfc822; gone@there.test\r\n") {
				t.Errorf("failed:\n%s", c)
			}
		default:
			t.Errorf("another notification:\n%s", c)
		}
	}
}
