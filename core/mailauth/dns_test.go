package mailauth_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/wasmta/wasmta/core/resolve"
)

// zone is a DNS in memory: records by lower-case name, each "TYPE data". TIMEOUT stands for all types that the name does
// not have, CNAMELOOP for an alias of itself.
type zone map[string][]string

var typeNames = map[uint16]string{1: "A", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA"}

// fakeDNS answers from a zone and counts.
type fakeDNS struct {
	zone zone

	mu      sync.Mutex
	queries []string // "TYPE name"
}

func (d *fakeDNS) Lookup(ctx context.Context, name string, typ uint16) (resolve.Records, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	want := typeNames[typ]
	d.mu.Lock()
	d.queries = append(d.queries, want+" "+name)
	d.mu.Unlock()
	fail := func(kind resolve.Kind) (resolve.Records, error) {
		return resolve.Records{}, &resolve.Error{Name: name, Type: want, Kind: kind}
	}
	if ctx.Err() != nil {
		return fail(resolve.KindTemporary)
	}
	for range 8 {
		var out resolve.Records
		alias, timeout := "", false
		rows, exists := d.zone[name]
		for _, row := range rows {
			t, v, _ := strings.Cut(row, " ")
			switch {
			case t == "TIMEOUT":
				timeout = true
			case t == "CNAMELOOP":
				return fail(resolve.KindBadData)
			case t == "CNAME":
				alias = strings.ToLower(strings.TrimSuffix(v, "."))
			case t != want:
			case t == "A" || t == "AAAA":
				out.Data = append(out.Data, netip.MustParseAddr(v).AsSlice())
			default:
				out.Data = append(out.Data, []byte(v))
			}
		}
		switch {
		case len(out.Data) > 0:
			return out, nil
		case alias != "":
			name = alias
			continue
		case timeout:
			return fail(resolve.KindTemporary)
		case exists || d.parent(name):
			return out, nil
		}
		return fail(resolve.KindNoDomain)
	}
	return fail(resolve.KindBadData)
}

// parent: a name exists if there is one below it (RFC 8020).
func (d *fakeDNS) parent(name string) bool {
	for n := range d.zone {
		if strings.HasSuffix(n, "."+name) {
			return true
		}
	}
	return false
}

func (d *fakeDNS) sorted() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(slices.Values(d.queries))
}
