package main

import (
	"testing"

	"github.com/wasmta/wasmta/sdk/go/plugintest"
)

func TestPolicy(t *testing.T) {
	p := plugintest.New(t, plugintest.Options{
		Config: `{"blocked": ["blocked", "spam.test"], "partner": "partner.test", "next_hop": "smtp:127.0.0.1:2526"}`,
		Grant:  plugintest.Grant{Envelope: "write", Headers: "write"},
	})
	s := p.Session()
	s.Mail("a@example.com").Want("continue")
	s.Rcpt("blocked@quickstart.test").Want("reject 550 5.7.1 this mailbox takes no mail")
	s.Rcpt("anybody@spam.test").Want("reject 550 5.7.1")
	s.Rcpt("ann@quickstart.test").Want("continue")
	s.Rcpt("bob@partner.test").Want("continue")

	s.Message("Subject: hi\r\n\r\ntext\r\n").Want("continue")
	if got := s.Header("X-Wasmta-Quickstart"); got != greeting {
		t.Errorf("X-Wasmta-Quickstart: %q, want %q", got, greeting)
	}

	d := s.Deliver("partner.test")
	d.Route().Want("accept")
	if d.NextHop() != "smtp:127.0.0.1:2526" {
		t.Errorf("mail for the partner goes to %q", d.NextHop())
	}
	s.Deliver("quickstart.test").Route().Want("continue")
}
