package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/config"
)

// A reload says what it leaves as it was.
func TestWhatNeedsARestart(t *testing.T) {
	const file = `hostname = "mx.example.org"
local_domains = ["a.example"]
[[listener]]
address = "127.0.0.1:2525"
[[route]]
domains = ["a.example"]
to = "discard"
[queue]
retry = ["5m"]
[[plugin]]
name = "p"
module = "p.wasm"
[log]
format = "line"
`
	read := func(edits ...string) *config.Config {
		t.Helper()
		c, err := config.Parse([]byte(strings.NewReplacer(edits...).Replace(file)), "w.toml", "/etc/wasmta")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, c := range []struct {
		edits, want []string
	}{
		{nil, nil},
		{[]string{"p.wasm", "q.wasm", `"line"`, `"json"`}, nil},
		{[]string{"mx.example.org", "mx2.example.org", "discard", "maildir:/m"}, []string{"hostname", "route", "tls_report"}},
		{[]string{"2525", "2526", "5m", "6m"}, []string{"listener", "queue"}},
	} {
		if got := restartKeys(read(), read(c.edits...)); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.edits, got, c.want)
		}
	}
}

// Every key of a configuration is read again or asks for a restart; none is
// forgotten without a word.
func TestNoKeyIsForgottenByAReload(t *testing.T) {
	again := []string{"Path", "TLS", "Plugins", "Tables", "Events", "Secrets", "Keys", "Certificates", "Credentials"}
	var a config.Config
	for _, f := range reflect.VisibleFields(reflect.TypeFor[config.Config]()) {
		if !f.IsExported() || slices.Contains(again, f.Name) {
			continue
		}
		b := a
		if !change(reflect.ValueOf(&b).Elem().FieldByIndex(f.Index)) {
			t.Fatalf("%s: this test cannot change a %s", f.Name, f.Type)
		}
		if keys := restartKeys(&a, &b); len(keys) != 1 {
			t.Errorf("a change of %s asks for a restart of %q", f.Name, keys)
		}
	}
}

// change gives v, or something in it, another value.
func change(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Format" && change(v.Field(i)) {
				return true
			}
		}
		return false
	default:
		return false
	}
	return true
}
