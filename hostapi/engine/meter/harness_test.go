package meter_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/wasmta/wasmta/hostapi/engine/meter"
)

const slice = 1_000_000

var errFuel = errors.New("out of fuel")

// guest is an instance whose fuel is handed out in slices up to a quota.
type guest struct {
	mod     api.Module
	quota   int64
	refuels int
	given   int64
}

func (g *guest) refuel(_ context.Context, mod api.Module, _ []uint64) {
	fuel := mod.ExportedGlobal(meter.FuelExport).(api.MutableGlobal)
	g.given -= int64(fuel.Get())
	if g.given += slice; g.given-slice > g.quota {
		panic(errFuel)
	}
	g.refuels++
	fuel.Set(slice)
}

// used is the fuel taken so far.
func (g *guest) used() int64 {
	return g.given - int64(g.mod.ExportedGlobal(meter.FuelExport).Get())
}

func (g *guest) depth() int32 {
	return int32(g.mod.ExportedGlobal(meter.DepthExport).Get())
}

func (g *guest) call(name string, args ...uint64) ([]uint64, error) {
	return g.mod.ExportedFunction(name).Call(context.Background(), args...)
}

// start runs wasm as it is; env.tick is a host function () -> i32 that counts.
func start(t testing.TB, wasm []byte) *guest {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	t.Cleanup(func() { r.Close(ctx) })
	g := &guest{quota: 200 * slice}
	if _, err := r.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(g.refuel), nil, nil).
		Export(meter.ImportName).Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	ticks := uint64(0)
	if _, err := r.NewHostModuleBuilder("env").NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, _ api.Module, stack []uint64) {
			ticks++
			stack[0] = ticks
		}), nil, []api.ValueType{api.ValueTypeI32}).Export("tick").Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	mod, err := r.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig().WithStartFunctions("_initialize"))
	if err != nil {
		t.Fatal(err)
	}
	g.mod = mod
	return g
}

func rewrite(t testing.TB, wasm []byte, limits meter.Limits) []byte {
	t.Helper()
	out, err := meter.Rewrite(wasm, limits)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wantError(t *testing.T, err error, reason meter.Reason, text string) {
	t.Helper()
	var e *meter.Error
	if !errors.As(err, &e) || e.Reason != reason || !strings.Contains(e.Error(), text) {
		t.Errorf("error %v; want %q and %q", err, reason, text)
	}
}
