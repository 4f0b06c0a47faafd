package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/outbound"
)

// Asks are the rights that the plugin asks for, as a grant.
func (m *Manifest) Asks() hostapi.Grant {
	c := &m.Capabilities
	g := hostapi.Grant{
		AuthPassword: c.AuthPassword, AttrsRead: c.AttrsRead,
		SignKeys: c.SignKeys, Secrets: c.Secrets, Tables: c.Tables, Events: c.Events,
	}
	g.Envelope, _ = hostapi.ParseAccess(c.Envelope) // checked
	g.Headers, _ = hostapi.ParseAccess(c.Headers)
	g.Body, _ = hostapi.ParseAccess(c.Body)
	if c.KV != nil {
		g.KV.MB = c.KV.MB
	}
	if c.DNS != nil {
		g.DNS.Zones = c.DNS.Zones
	}
	for _, h := range c.HTTP {
		g.HTTP = append(g.HTTP, hostapi.HTTPGrant{URL: h.URL, Methods: h.Methods})
	}
	return g
}

// Effective is what the plugin may do: what it asks for and what granted gives,
// the less of both. missing are the lines of [plugin.grant] for what it asks
// for and does not get. Without a manifest, nil, a plugin asks for what the
// operator grants.
func (m *Manifest) Effective(granted hostapi.Grant) (effective hostapi.Grant, missing []string) {
	if m == nil {
		return granted, nil
	}
	a := m.Asks()
	e := hostapi.Grant{
		Envelope:     min(a.Envelope, granted.Envelope),
		Headers:      min(a.Headers, granted.Headers),
		Body:         min(a.Body, granted.Body),
		AuthPassword: a.AuthPassword && granted.AuthPassword,
		AttrsRead:    common(a.AttrsRead, granted.AttrsRead, attrCovers),
		KV:           hostapi.KVGrant{MB: min(a.KV.MB, granted.KV.MB)},
		DNS:          hostapi.DNSGrant{Zones: common(a.DNS.Zones, granted.DNS.Zones, zoneCovers)},
		SignKeys:     common(a.SignKeys, granted.SignKeys, equal),
		Secrets:      common(a.Secrets, granted.Secrets, equal),
		Tables:       common(a.Tables, granted.Tables, equal),
		Events:       common(a.Events, granted.Events, starCovers),
	}
	for _, x := range a.HTTP {
		for _, y := range granted.HTTP {
			if h, ok := commonHTTP(x, y); ok && !slices.ContainsFunc(e.HTTP, func(o hostapi.HTTPGrant) bool { return o.URL == h.URL && slices.Equal(o.Methods, h.Methods) }) {
				e.HTTP = append(e.HTTP, h)
			}
		}
	}
	// What is asked for and not wholly covered. Envelope read is given to all.
	w := hostapi.Grant{
		Headers: lacking(a.Headers, granted.Headers), Body: lacking(a.Body, granted.Body),
		AuthPassword: a.AuthPassword && !granted.AuthPassword,
		AttrsRead:    uncovered(a.AttrsRead, granted.AttrsRead, attrCovers),
		DNS:          hostapi.DNSGrant{Zones: uncovered(a.DNS.Zones, granted.DNS.Zones, zoneCovers)},
		SignKeys:     uncovered(a.SignKeys, granted.SignKeys, equal),
		Secrets:      uncovered(a.Secrets, granted.Secrets, equal),
		Tables:       uncovered(a.Tables, granted.Tables, equal),
		Events:       uncovered(a.Events, granted.Events, starCovers),
	}
	if a.Envelope == hostapi.Write {
		w.Envelope = lacking(a.Envelope, granted.Envelope)
	}
	if a.KV.MB > granted.KV.MB {
		w.KV = a.KV
	}
	for _, x := range a.HTTP {
		if !slices.ContainsFunc(granted.HTTP, func(y hostapi.HTTPGrant) bool { return httpCovers(y, x) }) {
			w.HTTP = append(w.HTTP, x)
		}
	}
	return e, Lines(w)
}

