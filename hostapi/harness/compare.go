package harness

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// compare tells where what came of a step is not what was wanted.
func (p *player) compare(t *Step) []string {
	a := &p.answer
	w := t.Want
	p.world.mu.Lock()
	faults := slices.Clone(p.world.faults)
	log, requests, events := p.world.log, p.world.requests, p.world.events
	p.world.mu.Unlock()
	differ := func(what string, want, got any) {
		faults = append(faults, fmt.Sprintf("%s: want %s, got %s", what, shown(want), shown(got)))
	}
	if w == nil {
		w = &Want{}
	}
	r := a.reply()
	if r == nil {
		r = &mail.Reply{}
	}
	if got := a.action(); w.Action != "" && got != w.Action {
		if got == "none" {
			faults = append(faults, fmt.Sprintf("action: want %q, but the plugin was not asked: it subscribes to %s", w.Action, cmp.Or(p.plugin.Stages().String(), "nothing")))
		} else {
			differ("action", w.Action, a.String())
		}
		if got == "none" || got == "failed" { // its reply is nobody's doing
			r = nil
		}
	} else if got == "failed" && w.Action == "" && w.Fault == "" {
		faults = append(faults, "the plugin "+a.String())
	}
	if w.Hook != "" && a.hook() != w.Hook {
		differ("hook", w.Hook, a.hook())
	}
	if w.Fault != "" {
		got := ""
		if a.failure != nil {
			got = string(a.failure.Fault)
		}
		if got != w.Fault {
			differ("fault", w.Fault, got)
		}
	}
	if r != nil {
		compareReply(w, *r, differ)
	}
	p.compareMail(w, differ)
	p.compareDelivery(w, differ)
	p.compareAttrs(w, differ)
	if w.Log != nil {
		if len(w.Log) == 0 && len(log) > 0 {
			differ("log", "no line", log)
		}
		for _, text := range w.Log {
			if !slices.ContainsFunc(log, func(l string) bool { return strings.Contains(l, text) }) {
				differ("log", text, log)
			}
		}
	}
	if w.Auth != nil && *w.Auth != p.client.Auth {
		differ("auth", *w.Auth, p.client.Auth)
	}
	if w.HTTP != nil {
		var lines, full []string
		for _, q := range requests {
			lines, full = append(lines, q.line), append(full, strings.TrimSpace(q.line+" "+q.body))
		}
		// Requests run side by side: their order means nothing.
		slices.Sort(lines)
		slices.Sort(full)
		want := slices.Sorted(slices.Values(w.HTTP))
		if !slices.Equal(want, lines) && !slices.Equal(want, full) {
			differ("http", want, full)
		}
	}
	if w.Events != nil && !slices.Equal(w.Events, events) {
		differ("events", w.Events, events)
	}
	for _, key := range slices.Sorted(maps.Keys(w.KV)) {
		got, err := p.world.Get([]byte(key))
		if err != nil {
			differ("kv "+key, w.KV[key], err.Error())
		} else if string(got) != w.KV[key] {
			differ("kv "+key, w.KV[key], string(got))
		}
	}
	for _, key := range w.KVAbsent {
		if got, err := p.world.Get([]byte(key)); err == nil {
			differ("kv "+key, "nothing", string(got))
		}
	}
	return faults
}

func compareReply(w *Want, r mail.Reply, differ func(string, any, any)) {
	if w.Code != 0 && r.Code != w.Code {
		differ("code", w.Code, r.Code)
	}
	if w.Enhanced != "" && r.Status().String() != w.Enhanced {
		differ("enhanced", w.Enhanced, r.Status().String())
	}
	if w.Text != "" && r.Text != w.Text {
		differ("text", w.Text, r.Text)
	}
}

