package hook

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/mail"
)

func answer(a Action) HandlerFunc {
	return func(context.Context, *Event) (Verdict, error) { return Verdict{Action: a}, nil }
}

func rcptEvent() *Event {
	return &Event{Stage: Rcpt, Session: &Session{Client: &mail.Client{}}, Recipient: 0,
		Tx: &Transaction{Envelope: mail.Envelope{Recipients: []mail.Recipient{{ForwardPath: mail.Path{Local: "a", Domain: "b"}}}}}}
}

func TestTheFirstVerdictEndsTheAsking(t *testing.T) {
	var asked []string
	note := func(name string, a Action) Plugin {
		return Plugin{Name: name, Stages: Stages(Rcpt), Handler: HandlerFunc(func(context.Context, *Event) (Verdict, error) {
			asked = append(asked, name)
			return Verdict{Action: a}, nil
		})}
	}
	elsewhere := note("elsewhere", Reject)
	elsewhere.Listeners = []string{"submission"}
	other := note("other stage", Reject)
	other.Stages = Stages(Mail)
	c := Chain{elsewhere, other, note("one", Continue), note("two", Accept), note("three", Reject)}
	k := c.Open("mx", nil)
	defer k.Close()
	o := k.Ask(t.Context(), rcptEvent())
	if o.Action != Accept || o.Plugin != "two" || !slices.Equal(asked, []string{"one", "two"}) {
		t.Errorf("outcome %+v, asked %v", o, asked)
	}
	if o := k.Ask(t.Context(), &Event{Stage: Data}); o.Action != Continue || o.Plugin != "" {
		t.Errorf("a stage that nobody subscribes to: %+v", o)
	}
}

func TestFailurePolicies(t *testing.T) {
	fail := HandlerFunc(func(context.Context, *Event) (Verdict, error) { return Verdict{}, errors.New("broken") })
	crash := HandlerFunc(func(context.Context, *Event) (Verdict, error) { panic("crash") })
	odd := answer(Discard) // not a verdict of ehlo
	for _, c := range []struct {
		stage   Stage
		handler Handler
		policy  FailurePolicy
		want    Action
		code    int
	}{
		{Rcpt, fail, FailTemporary, Defer, 451}, {Rcpt, crash, FailTemporary, Defer, 451}, {Rcpt, fail, FailReject, Reject, 550},
		{Rcpt, fail, FailContinue, Continue, 0}, {Connect, fail, FailTemporary, Defer, 421}, {Ehlo, odd, FailTemporary, Defer, 451},
		{Route, fail, FailTemporary, Defer, 451}, {Route, crash, FailReject, Defer, 451}, {Attempt, fail, FailContinue, Continue, 0},
		{Result, fail, FailReject, Defer, 451}, {Command, fail, FailTemporary, Reject, 554}, {DSN, fail, FailReject, Continue, 0},
		{Close, fail, FailReject, Continue, 0}, {Auth, fail, FailTemporary, Defer, 454}, {Auth, fail, FailReject, Reject, 535},
	} {
		var told []Failure
		k := Chain{{Name: "p", Stages: Stages(c.stage), OnError: c.policy, Handler: c.handler}}.Open("mx", func(f Failure) { told = append(told, f) })
		o := k.Ask(t.Context(), &Event{Stage: c.stage, Session: &Session{}})
		code := 0
		if r := o.ReplyAt(c.stage); r != nil {
			code = r.Code
		}
		if o.Action != c.want || code != c.code || len(told) != 1 || told[0].Stage != c.stage {
			t.Errorf("%s, %s: %s %d, told %v; want %s %d", c.stage, c.policy, o.Action, code, told, c.want, c.code)
		}
		k.Close()
	}
}

func TestVerdictsOfTheWrongClassAreFailures(t *testing.T) {
	for _, v := range []Verdict{
		{Action: Reject, Reply: mail.NewReply(250, "", "")}, {Action: Defer, Reply: mail.NewReply(550, "", "")},
		{Action: Drop, Reply: mail.NewReply(550, "", "")}, {Action: 9}, {Action: Reject, NoReply: true},
		{Action: Reject, Reply: mail.NewReply(550, "4.7.1", "")}, {Action: Reject, Reply: mail.NewReply(999, "", "")},
	} {
		k := Chain{{Stages: Stages(Rcpt), Handler: HandlerFunc(func(context.Context, *Event) (Verdict, error) { return v, nil })}}.Open("", nil)
		if o := k.Ask(t.Context(), rcptEvent()); !o.Failed {
			t.Errorf("%+v was taken", v)
		}
	}
}

