package core

import (
	"net/netip"
	"testing"

	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/mail"
)

func TestStrangersGetNoBackscatter(t *testing.T) {
	parse := func(strangers string) func(*mail.Client, mail.Path, mail.Result, string) bool {
		c, err := config.Parse([]byte("hostname='h.test'\nlocal_domains=['here.test']\nrelay_domains=['backup.test']\nrelay_networks=['192.0.2.0/24']\n"+
			"[[listener]]\nname='mx'\naddress='127.0.0.1:25'\n[[listener]]\nrole='submission'\naddress='127.0.0.1:587'\n[notify]\nstrangers='"+strangers+"'\n"), "x.toml", "/etc/w")
		if err != nil {
			t.Fatal(err)
		}
		return backscatter(c)
	}
	stranger := mail.Client{Listener: "mx", Remote: netip.MustParseAddrPort("198.51.100.7:4711")}
	relay, user, sub, local := stranger, stranger, stranger, mail.Client{}
	relay.Remote, user.Auth, sub.Listener = netip.MustParseAddrPort("[::ffff:192.0.2.9]:1"), "tim", "submission"
	said := func(status string) mail.Result {
		return mail.Result{Outcome: mail.Failed, RemoteMTA: "lmtp.here.test", Reply: *mail.NewReply(550, status, "no")}
	}
	expired := mail.Result{Outcome: mail.Expired, Reply: *mail.NewReply(451, "4.4.1", "no answer")}
	for _, c := range []struct {
		what      string
		client    mail.Client
		to, by    string
		result    mail.Result
		some, non bool
	}{
		{"an unknown user of ours", stranger, "here.test", "", said("5.1.1"), true, true},
		{"an unknown user of whom we relay for", stranger, "backup.test", "", said("5.1.1"), true, true},
		{"one that is not allowed", stranger, "here.test", "", said("5.7.1"), true, true},
		{"a plugin that rejects late", stranger, "far.test", "filter", said("5.6.0"), true, true},
		{"a full mailbox", stranger, "here.test", "", said("5.2.2"), false, true},
		{"a user who is unknown far away", stranger, "far.test", "", said("5.1.1"), false, true},
		{"an outage", stranger, "here.test", "", expired, false, true},
		{"a client that may relay", relay, "here.test", "", said("5.1.1"), false, false},
		{"a user", user, "here.test", "", said("5.1.1"), false, false},
		{"a client of submission", sub, "here.test", "", said("5.1.1"), false, false},
		{"a message of ours", local, "here.test", "", said("5.1.1"), false, false},
	} {
		to := mail.Path{Local: "u", Domain: c.to}
		if got := parse("some")(&c.client, to, c.result, c.by); got != c.some {
			t.Errorf("some: %s: suppressed is %t", c.what, got)
		}
		if got := parse("none")(&c.client, to, c.result, c.by); got != c.non {
			t.Errorf("none: %s: suppressed is %t", c.what, got)
		}
	}
	if parse("all") != nil {
		t.Error("all: something is suppressed")
	}
}