// compareMail looks at session, envelope and content.
func (p *player) compareMail(w *Want, differ func(string, any, any)) {
	e := p.answer.event
	if e != nil && e.Content != nil {
		h := &e.Content.Header
		if got := strings.ReplaceAll(string(h.Bytes()), "\r\n", "\n"); w.Header != "" && strings.TrimRight(got, "\n") != strings.TrimRight(strings.ReplaceAll(w.Header, "\r\n", "\n"), "\n") {
			differ("header", w.Header, got)
		}
		for _, name := range slices.Sorted(maps.Keys(w.Fields)) {
			if h.Count(name) == 0 {
				differ("field "+name, w.Fields[name], "no such field")
			} else if got := h.Get(name); got != w.Fields[name] {
				differ("field "+name, w.Fields[name], got)
			}
		}
		for _, name := range w.Absent {
			if h.Count(name) > 0 {
				differ("field "+name, "none", h.Get(name))
			}
		}
	} else if w.Header != "" || w.Fields != nil || w.Absent != nil {
		differ("header", "a header section", "none: this step has no content")
	}
	if e != nil && e.Tx != nil {
		if w.From != nil && e.Tx.Envelope.ReversePath.String() != *w.From {
			differ("from", *w.From, e.Tx.Envelope.ReversePath.String())
		}
		if w.Recipients != nil {
			got := []string{}
			for _, r := range e.Tx.Envelope.Recipients {
				got = append(got, r.ForwardPath.String())
			}
			if !slices.Equal(got, w.Recipients) {
				differ("recipients", w.Recipients, got)
			}
		}
		if w.SizeLimit != 0 && e.Tx.SizeLimit != w.SizeLimit {
			differ("size_limit", w.SizeLimit, e.Tx.SizeLimit)
		}
	} else if w.From != nil || w.Recipients != nil || w.SizeLimit != 0 {
		differ("envelope", "one", "none: this step has no transaction")
	}
	if w.Banner != "" && p.facts.Banner != w.Banner {
		differ("banner", w.Banner, p.facts.Banner)
	}
	if w.Extensions != nil && !slices.Equal(w.Extensions, p.facts.Extensions) {
		differ("extensions", w.Extensions, p.facts.Extensions)
	}
}

func (p *player) compareDelivery(w *Want, differ func(string, any, any)) {
	e := p.answer.event
	if e == nil || e.Delivery == nil {
		if w.NextHops != nil || w.Retry != "" || w.Priority != nil {
			differ("delivery", "one", "none: this step has no delivery")
		}
		return
	}
	d := e.Delivery
	if w.NextHops != nil {
		got := []string{}
		for _, h := range d.NextHops {
			got = append(got, h.String())
		}
		if !slices.Equal(got, w.NextHops) {
			differ("next_hops", w.NextHops, got)
		}
	}
	if w.Retry != "" {
		want, _ := time.ParseDuration(w.Retry) // checked
		switch now := p.world.time(); {
		case d.Retry.IsZero():
			differ("retry", w.Retry, "by the schedule")
		case d.Retry.Sub(now) != want:
			differ("retry", w.Retry, d.Retry.Sub(now).String())
		}
	}
	if w.Priority != nil && d.Priority != *w.Priority {
		differ("priority", *w.Priority, d.Priority)
	}
}

func (p *player) compareAttrs(w *Want, differ func(string, any, any)) {
	for _, scope := range slices.Sorted(maps.Keys(w.Attrs)) {
		for _, key := range slices.Sorted(maps.Keys(w.Attrs[scope])) {
			what, want := "attrs."+scope+"."+key, w.Attrs[scope][key]
			if p.answer.event == nil {
				differ(what, want, "no event")
				continue
			}
			got, ok, err := p.answer.event.Attr(scopes[scope], p.plugin.Name()+"/"+key)
			switch {
			case err != nil:
				differ(what, want, "there is no such scope at this step")
			case !ok:
				differ(what, want, "not set")
			case string(got) != want:
				differ(what, want, string(got))
			}
		}
	}
}

// shown writes texts in quotes.
func shown(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case []string:
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprint(v)
}
