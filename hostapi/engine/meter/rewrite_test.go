package meter_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/wasmta/wasmta/hostapi/engine/meter"
	. "github.com/wasmta/wasmta/hostapi/engine/wasmbuild"
)

// what describes a result with its error, without stack trace.
func what(results []uint64, err error) string {
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return first
	}
	return fmt.Sprint(results)
}

func TestResultsStayTheSame(t *testing.T) {
	wasm := corpus().Bytes()
	m, err := meter.Inspect(wasm)
	if err != nil {
		t.Fatal(err)
	}
	metered := rewrite(t, wasm, meter.Limits{})
	traps := 0
	// Beyond these the plain function runs or recurses without end.
	largest := map[string]uint64{"fib": 20, "fact": 1482, "even": 1482, "odd": 1482, "refs": 1482, "brif": 1482}
	for _, e := range m.Exports {
		if e.Kind != meter.KindFunc {
			continue
		}
		plain, measured := start(t, wasm), start(t, metered)
		for _, arg := range []uint64{0, 1, 2, 3, 4, 5, 6, 7, 9, 15, 20, 100, 0xff, 1482, 1 << 31, 0xffffffff} {
			if limit, ok := largest[e.Name]; ok && arg > limit {
				continue
			}
			want, wantErr := plain.call(e.Name, arg)
			got, gotErr := measured.call(e.Name, arg)
			if a, b := what(want, wantErr), what(got, gotErr); a != b {
				t.Errorf("%s(%d): %s before, %s after", e.Name, arg, a, b)
			}
			if gotErr != nil {
				traps++
				plain, measured = start(t, wasm), start(t, metered)
			} else if d := measured.depth(); d != 0 {
				t.Errorf("%s(%d): depth %d after return", e.Name, arg, d)
			}
		}
		if measured.refuels == 0 && measured.used() == 0 {
			t.Errorf("%s used no fuel", e.Name)
		}
	}
	if traps == 0 {
		t.Error("no call trapped, so traps were not compared")
	}
}

const goGuest = `package main

import (
	"encoding/json"
	"fmt"
	"net/mail"
	"sort"
)

type entry struct {
	Name string
	Size int
}

func walk(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + walk(n-1)
}

//go:wasmexport run
func run(n int32) int64 {
	defer func() { recover() }()
	a, err := mail.ParseAddress(fmt.Sprintf("\"Bob %d\" <bob@example.org>", n))
	if err != nil {
		return -1
	}
	var list []entry
	for i := range n {
		list = append(list, entry{fmt.Sprint(a.Name, i*7919%n), int(i)})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	b, err := json.Marshal(list)
	if err != nil {
		return -2
	}
	var back []entry
	if err := json.Unmarshal(b, &back); err != nil || len(back) != int(n) {
		return -3
	}
	h := int64(walk(500))
	for _, c := range b {
		h = h*31 + int64(c)
	}
	done := make(chan int64)
	go func() { done <- h }()
	return <-done
}

//go:wasmexport recurse
func recurse(n int32) int32 { return int32(walk(int(n))) }

//go:wasmexport spin
func spin(n int32) int32 {
	for {
		n = n*3 + 1
		if n == 0x7fffffff {
			fmt.Println(n)
		}
	}
}

func main() {}
`

