package hostapi

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/smtpd/sasl"
	"github.com/wasmta/wasmta/hostapi/abi"
)

func authEvent() *hook.Event {
	e := event(hook.Auth)
	e.Verb, e.Arg = "AUTH", "PLAIN"
	e.Auth = &hook.Credentials{Mechanism: "PLAIN", User: "tim", Password: []byte("tanstaaf")}
	return e
}

func TestCredentials(t *testing.T) {
	h := newHost(t, Grant{AuthPassword: true}, authEvent())
	h.text("PLAIN", "get", abi.AuthMech)
	h.text("tim", "get", abi.AuthUser)
	h.text("tanstaaf", "get", abi.AuthPass)
	h.text("AUTH", "get", abi.Verb)
	h.text("PLAIN", "get", abi.Argument)
	h.number(8, "get", abi.AuthPass, half, 3) // nothing is written
	h.code(abi.NotFound, "get", abi.AuthID, half, half)
	if strings.Contains(string(h.c.scratch[:]), "tans") {
		t.Error("the password is in the scratch of the call")
	}

	// Whom the client wants to act as, and who it becomes.
	h.c.event.Auth.AuthzID = "office"
	h.text("office", "get", abi.AuthID)
	h.code(abi.Invalid, "set", abi.AuthID, "")
	h.code(abi.Invalid, "set", abi.AuthID, "a\nb")
	h.code(abi.Invalid, "set", abi.AuthID, "\xff")
	h.code(abi.TooLarge, "set", abi.AuthID, strings.Repeat("x", 256))
	h.text("office", "get", abi.AuthID)
	h.code(abi.OK, "set", abi.AuthID, strings.Repeat("x", 255))
	h.code(abi.OK, "set", abi.AuthID, "office@ours.test")
	h.text("office@ours.test", "get", abi.AuthID)
	if h.c.event.Auth.ID != "office@ours.test" {
		t.Errorf("%+v", h.c.event.Auth)
	}
	h.code(abi.Unsupported, "set", abi.AuthUser, "x")
	h.code(abi.Denied, "set", abi.MailFrom, "x@y.test") // the password is not the envelope

	// A log line with it says that it was there.
	h.code(abi.OK, "log", abi.LogInfo, "user=tim pass=tanstaaf!")
	if got := h.lines[0].Text; got != "user=tim pass=[password]!" || h.c.LastLine() != got {
		t.Errorf("logged %q", got)
	}

	h.c.event.Auth.Password = nil
	h.code(abi.NotFound, "get", abi.AuthPass, half, half)
}

// Who is not granted it does not get the password, and not one octet of it by
// asking for less; nor does anybody at another stage.
func TestThePasswordNeedsItsGrant(t *testing.T) {
	h := newHost(t, Grant{Envelope: Write, Headers: Write, Body: Write}, authEvent())
	for _, capacity := range []int{0, 1, half} {
		h.code(abi.Denied, "get", abi.AuthPass, half, capacity)
	}
	h.code(abi.Unsupported, "get_num", abi.AuthPass)
	h.text("tim", "get", abi.AuthUser)
	h.code(abi.OK, "set", abi.AuthID, "someone")
	if strings.Contains(string(h.m), "tans") {
		t.Error("the password is in the guest's memory")
	}
	h = newHost(t, Grant{}, authEvent())
	h.code(abi.Denied, "set", abi.AuthID, "someone")
	h.code(abi.OK, "log", abi.LogInfo, "tanstaaf") // it is a word that it made up
	if got := h.lines[0].Text; got != "tanstaaf" {
		t.Errorf("the log tells a plugin's guess: %q", got)
	}
	hook.AllStages(func(s hook.Stage) {
		if s == hook.Auth {
			return
		}
		h := newHost(t, Grant{AuthPassword: true, Envelope: Write}, event(s))
		h.code(abi.State, "get", abi.AuthPass, half, half)
		h.code(abi.State, "set", abi.AuthID, "x")
	})
	h = newHost(t, Grant{AuthPassword: true}, nil)
	h.code(abi.State, "get", abi.AuthPass, half, half)
}

// After it was believed, and with the message in the queue.
func TestIdentityInLaterHooks(t *testing.T) {
	who := mail.Client{Auth: "office", AuthMech: "LOGIN", AuthUser: "tim"}
	for _, s := range []hook.Stage{hook.Mail, hook.Rcpt, hook.Message, hook.Close, hook.Route, hook.Attempt, hook.Result, hook.DSN} {
		e := event(s)
		if e.Session != nil {
			e.Session.Client.Auth, e.Session.Client.AuthMech, e.Session.Client.AuthUser = who.Auth, who.AuthMech, who.AuthUser
		}
		if e.Tx != nil {
			e.Tx.Envelope.Client.Auth, e.Tx.Envelope.Client.AuthMech, e.Tx.Envelope.Client.AuthUser = who.Auth, who.AuthMech, who.AuthUser
		}
		h := newHost(t, Grant{}, e)
		h.text("office", "get", abi.AuthID)
		h.text("tim", "get", abi.AuthUser)
		h.text("LOGIN", "get", abi.AuthMech)
	}
	h := newHost(t, Grant{}, &hook.Event{Stage: hook.Mail, Session: &hook.Session{Client: &mail.Client{}}})
	for _, f := range []abi.Field{abi.AuthID, abi.AuthUser, abi.AuthMech} {
		h.code(abi.NotFound, "get", f, half, half)
	}
}

