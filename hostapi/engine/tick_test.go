package engine_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	wb "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
	"github.com/wasmta/wasmta/hostapi/manager"
)

// A guest counts its ticks in its memory that lasts, in the interval of its
// manifest; in its own memory it finds every time what it began with.
func TestAGuestTicks(t *testing.T) {
	store := newState(t)
	e := newEngine(t, withState(store))
	g := capable(abi.ModuleKV)
	g.Data(16, "ticks")
	g.on("tick", wb.I32Const(64)+wb.I32Load(0)+wb.If(wb.None, wb.Unreachable, "")+
		wb.I32Const(64)+wb.I32Const(1)+wb.I32Store(0)+
		wb.I32Const(16)+wb.I32Const(5)+wb.I64Const(1)+wb.I64Const(0)+wb.I32Const(0)+wb.Call(g.fn["kv.incr"])+wb.Drop+
		wb.I32Const(0))
	manifest, err := json.Marshal(map[string]any{"name": "counter", "hooks": []string{"on_tick"}, "tick": "1s",
		"capabilities": map[string]any{"kv": map[string]any{"mb": 1}}})
	if err != nil {
		t.Fatal(err)
	}
	g.Custom("mta1.manifest", string(manifest))
	file := filepath.Join(t.TempDir(), "counter.wasm")
	if err := os.WriteFile(file, g.finish(), 0o600); err != nil {
		t.Fatal(err)
	}
	m := manager.New(manager.Options{Load: func(ctx context.Context, spec hostapi.Spec, wasm []byte) (manager.Loaded, error) {
		return e.Load(ctx, spec, wasm)
	}})
	if err := m.Apply(t.Context(), []hostapi.Spec{{Name: "counter", Module: file, Grant: hostapi.Grant{KV: hostapi.KVGrant{MB: 1}}}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() {
		m.Tick(ctx)
		close(ended)
	}()
	defer func() {
		cancel()
		<-ended
		m.Close(true)
	}()
	kv, err := store.Plugin("counter", 1)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		n, err := kv.Incr([]byte("ticks"), 0, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		if n >= 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d ticks in a minute", n)
		}
	}
}
