package admin

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

type fakeHops struct{ done []string }

func (f *fakeHops) ListHops() []Hop {
	return []Hop{{NextHop: "mx:a.example", Limit: 1, Most: 20, Suspended: true, Reason: "<down>"}, {NextHop: "smtp:[2001:db8::1]:25", Active: 3}}
}

func (f *fakeHops) SuspendHop(hop mail.NextHop, d time.Duration, reason string) error {
	f.done = append(f.done, fmt.Sprint("suspend ", hop, " ", d, " ", reason))
	if hop.Host == "full.example" {
		return errors.New("too many")
	}
	return nil
}

func (f *fakeHops) ResumeHop(_ context.Context, hop mail.NextHop) (int, error) {
	f.done = append(f.done, fmt.Sprint("resume ", hop))
	return 7, nil
}

func TestHops(t *testing.T) {
	hops := new(fakeHops)
	l, err := ListenUnix(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	f := newFake()
	s := New(Options{Queue: f, Operator: f, Hops: hops})
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) })
	defer serving.Wait()
	defer s.Shutdown(context.Background())
	c := NewClient(l.Addr().String(), "")
	ctx := t.Context()
	var list []string
	for h, err := range c.Hops(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, h.NextHop+" "+h.Reason)
	}
	if !slices.Equal(list, []string{"mx:a.example <down>", "smtp:[2001:db8::1]:25 "}) {
		t.Errorf("%q", list)
	}
	if res, err := c.SuspendHop(ctx, "mx:A.Example", 90*time.Minute, "moving"); err != nil || res.NextHop != "mx:a.example" {
		t.Errorf("%+v %v", res, err)
	}
	if _, err := c.SuspendHop(ctx, "smtp:b.example", 0, ""); err != nil {
		t.Error(err)
	}
	if res, err := c.ResumeHop(ctx, "lmtp:unix:/run/lmtp"); err != nil || res.Items != 7 {
		t.Errorf("%+v %v", res, err)
	}
	want := []string{"suspend mx:a.example 1h30m0s moving", "suspend smtp:b.example:25 0s ", "resume lmtp:unix:/run/lmtp"}
	if !slices.Equal(hops.done, want) {
		t.Errorf("%q", hops.done)
	}
	for _, bad := range []struct {
		hop    string
		d      time.Duration
		reason string
		says   string
	}{
		{"a.example", 0, "", "write mx"}, {"mx", 0, "", "mx:DOMAIN"}, {"maildir:/v/{user}", 0, "", "one mailbox"}, {"mx:a.example", -time.Second, "", "the time"},
		{"mx:a.example", 10000 * 24 * time.Hour, "", "the time"}, {"mx:a.example", time.Millisecond, "", "the time"}, {"mx:a.example", 0, "a\nb", "control characters"},
		{"mx:full.example", 0, "", "too many"},
	} {
		if _, err := c.SuspendHop(ctx, bad.hop, bad.d, bad.reason); err == nil || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
