package mailauth_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/mailauth"
)

// Each fact is found once, when somebody asks, about the message as it came.
func TestFacts(t *testing.T) {
	k, z := keys()
	z["example.org"] = []string{"TXT v=spf1 ip4:192.0.2.1 -all"}
	z["_dmarc.example.org"] = []string{"TXT v=DMARC1; p=reject; psd=n"}
	d := &fakeDNS{zone: z}
	f := mailauth.NewFacts(d, mailauth.SPFQuery{Client: client, Helo: "mta.example.org", Sender: mail.Path{Local: "a", Domain: "example.org"}, Now: now})
	if _, err := f.DMARC(t.Context()); !errors.Is(err, mailauth.ErrNoContent) {
		t.Errorf("before the message: %v", err)
	}
	if len(d.queries) != 0 {
		t.Errorf("looked up unasked: %q", d.queries)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if got := f.SPF(gone); got.Result != mailauth.TempError {
		t.Errorf("after giving up: %+v", got)
	}
	d.queries = nil
	h, body := split(t, sign(t, letter, mailauth.SignOptions{}, k[1]))
	f.SetContent(h, strings.NewReader(body), int64(len(body)))
	if err := h.Set(h.Find(0, "Subject"), "changed by a plugin", false); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		dmarc, err := f.DMARC(t.Context())
		if err != nil || dmarc.Result != mailauth.Pass || !dmarc.SPFAligned || !dmarc.DKIMAligned {
			t.Errorf("%+v, %v", dmarc, err)
		}
		dkim, err := f.DKIM(t.Context())
		if err != nil || results(dkim) != "pass" || f.SPF(t.Context()).Result != mailauth.Pass {
			t.Errorf("%+v, %v", dkim, err)
		}
	}
	if len(d.queries) != 3 {
		t.Errorf("looked up more than once: %q", d.queries)
	}
}
