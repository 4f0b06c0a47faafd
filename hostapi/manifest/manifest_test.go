package manifest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/hostapi"
)

const whole = `
name = "greylist"
version = "1.4.2"
abi = "1.0"
hooks = ["on_rcpt"]
instance = "session"
on_error = "tempfail"
memory_mb = 4
cpu_ms = 2

[capabilities]
envelope = "read"
headers = "none"
body = "none"
auth_password = false
kv = { mb = 64 }
dns = { zones = ["*"] }
http = [{ url = "https://rep.example/v1/", methods = ["GET"] }]
sign_keys = []
secrets = ["api_key"]
tables = ["allow_ips"]
attrs_read = ["spf/*"]
optional = ["mta1_http"]

[config_schema]
type = "object"
additionalProperties = false
[config_schema.properties.delay]
type = "integer"
minimum = 60
`

func TestTOMLAndJSONSayTheSame(t *testing.T) {
	a, err := ParseTOML([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if b2, err := json.Marshal(again); err != nil || string(b2) != string(b) || a.Name != "greylist" || a.MemoryMB != 4 || a.Capabilities.KV.MB != 64 {
		t.Errorf("read as %+v; written\n%s and written again\n%s, %v", a, b, b2, err)
	}
	if err := a.Fits([]string{"rcpt"}, false); err != nil {
		t.Error(err)
	}
	if err := a.CheckConfig(json.RawMessage(`{"delay":300}`)); err != nil {
		t.Error(err)
	}
	if err := a.CheckConfig(json.RawMessage(`{"delay":3,"dleay":1}`)); err == nil ||
		!strings.Contains(err.Error(), "config.delay: 3 is less than 60") || !strings.Contains(err.Error(), "config.dleay: it is not known") {
		t.Errorf("a wrong configuration: %v", err)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		``:                                      "name",
		`name = "x"`:                            "hooks",
		`name = `:                               "line 1",
		"name = \"x\"\nhooks = []\nfoo = 1":     "foo",
		"name = \"a\\nb\"\nhooks = []":          "control",
		"name = \"x\"\nhooks = []\nabi = \"1\"": "abi",
		"name = \"x\"\nhooks = []\nsha256 = \"AB\"":                                  "sha256",
		"name = \"x\"\nhooks = []\ninstance = \"shared\"":                            "instance",
		"name = \"x\"\nhooks = [\"on_tick\"]\ntick = \"1\"":                          "tick = \"1\": write an interval",
		"name = \"x\"\nhooks = [\"on_tick\"]\ntick = \"999ms\"":                      "write an interval",
		"name = \"x\"\nhooks = [\"on_tick\"]\ntick = \"169h\"":                       "write an interval",
		"name = \"x\"\nhooks = [\"on_rcpt\"]\ntick = \"1m\"":                         "has no \"on_tick\"",
		"name = \"x\"\nhooks = []\non_error = \"ignore\"":                            "on_error",
		"name = \"x\"\nhooks = []\nmemory_mb = 9999":                                 "memory_mb",
		"name = \"x\"\nhooks = []\n[capabilities]\nheaders = \"all\"":                "headers",
		"name = \"x\"\nhooks = []\n[capabilities]\nheader = \"read\"":                "header",
		"name = \"x\"\nhooks = []\n[capabilities]\nkv = { mb = 0 }":                  "kv",
		"name = \"x\"\nhooks = []\n[capabilities]\ndns = {}":                         "zones",
		"name = \"x\"\nhooks = []\n[capabilities]\noptional = [\"http\"]":            "mta1_http",
		"name = \"x\"\nhooks = []\n[[capabilities.http]]\nurl = \"ftp://x\"":         "ftp://x",
		"name = \"x\"\nhooks = []\n[[capabilities.http]]\nurl = \"http://u@x\"":      "http://u@x",
		"name = \"x\"\nhooks = []\n[[capabilities.http]]\nurl = \"http://x/a/../b\"": "is not accepted",
		"name = \"x\"\nhooks = []\n[config_schema]\npatern = \"x\"":                  "patern",
		strings.Repeat("#", MaxSize+1):                                               "the limit is",
	} {
		if _, err := ParseTOML([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.80q: %v, want %q on one line", text, err, want)
		}
	}
	for _, text := range []string{"null", "[]", "{} {}", `{"name":"x","hooks":[]} x`, `{"name":"x","hooks":[],"config_schema":false}`} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}

func TestHooksAndVersionMustFit(t *testing.T) {
	for _, c := range []struct {
		abi      string
		hooks    []string
		exported []string
		selftest bool
		want     string
	}{
		{"1.0", []string{"on_rcpt", "on_mail"}, []string{"mail", "rcpt"}, false, ""},
		{"", []string{"on_selftest"}, nil, true, ""},
		{"", []string{}, nil, true, ""},
		{"", []string{"on_rcpt"}, nil, false, `"on_rcpt", which the module does not export`},
		{"", []string{"rcpt"}, []string{"rcpt"}, false, `"on_rcpt"`},
		{"", []string{}, []string{"rcpt", "data"}, false, `hooks = ["on_rcpt", "on_data"]`},
		{"1.999", []string{}, nil, false, "newer server"},
		{"2.0", []string{}, nil, false, "newer server"},
	} {
		m := Manifest{Name: "x", ABI: c.abi, Hooks: c.hooks}
		err := m.Fits(c.exported, c.selftest)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// full is a grant of everything, with every field set.
func full() hostapi.Grant {
	return hostapi.Grant{
		Envelope: hostapi.Write, Headers: hostapi.Write, Body: hostapi.Read, AuthPassword: true, AttrsRead: []string{"spf/*"},
		KV: hostapi.KVGrant{MB: 16}, DNS: hostapi.DNSGrant{Zones: []string{"*"}},
		HTTP:     []hostapi.HTTPGrant{{URL: "https://rep.example/v1/", Methods: []string{"GET", "POST"}, Private: true}},
		SignKeys: []string{"k"}, Secrets: []string{"s"}, Tables: []string{"t"}, Events: []string{"*"},
	}
}

func TestEveryGrantNeedsToBeAskedFor(t *testing.T) {
	g := full()
	for i, v := 0, reflect.ValueOf(g); i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("this test does not know the grant %s", v.Type().Field(i).Name)
		}
	}
	if e, missing := (&Manifest{}).Effective(g); !reflect.DeepEqual(e, hostapi.Grant{}) || missing != nil {
		t.Errorf("who asks for nothing gets %+v, misses %q", e, missing)
	}
	if e, _ := (*Manifest)(nil).Effective(g); !reflect.DeepEqual(e, g) {
		t.Errorf("without a manifest: %+v", e)
	}
	m := Manifest{Capabilities: Capabilities{
		Envelope: "write", Headers: "write", Body: "read", AuthPassword: true, AttrsRead: []string{"spf/*"}, KV: &KV{16}, DNS: &DNS{[]string{"*"}},
		HTTP:     []HTTP{{"https://rep.example/v1/", []string{"GET", "POST"}}},
		SignKeys: []string{"k"}, Secrets: []string{"s"}, Tables: []string{"t"}, Events: []string{"*"},
	}}
	if e, missing := m.Effective(g); !reflect.DeepEqual(e, g) || missing != nil {
		t.Errorf("who asks for everything gets %+v, misses %q", e, missing)
	}
	e, missing := m.Effective(hostapi.Grant{})
	if !reflect.DeepEqual(e, hostapi.Grant{}) || len(missing) != reflect.TypeOf(g).NumField() || missing[0] != `envelope = "write"` {
		t.Errorf("granted nothing: %+v, missing %q", e, missing)
	}
}

func TestTheLessOfBoth(t *testing.T) {
	get := func(c Capabilities, g hostapi.Grant) (string, string) {
		e, missing := (&Manifest{Capabilities: c}).Effective(g)
		return strings.Join(Lines(e), "; "), strings.Join(missing, "; ")
	}
	place := func(url string, methods ...string) []hostapi.HTTPGrant {
		return []hostapi.HTTPGrant{{URL: url, Methods: methods}}
	}
	for _, c := range []struct {
		ask           Capabilities
		grant         hostapi.Grant
		want, missing string
	}{
		{Capabilities{Headers: "write"}, hostapi.Grant{Headers: hostapi.Read}, `headers = "read"`, `headers = "write"`},
		{Capabilities{Headers: "read"}, hostapi.Grant{Headers: hostapi.Write}, `headers = "read"`, ""},
		{Capabilities{KV: &KV{64}}, hostapi.Grant{KV: hostapi.KVGrant{MB: 16}}, `kv = { mb = 16 }`, `kv = { mb = 64 }`},
		{Capabilities{DNS: &DNS{[]string{"a.example", "example.org"}}}, hostapi.Grant{DNS: hostapi.DNSGrant{Zones: []string{"EXAMPLE", "b.example.org"}}},
			`dns = { zones = ["a.example", "b.example.org"] }`, `dns = { zones = ["example.org"] }`},
		{Capabilities{DNS: &DNS{[]string{"*"}}}, hostapi.Grant{DNS: hostapi.DNSGrant{Zones: []string{"x.example"}}}, `dns = { zones = ["x.example"] }`, `dns = { zones = ["*"] }`},
		{Capabilities{DNS: &DNS{[]string{"notexample"}}}, hostapi.Grant{DNS: hostapi.DNSGrant{Zones: []string{"example"}}}, ``, `dns = { zones = ["notexample"] }`},
		{Capabilities{AttrsRead: []string{"spf/*", "a/b"}}, hostapi.Grant{AttrsRead: []string{"spf/result", "a/*"}}, `attrs_read = ["spf/result", "a/b"]`, `attrs_read = ["spf/*"]`},
		{Capabilities{Events: []string{"x"}}, hostapi.Grant{Events: []string{"*"}}, `events = ["x"]`, ""},
		{Capabilities{Secrets: []string{"*"}}, hostapi.Grant{Secrets: []string{"key"}}, "", `secrets = ["*"]`},
		{Capabilities{HTTP: []HTTP{{URL: "https://h/a/b/"}}}, hostapi.Grant{HTTP: place("https://H/a/", "GET", "POST")}, `http = [{ url = "https://h/a/b/", methods = ["GET"] }]`, ""},
		{Capabilities{HTTP: []HTTP{{URL: "https://h/", Methods: []string{"GET", "PUT"}}}}, hostapi.Grant{HTTP: place("https://h/a/", "PUT")},
			`http = [{ url = "https://h/a/", methods = ["PUT"] }]`, `http = [{ url = "https://h/", methods = ["GET", "PUT"] }]`},
		{Capabilities{HTTP: []HTTP{{URL: "https://h.evil/"}}}, hostapi.Grant{HTTP: place("https://h")}, "", `http = [{ url = "https://h.evil/", methods = ["GET"] }]`},
		{Capabilities{HTTP: []HTTP{{URL: "https://h/v10"}}}, hostapi.Grant{HTTP: place("https://h/v1")}, "", `http = [{ url = "https://h/v10", methods = ["GET"] }]`},
		{Capabilities{HTTP: []HTTP{{URL: "http://h/"}}}, hostapi.Grant{HTTP: place("https://h/")}, "", `http = [{ url = "http://h/", methods = ["GET"] }]`},
	} {
		if e, missing := get(c.ask, c.grant); e != c.want || missing != c.missing {
			t.Errorf("%+v of %+v:\n got %s, missing %s\nwant %s, missing %s", c.ask, c.grant, e, missing, c.want, c.missing)
		}
	}
}

func TestSchema(t *testing.T) {
	for _, c := range []struct{ schema, good, bad string }{
		{`{"type":"object"}`, `{}`, `[]`},
		{`{"type":["string","null"]}`, `null`, `1`},
		{`{"type":"integer"}`, `3.0`, `3.5`},
		{`{"type":"number","minimum":-1,"maximum":1}`, `1`, `1.1`},
		{`{"type":"boolean"}`, `false`, `"false"`},
		{`{"minLength":2,"maxLength":3}`, `"äö"`, `"ä"`},
		{`{"maxLength":3}`, `"äöü"`, `"äöüß"`},
		{`{"pattern":"^[a-z]+$"}`, `"abc"`, `"aBc"`},
		{`{"enum":["a",1,null,{"x":[1]}]}`, `{"x":[1.0]}`, `{"x":[2]}`},
		{`{"items":{"type":"string"}}`, `["a"]`, `["a",1]`},
		{`{"required":["a"]}`, `{"a":null}`, `{"b":1}`},
		{`{"properties":{"a":{"type":"string"}}}`, `{"b":1}`, `{"a":1}`},
		{`{"properties":{"a":true},"additionalProperties":false}`, `{"a":1}`, `{"b":1}`},
		{`{"additionalProperties":{"type":"string"}}`, `{"b":"x"}`, `{"b":1}`},
		{`{"properties":{"a":false}}`, `{}`, `{"a":1}`},
	} {
		var s Schema
		if err := json.Unmarshal([]byte(c.schema), &s); err != nil {
			t.Errorf("%s: %v", c.schema, err)
			continue
		}
		if err := s.Check(json.RawMessage(c.good)); err != nil {
			t.Errorf("%s refuses %s: %v", c.schema, c.good, err)
		}
		if err := s.Check(json.RawMessage(c.bad)); err == nil {
			t.Errorf("%s takes %s", c.schema, c.bad)
		}
	}
	deep := strings.Repeat(`{"items":`, maxDepth+2) + "true" + strings.Repeat("}", maxDepth+2)
	for _, bad := range []string{`[]`, `null`, `{"type":"text"}`, `{"type":[]}`, `{"$ref":"#"}`, `{"pattern":"("}`, `{"pattern":"` + strings.Repeat("a", maxPattern+1) + `"}`,
		`{"enum":[]}`, `{"minimum":"1"}`, `{"minLength":1.5}`, `{"required":"a"}`, `{"required":null}`, `{"items":[{}]}`, deep} {
		if err := json.Unmarshal([]byte(bad), new(Schema)); err == nil {
			t.Errorf("the schema %.60s was taken", bad)
		}
	}
}

func TestBeside(t *testing.T) {
	dir := t.TempDir()
	module := filepath.Join(dir, "x.wasm")
	if b, file, err := Beside(module, false); b != nil || file != "" || err != nil {
		t.Errorf("nothing there: %s %q %v", b, file, err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("x.json", `{"name":"j","hooks":[]}`)
	write("manifest.toml", "name = \"m\"\nhooks = []")
	if b, file, err := Beside(module, false); err != nil || !strings.Contains(string(b), `"j"`) || file != filepath.Join(dir, "x.json") {
		t.Errorf("%s %q %v", b, file, err)
	}
	write("x.toml", "nonsense")
	if _, _, err := Beside(module, false); err == nil || !strings.Contains(err.Error(), "x.toml") {
		t.Errorf("a file that cannot be read: %v", err)
	}
	b, _, err := Beside(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = Pin(b, strings.Repeat("ab", 32)); err != nil || !strings.Contains(string(b), `"sha256":"abab`) {
		t.Errorf("%s %v", b, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole), false)
	f.Add([]byte(`{"name":"x","hooks":["on_rcpt"],"config_schema":{"type":"object","properties":{"a":{"enum":[1]}}}}`), true)
	f.Fuzz(func(t *testing.T, data []byte, isJSON bool) {
		parse := ParseTOML
		if isJSON {
			parse = Parse
		}
		m, err := parse(data)
		if err != nil {
			if len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\n\r\x00") {
				t.Errorf("error is %q", err)
			}
			return
		}
		// Nobody gets what was not granted.
		for _, g := range []hostapi.Grant{{}, full()} {
			e, missing := m.Effective(g)
			if slices.Equal(Lines(e), Lines(m.Asks())) != (len(missing) == 0) && reflect.DeepEqual(g, hostapi.Grant{}) && m.Capabilities.Envelope != "read" {
				t.Errorf("gets %q, misses %q", Lines(e), missing)
			}
		}
		if b, err := json.Marshal(m); err == nil && len(b) <= MaxSize {
			if _, err := Parse(b); err != nil {
				t.Errorf("written as %s it is refused: %v", b, err)
			}
		}
		_ = m.CheckConfig(json.RawMessage(`{"a":[1,"x",{"b":null}]}`))
	})
}

func FuzzSchema(f *testing.F) {
	f.Add([]byte(`{"type":"object","properties":{"a":{"type":"string","pattern":"x+"}}}`), []byte(`{"a":"xx"}`))
	f.Add([]byte(`{"items":{"enum":[1,"a"]},"minimum":1}`), []byte(`[1,"b",[[]]]`))
	f.Fuzz(func(t *testing.T, schema, doc []byte) {
		if len(schema) > MaxSize {
			return
		}
		var s Schema
		if s.UnmarshalJSON(schema) != nil {
			return
		}
		if err := s.Check(doc); err != nil && (len(err.Error()) > 4000 || strings.ContainsAny(err.Error(), "\n\r\x00")) {
			t.Errorf("error is %q", err)
		}
	})
}

// The example that authors copy must be one.
func TestTheExampleOfTheREADME(t *testing.T) {
	b, err := os.ReadFile("../../sdk/README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, block := range strings.Split(string(b), "```toml\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		if !strings.Contains(text, "[capabilities]") {
			continue
		}
		found = true
		if _, err := ParseTOML([]byte("sha256 = \"" + strings.Repeat("0a", 32) + "\"\n" + text)); err != nil {
			t.Errorf("%v in\n%s", err, text)
		}
	}
	if !found {
		t.Error("sdk/README.md has no manifest")
	}
}
