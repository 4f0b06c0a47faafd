package wasmbuild_test

import (
	"context"
	"testing"

	"github.com/tetratelabs/wazero"
	. "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

func TestModuleRuns(t *testing.T) {
	m := New()
	seven := m.Import("env", "seven", None, I32)
	m.Memory(1, 2)
	m.Table(FuncRef, 2, NoMax)
	g := m.Global(I64, true, I64Const(-5))
	pair := m.Type(None, I32+I64)
	f := m.Func("", None, I32, None, I32Const(300)+Call(seven)+I32Add)
	m.Elem(1, f)
	m.Data(8, "\x2a")
	m.Func("sum", I32, I64, I32+I32+I64,
		Block(TypeIndex(pair), I32Const(1)+CallIndirect(m.Type(None, I32), 0)+GlobalGet(g))+
			Drop+I32Const(8)+I32Load8U(0)+I32Add+LocalGet(0)+I32Add+I64ExtendI32)
	m.Names("test", map[uint32]string{f: "f"})

	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	if _, err := r.NewHostModuleBuilder("env").NewFunctionBuilder().
		WithFunc(func() uint32 { return 7 }).Export("seven").Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	mod, err := r.Instantiate(ctx, m.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got, err := mod.ExportedFunction("sum").Call(ctx, 1000)
	if err != nil || got[0] != 1349 {
		t.Fatalf("sum(1000) = %v, %v; want 300+7+42+1000", got, err)
	}
}