// buildGo compiles a Go guest with nothing but the Go tool.
func buildGo(t testing.TB, source string) []byte {
	t.Helper()
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go tool to build the guest with")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module guest\n\ngo 1.24\n", "main.go": source} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(tool, "build", "-buildmode=c-shared", "-o", "guest.wasm", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build of the guest: %v\n%s", err, out)
	}
	wasm, err := os.ReadFile(filepath.Join(dir, "guest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

func TestGoGuest(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and compiles a Go guest")
	}
	wasm := buildGo(t, goGuest)
	plain := start(t, wasm)
	metered := start(t, rewrite(t, wasm, meter.Limits{}))
	metered.quota = 1 << 40
	for _, n := range []uint64{1, 10, 300} {
		want, err := plain.call("run", n)
		if err != nil {
			t.Fatal(err)
		}
		got, err := metered.call("run", n)
		if err != nil || got[0] != want[0] {
			t.Fatalf("run(%d) = %v, %v; want %v", n, got, err, want)
		}
		if d := metered.depth(); d != 0 {
			t.Errorf("run(%d): depth %d after return", n, d)
		}
	}
	if got, err := metered.call("recurse", 5000); err != nil || got[0] != 5000 {
		t.Errorf("recursion 5000 deep in Go = %v, %v", got, err)
	}
	metered.quota = metered.given + 50*slice
	if _, err := metered.call("spin", 1); !errors.Is(err, errFuel) {
		t.Errorf("endless Go loop ended with %v", err)
	}
}

func TestRunawaysAreStopped(t *testing.T) {
	m := New()
	tick := m.Import("env", "tick", None, I32)
	m.Memory(16, NoMax)
	m.Table(FuncRef, 1, NoMax)
	m.Func("loop", None, None, None, Loop(None, Br(0)))
	m.Func("loop in dead end", None, None, None, Block(None, Loop(None, Br(0))+Unreachable))
	m.Func("recursion", None, None, None, Call(m.NextFunc()))
	next := m.NextFunc()
	m.Func("mutual recursion", None, None, None, Call(next+1))
	m.Func("", None, None, None, Call(next))
	m.Elem(0, m.NextFunc())
	m.Func("indirect recursion", None, None, None, I32Const(0)+CallIndirect(m.Type(None, None), 0))
	m.Func("host calls", None, None, None, Loop(None, Call(tick)+Drop+Br(0)))
	m.Func("fill", None, None, None, Loop(None, I32Const(0)+I32Const(1)+I32Const(1<<20)+MemoryFill+Br(0)))
	m.Func("copy", None, None, None, Loop(None, I32Const(0)+I32Const(1)+I32Const(1<<20-1)+MemoryCopy+Br(0)))
	m.Func("grow memory", None, None, None, Loop(None, I32Const(1)+MemoryGrow+Drop+Br(0)))
	m.Func("grow table", None, None, None, Loop(None, RefNull(FuncRef)+I32Const(1)+TableGrow(0)+Drop+Br(0)))
	fib := m.NextFunc()
	m.Func("", I32, I32, None, LocalGet(0)+I32Const(2)+I32LtS+
		If(I32, LocalGet(0), LocalGet(0)+I32Const(1)+I32Sub+Call(fib)+LocalGet(0)+I32Const(2)+I32Sub+Call(fib)+I32Add))
	m.Func("fib(80) without loops", None, None, None, I32Const(80)+Call(fib)+Drop)
	many := Types(strings.Repeat(string(I64), 1500))
	m.Func("recursion of large frames", None, None, many, Call(m.NextFunc()))
	wide := m.NextFunc()
	m.Func("", None, I32, None, Code(strings.Repeat(string(Call(wide)), 2000)+strings.Repeat(string(I32Add), 1999)))
	m.Func("recursion of many operands", None, None, None, Call(wide)+Drop)
	metered := rewrite(t, m.Bytes(), meter.Limits{})

	depth := map[string]bool{"recursion": true, "mutual recursion": true, "indirect recursion": true,
		"recursion of large frames": true, "recursion of many operands": true}
	inspected, err := meter.Inspect(metered)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range inspected.Exports {
		if e.Kind != meter.KindFunc {
			continue
		}
		t.Run(e.Name, func(t *testing.T) {
			g := start(t, metered)
			_, err := g.call(e.Name)
			switch {
			case depth[e.Name]:
				if err == nil || !strings.Contains(err.Error(), "unreachable") {
					t.Errorf("ended with %v", err)
				}
				if d := g.depth(); d <= 20_000 {
					t.Errorf("depth %d after the trap does not tell the reason", d)
				}
			case !errors.Is(err, errFuel):
				t.Errorf("ended with %v", err)
			}
			if size, _ := g.mod.Memory().Grow(0); size > 1024 {
				t.Errorf("memory of %d pages", size)
			}
		})
	}
}

func TestGrowthIsClamped(t *testing.T) {
	m := New()
	m.Memory(1, 60_000)
	m.Table(FuncRef, 10, NoMax)
	m.Table(ExternRef, 0, 50)
	m.Func("pages", I32, I32, None, LocalGet(0)+MemoryGrow)
	m.Func("table0", I32, I32, None, RefNull(FuncRef)+LocalGet(0)+TableGrow(0))
	m.Func("table1", I32, I32, None, RefNull(ExternRef)+LocalGet(0)+TableGrow(1))
	g := start(t, rewrite(t, m.Bytes(), meter.Limits{MemoryPages: 8, TableEntries: 100}))
	const refused = 0xffffffff
	for _, c := range []struct {
		name      string
		arg, want uint64
	}{
		{"pages", 8, refused}, {"pages", 0xffffffff, refused}, {"pages", 7, 1}, {"pages", 1, refused},
		{"table0", 91, refused}, {"table0", 100_000_000, refused}, {"table0", 90, 10}, {"table0", 1, refused},
		{"table1", 51, refused}, {"table1", 50, 0},
	} {
		before := g.used()
		got, err := g.call(c.name, c.arg)
		if err != nil || got[0] != c.want {
			t.Errorf("%s(%d) = %v, %v; want %d", c.name, c.arg, got, err, c.want)
		}
		if cost := g.used() - before; c.arg > 1000 && cost > 100 {
			t.Errorf("%s(%d) cannot succeed and cost %d", c.name, c.arg, cost)
		}
	}
}

func TestFuelIsProportional(t *testing.T) {
	m := New()
	m.Memory(16, NoMax)
	m.Func("loop", I32, None, None, Loop(None,
		LocalGet(0)+I32Const(1)+I32Sub+LocalTee(0)+BrIf(0)))
	m.Func("fill", I32, None, None, I32Const(0)+I32Const(0)+LocalGet(0)+MemoryFill)
	m.Func("grow", I32, None, None, LocalGet(0)+MemoryGrow+Drop)
	// A loop over a switch of two long cases: the case not taken is not paid.
	long := Code(strings.Repeat(string(Nop), 5000))
	m.Func("switch", I32, None, None, Loop(None,
		Block(None, Block(None, LocalGet(0)+I32Const(1)+I32And+BrTable(0, 1))+long+Nop)+
			LocalGet(0)+I32Const(2)+I32Sub+LocalTee(0)+I32Const(0)+I32GtS+BrIf(0)))
	g := start(t, rewrite(t, m.Bytes(), meter.Limits{}))
	g.quota = 1 << 40
	cost := func(name string, arg uint64) int64 {
		before := g.used()
		if _, err := g.call(name, arg); err != nil {
			t.Fatalf("%s(%d): %v", name, arg, err)
		}
		return g.used() - before
	}
	within := func(what string, got, low, high int64) {
		t.Helper()
		if got < low || got > high {
			t.Errorf("%s cost %d, want %d to %d", what, got, low, high)
		}
	}
	base := cost("loop", 1)
	within("1000 turns of 5 instructions", cost("loop", 1001)-base, 5000, 6000)
	if a, b := cost("loop", 12345), cost("loop", 12345); a != b {
		t.Errorf("the same call cost %d, then %d", a, b)
	}
	within("filling 1 MiB", cost("fill", 1<<20), 1<<14, 1<<14+50)
	within("growing by 10 pages", cost("grow", 10), 10<<10, 10<<10+50)
	within("500 turns with the long case", cost("switch", 1000), 500*5000, 500*5200)
	within("500 turns without it", cost("switch", 1001), 500*10, 500*600)
}

func TestStartFunctionIsMetered(t *testing.T) {
	m := New()
	m.Start(m.Func("", None, None, None, Loop(None, Br(0))))
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	calls := 0
	if _, err := r.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().
		WithFunc(func() {
			if calls++; calls == 3 {
				panic(errFuel)
			}
		}).Export(meter.ImportName).Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Instantiate(ctx, rewrite(t, m.Bytes(), meter.Limits{})); !errors.Is(err, errFuel) {
		t.Errorf("instantiation ended with %v", err)
	}
}

func TestNamesAreMoved(t *testing.T) {
	m := New()
	m.Import("env", "tick", None, I32)
	f := m.Func("f", None, None, None, Unreachable)
	m.Names("test", map[uint32]string{0: "tick", f: "the_trap"})
	g := start(t, rewrite(t, m.Bytes(), meter.Limits{}))
	if _, err := g.call("f"); err == nil || !strings.Contains(err.Error(), "the_trap") {
		t.Errorf("trap does not name its function: %v", err)
	}
}

func TestInspect(t *testing.T) {
	wasm := corpus().Bytes()
	for _, b := range [][]byte{wasm, rewrite(t, wasm, meter.Limits{})} {
		m, err := meter.Inspect(b)
		if err != nil {
			t.Fatal(err)
		}
		if i := m.Imports[0]; i.Module != "env" || i.Name != "tick" || i.Kind != meter.KindFunc || i.Signature.String() != "() -> i32" {
			t.Errorf("import %+v", i)
		}
		at := slices.IndexFunc(m.Exports, func(e meter.Export) bool { return e.Name == "pair" })
		if at < 0 || m.Exports[at].Signature.String() != "(i32) -> (i32, i32)" {
			t.Errorf("exports %v", m.Exports)
		}
		if m.Memory == nil || m.Memory.Min != 1 || m.Memory.Max != 4 || !m.Start || len(m.Tables) != 2 {
			t.Errorf("memory %v, tables %v, start %v", m.Memory, m.Tables, m.Start)
		}
		if d, ok := m.CustomData("mta1.manifest"); !ok || string(d) != `{"name":"corpus"}` {
			t.Errorf("manifest %q", d)
		}
	}
}
