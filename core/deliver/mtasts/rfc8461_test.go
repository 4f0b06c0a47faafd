package mtasts_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmta/wasmta/core/deliver/mtasts"
)

// TestRFC8461 has what is in force after a policy was fetched and something has happened to its domain. What enforce means
// for a connection is in package deliver.
func TestRFC8461(t *testing.T) {
	const day = 86400
	type change struct {
		record, body string
		dns, fetch   error
	}
	servfail, refused := errors.New("SERVFAIL"), errors.New("connection refused")
	enforce := change{"v=STSv1; id=1", policy("enforce", 7*day, "mx.example.org"), nil, nil}
	for name, c := range map[string]struct {
		before, after change
		later         time.Duration
		want          mtasts.Mode // "-": none is in force
	}{
		"RFC 8461 3.1: no record":                       {change{}, enforce, time.Minute, "-"},
		"RFC 8461 3.1: the version twice in a record":   {change{}, change{"v=STSv1; id=1;v=STSv1", enforce.body, nil, nil}, time.Hour, "-"},
		"RFC 8461 3.1: the record goes":                 {enforce, change{}, time.Hour, mtasts.Enforce},
		"RFC 8461 3.1: the record is damaged":           {enforce, change{"v=STSv1; id=!", "", nil, nil}, time.Hour, mtasts.Enforce},
		"RFC 8461 3.1: the record cannot be looked up":  {enforce, change{"", "", servfail, refused}, 6 * 24 * time.Hour, mtasts.Enforce},
		"RFC 8461 3.2: max_age is over":                 {enforce, change{"", "", servfail, refused}, 8 * 24 * time.Hour, "-"},
		"RFC 8461 3.2: max_age of more than a year":     {change{"v=STSv1; id=1", policy("enforce", 4e9, "mx.example.org"), nil, nil}, change{"", "", servfail, refused}, 366 * 24 * time.Hour, "-"},
		"RFC 8461 3.2: no mx":                           {change{}, change{"v=STSv1; id=1", policy("enforce", day), nil, nil}, time.Hour, "-"},
		"RFC 8461 3.2: another version":                 {change{}, change{"v=STSv1; id=1", "version: STSv2\nmode: enforce\nmx: a.test\nmax_age: 1", nil, nil}, time.Hour, "-"},
		"RFC 8461 3.3: the policy host is down":         {enforce, change{"v=STSv1; id=2", "", nil, refused}, time.Hour, mtasts.Enforce},
		"RFC 8461 3.3: the policy host serves HTML":     {enforce, change{"v=STSv1; id=2", "<html>", nil, nil}, time.Hour, mtasts.Enforce},
		"RFC 8461 3.3: it was down from the beginning":  {change{}, change{"v=STSv1; id=1", "", nil, refused}, time.Hour, "-"},
		"RFC 8461 5.1: a newer policy of mode testing":  {enforce, change{"v=STSv1; id=2", policy("testing", day, "mx.example.org"), nil, nil}, time.Hour, mtasts.Testing},
		"RFC 8461 5.1: from testing to enforce":         {change{"v=STSv1; id=1", policy("testing", day, "mx.example.org"), nil, nil}, change{"v=STSv1; id=2", enforce.body, nil, nil}, time.Hour, mtasts.Enforce},
		"RFC 8461 5.1: the same id, another policy":     {enforce, change{"v=STSv1; id=1", policy("testing", day, "mx.example.org"), nil, nil}, time.Hour, mtasts.Enforce},
		"RFC 8461 8.3: removed by mode none":            {enforce, change{"v=STSv1; id=2", policy("none", day), nil, nil}, time.Hour, "-"},
		"RFC 8461 10.2: renewed, though the id is same": {enforce, enforce, 30 * 24 * time.Hour, mtasts.Enforce},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{}
				put := func(x change) { w.set(x.record, x.body, x.dns, x.fetch) }
				put(c.before)
				cache := w.cache(t, "")
				mode := func() mtasts.Mode {
					if p, ok := cache.Policy(t.Context(), "example.org"); ok {
						return p.Mode
					}
					return "-"
				}
				mode()
				put(c.after)
				for end := time.Now().Add(c.later); time.Now().Before(end); time.Sleep(min(6*time.Hour, time.Until(end))) {
					mode() // mail comes all the time
				}
				if got := mode(); got != c.want {
					t.Errorf("in force: %s, want %s", got, c.want)
				}
			})
		})
	}
}