// Lines are the lines of [plugin.grant] that make g; nil: it grants nothing.
func Lines(g hostapi.Grant) []string {
	var lines []string
	add := func(key, value string) { lines = append(lines, key+" = "+value) }
	for _, a := range []struct {
		key    string
		access hostapi.Access
	}{{"envelope", g.Envelope}, {"headers", g.Headers}, {"body", g.Body}} {
		if a.access != hostapi.None {
			add(a.key, strconv.Quote(a.access.String()))
		}
	}
	if g.AuthPassword {
		add("auth_password", "true")
	}
	texts := func(key string, list []string) {
		if len(list) > 0 {
			add(key, "["+quoted(list, "")+"]")
		}
	}
	texts("attrs_read", g.AttrsRead)
	if g.KV.MB > 0 {
		add("kv", fmt.Sprintf("{ mb = %d }", g.KV.MB))
	}
	if len(g.DNS.Zones) > 0 {
		add("dns", "{ zones = ["+quoted(g.DNS.Zones, "")+"] }")
	}
	if len(g.HTTP) > 0 {
		places := make([]string, len(g.HTTP))
		for i, h := range g.HTTP {
			places[i] = "{ url = " + strconv.Quote(h.URL) + ", methods = [" + quoted(methods(h), "") + "]"
			if h.Private {
				places[i] += ", private = true"
			}
			places[i] += " }"
		}
		add("http", "["+strings.Join(places, ", ")+"]")
	}
	texts("sign_keys", g.SignKeys)
	texts("secrets", g.Secrets)
	texts("tables", g.Tables)
	texts("events", g.Events)
	return lines
}

func lacking(asked, granted hostapi.Access) hostapi.Access {
	if asked > granted {
		return asked
	}
	return hostapi.None
}

// common are the elements of either list that the other covers.
func common(a, b []string, covers func(wide, narrow string) bool) []string {
	var out []string
	add := func(s string) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	for _, x := range a {
		for _, y := range b {
			switch {
			case covers(y, x):
				add(x)
			case covers(x, y):
				add(y)
			}
		}
	}
	return out
}

// uncovered are the elements of asked that granted does not cover.
func uncovered(asked, granted []string, covers func(wide, narrow string) bool) []string {
	return slices.DeleteFunc(slices.Clone(asked), func(x string) bool {
		return slices.ContainsFunc(granted, func(y string) bool { return covers(y, x) })
	})
}

func equal(wide, narrow string) bool      { return wide == narrow }
func starCovers(wide, narrow string) bool { return wide == "*" || wide == narrow }

// attrCovers: "plugin/*" covers every key of that plugin.
func attrCovers(wide, narrow string) bool {
	owner, all := strings.CutSuffix(wide, "/*")
	return wide == narrow || all && strings.HasPrefix(narrow, owner+"/")
}

// zoneCovers: a zone covers itself and all below it.
func zoneCovers(wide, narrow string) bool {
	w, n := strings.ToLower(strings.Trim(wide, ".")), strings.ToLower(strings.Trim(narrow, "."))
	return w == "*" || n != "*" && (n == w || w != "" && strings.HasSuffix(n, "."+w))
}

func methods(h hostapi.HTTPGrant) []string {
	if len(h.Methods) == 0 {
		return []string{"GET"}
	}
	return h.Methods
}

// urlCovers: the same scheme, host and port, and a path at or below.
func urlCovers(wide, narrow string) bool {
	w, err1 := outbound.ParsePlace(wide)
	n, err2 := outbound.ParseURL(narrow)
	return err1 == nil && err2 == nil && w.Covers(n)
}

// httpCovers tells whether wide gives all that narrow asks for.
func httpCovers(wide, narrow hostapi.HTTPGrant) bool {
	return urlCovers(wide.URL, narrow.URL) && len(uncovered(methods(narrow), methods(wide), equal)) == 0
}

// commonHTTP is what is asked and granted both. That private addresses may be
// asked is the operator's matter alone.
func commonHTTP(asked, granted hostapi.HTTPGrant) (hostapi.HTTPGrant, bool) {
	h := hostapi.HTTPGrant{Methods: common(methods(asked), methods(granted), equal), Private: granted.Private}
	switch {
	case urlCovers(granted.URL, asked.URL):
		h.URL = asked.URL
	case urlCovers(asked.URL, granted.URL):
		h.URL = granted.URL
	default:
		return h, false
	}
	return h, len(h.Methods) > 0
}
