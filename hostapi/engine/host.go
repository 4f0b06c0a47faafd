package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/hostapi/engine/meter"
)

// version of the contract, for messages.
var version = strconv.Itoa(abi.Major) + "." + strconv.Itoa(abi.Minor)

const (
	wasiModule  = "wasi_snapshot_preview1"
	abortModule = "env"
)

// function is a host function of any module.
type function struct {
	module, name string
	sig          abi.Signature
	call         func(i *instance, m api.Memory, stack []uint64)
}

// functions are all host functions. A Go function is called with the stack of
// its parameters, which also takes the result: nothing is reflected on and
// nothing allocated.
func functions() []function {
	var list []function
	for _, f := range hostapi.Functions() {
		_, results := split(f.Signature)
		narrow := results[0] == abi.I32
		list = append(list, function{f.Module, f.Name, f.Signature, func(i *instance, m api.Memory, stack []uint64) {
			r := f.Call(i.call, m, stack)
			if narrow {
				stack[0] = uint64(uint32(r))
			} else {
				stack[0] = uint64(r)
			}
		}})
	}
	for _, f := range wasiFunctions() {
		list = append(list, function{wasiModule, f.name, f.sig, func(i *instance, m api.Memory, stack []uint64) {
			i.call.Count(f.name)
			errno := f.call(i, m, stack)
			if len(stack) > 0 {
				stack[0] = uint64(errno)
			}
		}})
	}
	return append(list,
		function{abortModule, "abort", "iiii>", abort},
		function{meter.ImportModule, meter.ImportName, ">", nil}) // wired by link
}

func split(s abi.Signature) (params, results []abi.ValueType) {
	for n := range len(s) {
		if s[n] == '>' {
			return []abi.ValueType(s[:n]), []abi.ValueType(s[n+1:])
		}
	}
	return []abi.ValueType(s), nil
}

func valueTypes(list []abi.ValueType) []api.ValueType {
	out := make([]api.ValueType, len(list))
	for n, t := range list {
		out[n] = api.ValueTypeI32
		if t == abi.I64 {
			out[n] = api.ValueTypeI64
		}
	}
	return out
}

// signatures are the functions that a plugin may import, by module and name,
// as meter prints their types.
func signatures() map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, f := range functions() {
		if f.module == meter.ImportModule {
			continue
		}
		if out[f.module] == nil {
			out[f.module] = map[string]string{}
		}
		params, results := split(f.sig)
		types := func(list []abi.ValueType) []meter.ValueType {
			var t []meter.ValueType
			for _, v := range list {
				if v == abi.I64 {
					t = append(t, meter.I64)
				} else {
					t = append(t, meter.I32)
				}
			}
			return t
		}
		out[f.module][f.name] = meter.Signature{Params: types(params), Results: types(results)}.String()
	}
	return out
}

// link makes the host modules of a runtime.
func link(ctx context.Context, r wazero.Runtime) error {
	builders := map[string]wazero.HostModuleBuilder{}
	for _, f := range functions() {
		b := builders[f.module]
		if b == nil {
			b = r.NewHostModuleBuilder(f.module)
			builders[f.module] = b
		}
		var fn api.GoModuleFunc
		if f.call == nil {
			fn = refuel
		} else {
			call := f.call
			fn = func(ctx context.Context, mod api.Module, stack []uint64) {
				call(ctx.(*callContext).instance, mod.Memory(), stack)
			}
		}
		params, results := split(f.sig)
		b.NewFunctionBuilder().WithGoModuleFunction(fn, valueTypes(params), valueTypes(results)).Export(f.name)
	}
	for name, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("host module %s: %w", name, err)
		}
	}
	return nil
}

// abort(message, file, line, column) is what AssemblyScript calls when it
// gives up. The texts are UTF-16 with their length in octets in front.
func abort(i *instance, m api.Memory, p []uint64) {
	str := func(ptr uint32) string {
		n, ok := m.ReadUint32Le(ptr - 4)
		if ptr < 4 || !ok {
			return ""
		}
		b, ok := m.Read(ptr, min(n, 400+2*hostapi.MaxPassword)&^1)
		if !ok {
			return ""
		}
		var units []uint16
		for ; len(b) >= 2; b = b[2:] {
			units = append(units, binary.LittleEndian.Uint16(b))
		}
		text := i.call.WithoutPassword([]byte(string(utf16.Decode(units))))
		return strings.ToValidUTF8(string(text[:min(len(text), 200)]), "")
	}
	i.call.Count("abort")
	text := fmt.Sprintf("abort: %s at %s:%d:%d", str(uint32(p[0])), str(uint32(p[1])), uint32(p[2]), uint32(p[3]))
	i.call.Log(abi.LogError, []byte(text))
	panic(&hostapi.Trap{Fault: hostapi.FaultTrap, Reason: text})
}