func TestEditsLiveOnlyWithContinueAndAccept(t *testing.T) {
	edit := func(a Action, err error) Chain {
		return Chain{{Name: "p", Stages: Stages(Message), OnError: FailContinue, Handler: HandlerFunc(func(_ context.Context, e *Event) (Verdict, error) {
			for _, err := range []error{
				e.SetReversePath(mail.Path{Local: "new", Domain: "x"}), e.AddRecipient(mail.Path{Local: "c", Domain: "d"}),
				e.SetForwardPath(0, mail.Path{Local: "z", Domain: "b"}), e.RemoveRecipient(1), e.AddRecipient(mail.Path{Local: "e", Domain: "f"}),
				e.SetAttr(ScopeMessage, "p/k", []byte("v")), e.SetAttr(ScopeSession, "p/k", []byte("v")),
				e.EditHeader(func(h *mail.Header) error { return h.Insert(0, "X-A", "b", false) }),
			} {
				if err != nil {
					t.Error(err)
				}
			}
			return Verdict{Action: a}, err
		})}}
	}
	fresh := func() *Event {
		e := rcptEvent()
		e.Stage, e.Recipient = Message, -1
		h, _ := mail.ParseHeader([]byte("Subject: x\r\n\r\n"))
		e.Content = &Content{Header: h}
		return e
	}
	for _, c := range []struct {
		a     Action
		err   error
		lives bool
	}{{Continue, nil, true}, {Accept, nil, true}, {Reject, nil, false}, {Defer, nil, false}, {Discard, nil, false}, {Hold, nil, false}, {Continue, errors.New("trap"), false}} {
		e := fresh()
		edit(c.a, c.err).Open("", nil).Ask(t.Context(), e)
		env := e.Tx.Envelope
		_, attr, _ := e.Attr(ScopeMessage, "p/k")
		_, sattr, _ := e.Attr(ScopeSession, "p/k")
		lives := env.ReversePath.Local == "new"
		if lives != c.lives || attr != c.lives || sattr != c.lives || e.Content.Edited != c.lives || (e.Content.Header.Get("X-A") == "b") != c.lives ||
			(env.Recipients[0].ForwardPath.Local == "z") != c.lives || (len(env.Recipients) == 2) != c.lives {
			t.Errorf("%s, %v: edits live: %+v", c.a, c.err, env)
		}
		if c.lives && env.Recipients[0].Original.Local != "a" {
			t.Errorf("the original forward-path is lost: %+v", env.Recipients[0])
		}
	}
}

