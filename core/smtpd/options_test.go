package smtpd_test

import (
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/smtpd"
)

func TestOptionsAreChecked(t *testing.T) {
	for _, c := range []struct {
		edit func(*smtpd.Options)
		want string
	}{
		{func(o *smtpd.Options) { o.Hostname = "bad name" }, `hostname "bad name"`},
		{func(o *smtpd.Options) { o.Source = nil }, "source of hooks"},
		{func(o *smtpd.Options) { o.Intake = nil }, "intake"},
		{func(o *smtpd.Options) { o.ImplicitTLS = true }, "TLS configuration"},
		{func(o *smtpd.Options) { o.MaxSize = -1 }, "negative"},
		{func(o *smtpd.Options) { o.MaxSize = 1 << 50 }, "tebibyte"},
		{func(o *smtpd.Options) { o.MaxRecipients = 1 << 20 }, "recipients"},
		{func(o *smtpd.Options) { o.Role = 9 }, "role"},
	} {
		o := smtpd.Options{Hostname: "mx.test", Listener: "in", Source: hook.Static(nil), Intake: &memory{}}
		if _, err := smtpd.New(o); err != nil {
			t.Fatal(err)
		}
		c.edit(&o)
		if _, err := smtpd.New(o); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), `listener "in": `) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	for _, r := range []smtpd.Role{smtpd.MX, smtpd.Submission, smtpd.LMTP} {
		if got, err := smtpd.ParseRole(r.String()); got != r || err != nil {
			t.Errorf("%s: %v %v", r, got, err)
		}
	}
	if _, err := smtpd.ParseRole("relay"); err == nil {
		t.Error("role relay")
	}
}
