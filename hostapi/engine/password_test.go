package engine_test

import (
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/hook"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// TestTheLastWordsOfAGuestHaveNoPassword: a guest that panics prints what it
// has in its hands, and its error is told in the log of the server.
func TestTheLastWordsOfAGuestHaveNoPassword(t *testing.T) {
	const password = "tanstaaf"
	for name, end := range map[string]func(g *guest, write, abort uint32) wb.Code{
		"standard error": func(_ *guest, write, _ uint32) wb.Code {
			return wb.I32Const(2) + wb.I32Const(1024) + wb.I32Const(1) + wb.I32Const(1040) + wb.Call(write) + wb.Drop + wb.Unreachable
		},
		"a load outside its memory": func(_ *guest, write, _ uint32) wb.Code {
			return wb.I32Const(2) + wb.I32Const(1024) + wb.I32Const(1) + wb.I32Const(1040) + wb.Call(write) + wb.Drop +
				wb.I32Const(-1) + wb.I32Load(0)
		},
		"abort": func(_ *guest, _, abort uint32) wb.Code {
			// The text as UTF-16, the length in octets in front.
			text := wb.I32Const(3000) + wb.I32Const(2*8) + wb.I32Store(0)
			for k := range int32(8) {
				text += wb.I32Const(3004+2*k) + wb.I32Const(2048+k) + wb.I32Load8U(0) + wb.I32Store8(0)
			}
			return text + wb.I32Const(3004) + wb.I32Const(3004) + wb.I32Const(1) + wb.I32Const(2) + wb.Call(abort) + wb.I32Const(0)
		},
		"a line cut in the middle": func(g *guest, write, _ uint32) wb.Code {
			fill := wb.I32Const(4096) + wb.I32Const('-') + wb.I32Const(abi.MaxLogLine) + wb.MemoryFill +
				g.call("get", int32(abi.AuthPass), 4096+abi.MaxLogLine-5, 64) + wb.Drop +
				wb.I32Const(1024) + wb.I32Const(4096) + wb.I32Store(0) + wb.I32Const(1028) + wb.I32Const(abi.MaxLogLine+3) + wb.I32Store(0)
			return fill + wb.I32Const(2) + wb.I32Const(1024) + wb.I32Const(1) + wb.I32Const(1040) + wb.Call(write) + wb.Drop + wb.Unreachable
		},
	} {
		t.Run(name, func(t *testing.T) {
			var said lines
			e := newEngine(t, engine.Options{Log: said.add})
			g := newGuest()
			write := g.Import("wasi_snapshot_preview1", "fd_write", wb.I32+wb.I32+wb.I32+wb.I32, wb.I32)
			abort := g.Import("env", "abort", wb.I32+wb.I32+wb.I32+wb.I32, wb.None)
			g.Data(1024, "\x00\x08\x00\x00\x09\x00\x00\x00") // 9 octets at 2048
			g.Data(2048+8, "\n")
			g.on("auth", g.call("get", int32(abi.AuthPass), 2048, 64)+wb.Drop+end(g, write, abort))
			p := load(t, e, hostapi.Spec{Grant: hostapi.Grant{AuthPassword: true}}, g.finish())
			_, err := ask(t, p, &hook.Event{Stage: hook.Auth, Session: &hook.Session{Client: &mail.Client{}}, Recipient: -1,
				Auth: &hook.Credentials{Mechanism: "PLAIN", User: "tim", Password: []byte(password)}})
			callError(t, err, hostapi.FaultTrap)
			all := err.Error() + strings.Join(said.texts(), "\n")
			if strings.Contains(all, password) || strings.Contains(all, password[:5]) || !strings.Contains(all, "[pass") {
				t.Errorf("%s", all)
			}
		})
	}
}
