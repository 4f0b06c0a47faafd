package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/hostapi/abi"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// The classes of attack by a plugin that need a whole server; the others are in
// hostapi/engine. W11, plugins that are missing, broken or slow and must not
// open what they guard, is TestW11NoBrokenPluginOpensTheRelay.

// TestW16KillInsideEachHook kills the server while a plugin runs, once in each
// hook. A message that got 250 arrives once; twice only if the next hop had
// taken it already. One that got none never arrives.
func TestW16KillInsideEachHook(t *testing.T) {
	var stages []hook.Stage
	hook.AllStages(func(s hook.Stage) {
		switch s {
		case hook.TLS, hook.Auth, hook.DSN, hook.Tick: // not part of this walk
		default:
			stages = append(stages, s)
		}
	})
	for _, stage := range stages {
		t.Run(stage.String(), func(t *testing.T) {
			next, trapped := freeAddr(t), freeAddr(t)
			arrivals := newSink(t, next, nil)
			listener := fmt.Sprintf("[[route]]\ndomains = [\"*\"]\nto = \"smtp:%s\"\n[queue]\nretry = [\"1s\"]\n[[listener]]\nname = \"trap\"\naddress = %q\n", next, trapped)
			s := newServer(t, "", listener)
			plain, err := os.ReadFile(s.config)
			if err != nil {
				t.Fatal(err)
			}
			module := filepath.Join(t.TempDir(), "spin.wasm")
			if err := os.WriteFile(module, spinning(stage), 0o600); err != nil {
				t.Fatal(err)
			}
			plugin := fmt.Sprintf("[[plugin]]\nname = \"spin\"\nmodule = %q\nlisteners = [\"trap\"]\n[plugin.limits]\ncpu_ms = 60000\n", module)
			if err := os.WriteFile(s.config, append(plain, plugin...), 0o600); err != nil {
				t.Fatal(err)
			}
			s.start()
			token := "w16-" + stage.String()
			acked := make(chan bool, 1)
			go func() {
				k, err := dial(trapped)
				if err == nil {
					err = k.send("a@src.test", "b@dst.test", message(token, 2000))
					acked <- err == nil
					_ = k.cmd(250, "MAIL FROM:<a@src.test>")
					_ = k.cmd(250, "RSET")
					_ = k.cmd(221, "VRFY x")
					_ = k.cmd(221, "QUIT")
					k.c.Close()
				} else {
					acked <- false
				}
			}()
			eventually(t, time.Minute, "the plugin was not asked:\n"+s.log.Tail(2000), func() bool {
				return strings.Contains(s.log.String(), "spinning in "+stage.String())
			})
			s.kill()
			got250 := <-acked
			if accepted := stage == hook.Command || stage >= hook.Reset; accepted != got250 {
				t.Errorf("the message got 250: %v; the plugin runs afterwards: %v", got250, accepted)
			}
			if err := os.WriteFile(s.config, plain, 0o600); err != nil {
				t.Fatal(err)
			}
			s.start()
			after := "after-" + token
			k, err := dial(s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer k.c.Close()
			if err := k.send("a@src.test", "b@dst.test", message(after, 500)); err != nil {
				t.Fatal(err)
			}
			copies := func(token string) int {
				arrivals.mu.Lock()
				defer arrivals.mu.Unlock()
				return len(arrivals.got[token])
			}
			eventually(t, time.Minute, "mail is stuck after the restart", func() bool {
				return copies(after) > 0 && (!got250 || copies(token) > 0)
			})
			s.stop()
			switch n := copies(token); {
			case got250 && n != 1 && (stage != hook.Result || n != 2):
				t.Errorf("a message that got 250 arrived %d times", n)
			case !got250 && n != 0:
				t.Errorf("a message that got no 250 arrived %d times", n)
			}
		})
	}
}

// spinning is a module that says so and then runs without end at one hook.
func spinning(stage hook.Stage) []byte {
	m := wb.New()
	log := m.Import(abi.Module, "log", wb.I32+wb.I32+wb.I32, wb.I32)
	says := "spinning in " + stage.String()
	m.Data(16, says)
	m.Memory(1, 1)
	m.Func("mta1_init", wb.None, wb.I32, wb.None, wb.I32Const(0))
	m.Func(abi.HookPrefix+stage.String(), wb.None, wb.I32, wb.None,
		wb.I32Const(2)+wb.I32Const(16)+wb.I32Const(int32(len(says)))+wb.Call(log)+wb.Drop+wb.Loop(wb.None, wb.Br(0))+wb.I32Const(0))
	return m.Bytes()
}
