package hook_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
)

// witness writes down what it is told.
type witness struct{ seen []string }

func (w *witness) Answered(a *hook.Answer) {
	line := fmt.Sprintf("%s %s %s changed=%q was=<%s> now=<%s>", a.Plugin.Name, a.Event.Stage, a.Verdict.Action, a.Changed.String(),
		a.Before.ReversePath, a.Event.Tx.Envelope.ReversePath)
	if a.Err != nil {
		line += " " + a.Err.Error()
	}
	w.seen = append(w.seen, line)
}

func (w *witness) Said(p *hook.Plugin, s hook.Stage, level int32, text string) {
	w.seen = append(w.seen, fmt.Sprintf("%s %s says %d %s", p.Name, s, level, text))
}

func TestAnObserverIsToldOfEveryAnswer(t *testing.T) {
	to := func(local string) hook.HandlerFunc {
		return func(_ context.Context, e *hook.Event) (hook.Verdict, error) {
			e.Say(1, "hello")
			return hook.Verdict{}, e.SetReversePath(mail.Path{Local: local, Domain: "b.test"})
		}
	}
	chain := hook.Chain{
		{Name: "one", Stages: hook.Stages(hook.Mail), Handler: to("x")},
		{Name: "two", Stages: hook.Stages(hook.Mail), OnError: hook.FailContinue, Handler: hook.HandlerFunc(func(ctx context.Context, e *hook.Event) (hook.Verdict, error) {
			_, _ = to("y")(ctx, e)
			return hook.Verdict{}, errors.New("trap")
		})},
		{Name: "three", Stages: hook.Stages(hook.Mail), Handler: hook.HandlerFunc(func(context.Context, *hook.Event) (hook.Verdict, error) {
			return hook.Verdict{Action: hook.Discard}, nil
		})},
	}
	k := chain.Open("mx", nil)
	var w witness
	k.Observe(&w)
	e := &hook.Event{Stage: hook.Mail, Tx: &hook.Transaction{Envelope: mail.Envelope{ReversePath: mail.Path{Local: "a", Domain: "a.test"}}}}
	k.Ask(t.Context(), e)
	e.Say(1, "nobody is asked now")
	want := `one mail says 1 hello
one mail continue changed="reverse-path" was=<a@a.test> now=<x@b.test>
two mail says 1 hello
two mail continue changed="" was=<x@b.test> now=<x@b.test> trap
three mail discard changed="" was=<x@b.test> now=<x@b.test>`
	if got := strings.Join(w.seen, "\n"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestAskingAllocatesNothingOfItsOwn(t *testing.T) {
	chain := hook.Chain{{Name: "one", Stages: hook.Stages(hook.Mail), Handler: hook.HandlerFunc(func(context.Context, *hook.Event) (hook.Verdict, error) {
		return hook.Verdict{}, nil
	})}}
	k := chain.Open("mx", nil)
	e := &hook.Event{Stage: hook.Mail, Tx: new(hook.Transaction)}
	for _, o := range []hook.Observer{nil, nobody{}} {
		k.Observe(o)
		if n := testing.AllocsPerRun(100, func() { k.Ask(t.Context(), e) }); n > 0 {
			t.Errorf("observed by %v: %v allocations a question", o, n)
		}
	}
}

type nobody struct{}

func (nobody) Answered(*hook.Answer)                        {}
func (nobody) Said(*hook.Plugin, hook.Stage, int32, string) {}