func TestEditsOutsideTheirStageAreRefused(t *testing.T) {
	e := rcptEvent()
	e.Stage = Mail
	for name, err := range map[string]error{
		"recipients at mail": e.AddRecipient(mail.Path{Local: "c", Domain: "d"}), "banner at mail": e.SetBanner("x"),
		"header at mail":   e.EditHeader(func(*mail.Header) error { return nil }),
		"delivery at mail": e.EditDelivery(func(*Delivery) error { return nil }), "size at mail": e.SetSizeLimit(1),
	} {
		if !errors.Is(err, ErrStage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	e = rcptEvent()
	for name, err := range map[string]error{"replaced": e.SetForwardPath(0, mail.Path{}), "added": e.AddRecipient(mail.Path{})} {
		if !errors.Is(err, ErrIndex) {
			t.Errorf("a recipient %s by nobody: %v", name, err)
		}
	}
	if err := e.SetAttr(ScopeTransaction, "p/k", make([]byte, MaxAttrBytes)); !errors.Is(err, ErrLimit) {
		t.Errorf("a huge attribute: %v", err)
	}
}

type opener struct{ opened, closed, calls int }

func (o *opener) Handle(context.Context, *Event) (Verdict, error) { panic("asked without an instance") }
func (o *opener) Open(context.Context) (Instance, error)          { o.opened++; return &instance{o}, nil }

type instance struct{ o *opener }

func (i *instance) Close() { i.o.closed++ }
func (i *instance) Handle(_ context.Context, e *Event) (Verdict, error) {
	i.o.calls++
	switch e.Arg {
	case "fail":
		return Verdict{}, errors.New("trap")
	case "detach":
		return Verdict{DetachTransaction: true}, nil
	}
	return Verdict{}, nil
}

func TestAFailureCostsTheInstanceAndNothingElse(t *testing.T) {
	o := new(opener)
	k := Chain{{Stages: Stages(Rcpt), Handler: o}}.Open("", nil)
	ask := func(arg string) Outcome { e := rcptEvent(); e.Arg = arg; return k.Ask(t.Context(), e) }
	ask("")
	ask("")
	if o.opened != 1 || o.calls != 2 {
		t.Errorf("one instance serves a session: %+v", o)
	}
	if out := ask("fail"); out.Action != Defer {
		t.Errorf("%+v", out)
	}
	if ask(""); o.opened != 2 || o.closed != 1 {
		t.Errorf("a new instance after a failure: %+v", o)
	}
	ask("detach")
	if ask(""); o.calls != 5 {
		t.Errorf("a detached plugin was asked: %+v", o)
	}
	k.EndTransaction()
	if ask(""); o.calls != 6 {
		t.Errorf("after the transaction it is asked again: %+v", o)
	}
	if k.Close(); o.closed != o.opened {
		t.Errorf("instances leak: %+v", o)
	}
}

func TestStageNamesParseBack(t *testing.T) {
	AllStages(func(s Stage) {
		if got, ok := ParseStage(s.String()); !ok || got != s {
			t.Errorf("%s parses as %v", s, got)
		}
	})
}

func TestManyEditsOfRecipientsAreUndone(t *testing.T) {
	path := func(s string) mail.Path {
		p, err := mail.ParseMailbox(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	start := []mail.Recipient{{ForwardPath: path("a@a.test")}, {ForwardPath: path("b@a.test"), Attrs: mail.Attrs{"p/k": []byte("1")}}}
	e := &Event{Stage: Rcpt, Recipient: 1, Tx: &Transaction{Envelope: mail.Envelope{Recipients: slices.Clone(start)}}}
	edits := []func() error{
		func() error { return e.SetAttr(ScopeRecipient, "p/k", []byte("2")) },
		func() error { return e.SetForwardPath(1, path("c@a.test")) },
		func() error { return e.SetAttr(ScopeRecipient, "p/k", []byte("3")) },
		func() error { return e.AddRecipient(path("d@a.test")) },
		func() error { return e.RemoveRecipient(0) },
		func() error { return e.SetAttr(ScopeRecipient, "p/k", []byte("4")) },
		func() error { return e.RemoveRecipient(1) },
	}
	chain := Chain{{Name: "p", Stages: Stages(Rcpt), Handler: HandlerFunc(func(context.Context, *Event) (Verdict, error) {
		for n, edit := range edits {
			if err := edit(); err != nil {
				t.Errorf("edit %d: %v", n, err)
			}
		}
		if list := e.Tx.Envelope.Recipients; len(list) != 1 || list[0].ForwardPath.String() != "c@a.test" || string(list[0].Attrs["p/k"]) != "4" || e.Recipient != 0 {
			t.Errorf("after the edits: %+v, current %d", list, e.Recipient)
		}
		return Verdict{Action: Reject}, nil
	})}}
	for range 2 {
		chain.Open("mx", nil).Ask(context.Background(), e)
		if !reflect.DeepEqual(e.Tx.Envelope.Recipients, start) || e.Recipient != 1 {
			t.Errorf("after the rejection: %+v, current %d; want %+v, current 1", e.Tx.Envelope.Recipients, e.Recipient, start)
		}
	}
}

func TestWhatPluginsChangeIsTold(t *testing.T) {
	e := rcptEvent()
	e.Stage = Message
	e.Recipient = -1
	e.Content = &Content{}
	edit := func(v Action, f func() error) HandlerFunc {
		return func(context.Context, *Event) (Verdict, error) { return Verdict{Action: v}, f() }
	}
	path := mail.Path{Local: "new", Domain: "b"}
	chain := Chain{
		{Name: "quiet", Stages: Stages(Message), Handler: edit(Continue, func() error { return e.SetAttr(ScopeTransaction, "quiet/x", []byte("1")) })},
		{Name: "both", Generation: "g", Stages: Stages(Message), Handler: edit(Continue, func() error {
			return errors.Join(e.AddRecipient(path), e.AddRecipient(path), e.EditHeader(func(*mail.Header) error { return nil }))
		})},
		{Name: "failing", OnError: FailContinue, Stages: Stages(Message), Handler: edit(Continue, func() error {
			return errors.Join(e.SetReversePath(path), errors.New("no"))
		})},
		{Name: "refusing", Stages: Stages(Message), Handler: edit(Reject, func() error { return e.SetReversePath(path) })},
	}
	var got []Change
	k := chain.Open("mx", nil)
	k.OnChange(func(c Change) { got = append(got, c) })
	k.Ask(context.Background(), e)
	if want := []Change{{"both", "g", Message, EditRecipients | EditHeader}}; !slices.Equal(got, want) {
		t.Errorf("told of %+v, want %+v", got, want)
	}
	if s := (EditRecipients | EditHeader).String(); s != "recipients+header" {
		t.Error(s)
	}
}

// Keys are given where they are asked for, and a plugin that fails gave none.
func TestScramKeys(t *testing.T) {
	const keys = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	for mechanism, want := range map[string]error{"SCRAM-SHA-256": nil, "SCRAM-SHA-256-PLUS": nil, "PLAIN": ErrStage, "EXTERNAL": ErrStage} {
		e := &Event{Stage: Auth, Auth: &Credentials{Mechanism: mechanism, User: "tim"}}
		if err := e.SetScram("password"); err == nil {
			t.Errorf("%s: a password is taken for keys", mechanism)
		}
		if err := e.SetScram(keys); err != want || (err == nil) != (e.Auth.Scram != nil && e.Auth.Scram.Text() == keys) {
			t.Errorf("%s: %v, %v", mechanism, err, e.Auth.Scram)
		}
		if text := fmt.Sprintf("%v %+v %#v", e.Auth, *e.Auth, e.Auth.Scram); strings.Contains(text, "0x") || strings.Contains(text, "[") {
			t.Errorf("printing shows %s", text)
		}
		e.rollback()
		if e.Auth.Scram != nil {
			t.Errorf("%s: the keys of a plugin that failed are kept", mechanism)
		}
	}
	if err := (&Event{Stage: Mail}).SetScram(keys); err != ErrStage {
		t.Error(err)
	}
}