func TestFactsOfTheConnection(t *testing.T) {
	n := 3
	e := &hook.Event{Stage: hook.Connect, Session: &hook.Session{Client: &mail.Client{}, Connections: func() int { return n },
		Proxy: netip.MustParseAddr("::ffff:192.0.2.9")}}
	h := newHost(t, Grant{}, e)
	h.number(3, "get_num", abi.ConnCountIP)
	n = 4
	h.number(4, "get_num", abi.ConnCountIP)
	h.text("192.0.2.9", "get", abi.ProxyIP)
	h = newHost(t, Grant{}, &hook.Event{Stage: hook.Connect, Session: &hook.Session{Client: &mail.Client{}}})
	h.code(abi.NotFound, "get_num", abi.ConnCountIP)
	h.code(abi.NotFound, "get", abi.ProxyIP, half, half)
	h = newHost(t, Grant{}, event(hook.Route))
	h.code(abi.State, "get_num", abi.ConnCountIP)
}

// The password is taken out whole wherever the guest's text goes, also where
// the text is cut in its middle.
func TestThePasswordIsInNoText(t *testing.T) {
	if MaxPassword != sasl.MaxPassword {
		t.Errorf("%d and %d", MaxPassword, sasl.MaxPassword)
	}
	for _, password := range []string{"tanstaaf", "pa\"ss\\wörd\x01", strings.Repeat("long", MaxPassword/4), strings.Repeat("0123456t", 1024)} {
		e := authEvent()
		e.Auth.Password = []byte(password)
		h := newHost(t, Grant{AuthPassword: true}, e)
		for _, before := range []int{0, 100, abi.MaxLogLine - 8, abi.MaxLogLine - 5, abi.MaxLogLine - 1, abi.MaxLogLine} {
			if got := h.c.Log(abi.LogInfo, []byte(strings.Repeat("-", before)+password+password)); got != abi.OK {
				t.Fatal(got)
			}
			got := h.lines[len(h.lines)-1].Text
			if strings.ContainsAny(strings.ReplaceAll(got, "[password]", ""), "tnfö1") || len(got) > abi.MaxLogLine {
				t.Errorf("%d octets before it: %q", before, strings.TrimLeft(got, "-"))
			}
		}
		if len("not "+password) > maxReplyText {
			continue
		}
		h.code(abi.OK, "reply", 535, 0, "not "+password)
		v, err := h.c.Verdict(abi.Verdict(abi.Reject, 0, 535))
		if err != nil || v.Reply.Text != "not [password]" {
			t.Errorf("%+v, %v", v.Reply, err)
		}
	}
}

const pencil = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

// Keys are taken from who is trusted with passwords, where they are asked for.
func TestKeysOfScram(t *testing.T) {
	scram := func() *hook.Event {
		e := event(hook.Auth)
		e.Verb, e.Arg = "AUTH", "SCRAM-SHA-256-PLUS"
		e.Auth = &hook.Credentials{Mechanism: "SCRAM-SHA-256-PLUS", User: "tim"}
		return e
	}
	h := newHost(t, Grant{AuthPassword: true}, scram())
	h.code(abi.NotFound, "get", abi.AuthPass, half, half)
	h.code(abi.NotFound, "get", abi.AuthScram, half, half)
	h.code(abi.Invalid, "set", abi.AuthScram, "tanstaaf")
	h.code(abi.Invalid, "set", abi.AuthScram, strings.Replace(pencil, "4096", "4095", 1))
	h.code(abi.Invalid, "set", abi.AuthScram, strings.Replace(pencil, "4096", "1000001", 1))
	h.code(abi.OK, "set", abi.AuthScram, pencil)
	h.text(pencil, "get", abi.AuthScram)
	if k := h.c.event.Auth.Scram; k == nil || k.Iterations != 4096 {
		t.Errorf("%v", k)
	}
	h = newHost(t, Grant{Envelope: Write, Headers: Write, Body: Write}, scram())
	h.code(abi.Denied, "set", abi.AuthScram, pencil)
	h.code(abi.Denied, "get", abi.AuthScram, half, half)
	h = newHost(t, Grant{AuthPassword: true}, authEvent())
	h.code(abi.State, "set", abi.AuthScram, pencil) // PLAIN
	h = newHost(t, Grant{AuthPassword: true}, event(hook.Mail))
	h.code(abi.State, "set", abi.AuthScram, pencil)
	h.code(abi.State, "get", abi.AuthScram, half, half)
}

func TestNamesOfACertificate(t *testing.T) {
	e := event(hook.Auth)
	h := newHost(t, Grant{}, e)
	h.code(abi.NotFound, "get", abi.ClientCertNames, half, half)
	e.Session.CertNames = []string{"email:tim@ours.test", "cn:Tim"}
	h.text("email:tim@ours.test\ncn:Tim", "get", abi.ClientCertNames)
	h = newHost(t, Grant{}, event(hook.Route))
	h.code(abi.State, "get", abi.ClientCertNames, half, half)
}
