package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestW11NoBrokenPluginOpensTheRelay: a forward-path that no rule and no module
// accepts is refused, also when every module traps, loops, recurses, eats
// memory or is missing, and whatever its on_error says.
func TestW11NoBrokenPluginOpensTheRelay(t *testing.T) {
	module := guest(t, "broken", "")
	missing := filepath.Join(t.TempDir(), "missing.wasm")
	garbage := filepath.Join(t.TempDir(), "garbage.wasm")
	if err := os.WriteFile(garbage, []byte("\x00asm\x01\x00\x00\x00garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, module, mode string }{
		{"trap", module, "trap"}, {"loop", module, "loop"}, {"recurse", module, "recurse"}, {"grow", module, "grow"},
		{"missing", missing, ""}, {"garbage", garbage, ""},
	} {
		for _, onError := range []string{"tempfail", "continue", "reject"} {
			t.Run(c.name+"/"+onError, func(t *testing.T) {
				t.Parallel()
				plugins := ""
				for i := range 3 {
					plugins += fmt.Sprintf("[[plugin]]\nname = \"p%d\"\nmodule = %q\non_error = %q\n[plugin.config]\nmode = %q\n", i, c.module, onError, c.mode)
				}
				s := newServer(t, "", "[[route]]\ndomains = [\"home.test\"]\nto = \"discard\"\n"+plugins)
				// Nobody may relay here, and home.test is the only local domain.
				config, _ := os.ReadFile(s.config)
				text := strings.Replace(string(config), "relay_networks = [\"127.0.0.0/8\"]", "local_domains = [\"home.test\"]", 1)
				if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				s.start()
				k, err := dial(s.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer k.c.Close()
				if err := k.cmd(250, "MAIL FROM:<a@src.test>"); err != nil {
					if !strings.Contains(err.Error(), "\"4") && !strings.Contains(err.Error(), "\"5") {
						t.Fatal(err)
					}
					return // refused before any recipient
				}
				for _, to := range []string{"b@elsewhere.test", "@home.test:b@elsewhere.test", "b%elsewhere.test@other.test", "b@[127.0.0.1]"} {
					reply := k.ask("RCPT TO:<%s>", to)
					if !strings.HasPrefix(reply, "4") && !strings.HasPrefix(reply, "5") {
						t.Errorf("%s: %q: the relay is open", to, reply)
					}
				}
				// What a rule accepts depends on on_error.
				reply := k.ask("RCPT TO:<b@home.test>")
				if want := map[string]string{"tempfail": "451", "continue": "250", "reject": "550"}[onError]; !strings.HasPrefix(reply, want) {
					t.Errorf("a local recipient: %q, want %s", reply, want)
				}
				s.stop()
			})
		}
	}
}

// ask sends a command and returns the reply, whatever it is.
func (k *client) ask(format string, args ...any) string {
	fmt.Fprintf(k.c, format+"\r\n", args...)
	text, err := k.expect(0)
	if text == "" {
		return err.Error()
	}
	return text
}
