//go:build !wasip1

package guest

import (
	"sync"

	"github.com/wasmta/wasmta/hostapi/abi"
)

// Host is what a test puts in the host's place. The methods are those of the
// contract.
type Host interface {
	Get(f abi.Field, buf []byte) int32
	GetNum(f abi.Field) int64
	Set(f abi.Field, value string) int32
	SetNum(f abi.Field, value int64) int32
	ListLen(l abi.List) int32
	ListGet(l abi.List, i int32, f abi.ListField, buf []byte) int32
	ListNum(l abi.List, i int32, f abi.ListField) int64
	ListSet(l abi.List, i int32, f abi.ListField, value string) int32
	ListInsert(l abi.List, i int32, value string) int32
	ListRemove(l abi.List, i int32) int32
	ListFind(l abi.List, from int32, key string) int32
	Reply(code, enhanced int32, text string) int32
	BodyRead(off int64, buf []byte) int32
	BodyWrite(data string) int32
	BodySplice(off, n int64) int32
	AttrGet(s abi.Scope, key string, buf []byte) int32
	AttrSet(s abi.Scope, key, value string) int32
	AttrDel(s abi.Scope, key string) int32
	Config(key string, buf []byte) int32
	Log(level int32, text string) int32
	LogLevel() int32
	NowMS() int64
	MonoNS() int64
	Random(buf []byte) int32
	Feature(id int32) int32
	Memory
	Network
	Cryptography
}

// A guest is alone in its memory, and its handlers are registered in init
// functions: here, too, one set of handlers and one host at a time.
var (
	calling sync.Mutex // held while a handler runs
	current Host

	registered sync.Mutex // guards what follows
	start      func() int32
	hooks      = make(map[string]func() int32)
)

// OnInit registers what the host calls first.
func OnInit(f func() int32) {
	registered.Lock()
	defer registered.Unlock()
	start = f
}

// Subscribe registers the handler of a hook.
func Subscribe(hook string, f func() int32) {
	registered.Lock()
	defer registered.Unlock()
	hooks[hook] = f
}

// Subscribed tells whether a hook has a handler.
func Subscribed(hook string) bool {
	registered.Lock()
	defer registered.Unlock()
	return hooks[hook] != nil
}

// Init calls what OnInit registered, with h as the host.
func Init(h Host) int32 {
	registered.Lock()
	f := start
	registered.Unlock()
	return call(h, f)
}

// Call calls the handler of a hook with h as the host; 0 if there is none.
func Call(hook string, h Host) int32 {
	registered.Lock()
	f := hooks[hook]
	registered.Unlock()
	return call(h, f)
}

func call(h Host, f func() int32) int32 {
	if f == nil {
		return 0
	}
	calling.Lock()
	defer calling.Unlock()
	current = h
	defer func() { current = nil }()
	return f()
}

func host() Host {
	if current == nil {
		panic("mta: there is no host here: call handlers through plugintest")
	}
	return current
}

func Get(f abi.Field, buf []byte) int32        { return host().Get(f, buf) }
func GetNum(f abi.Field) int64                 { return host().GetNum(f) }
func Set(f abi.Field, value string) int32      { return host().Set(f, value) }
func SetNum(f abi.Field, value int64) int32    { return host().SetNum(f, value) }
func ListLen(l abi.List) int32                 { return host().ListLen(l) }
func ListRemove(l abi.List, i int32) int32     { return host().ListRemove(l, i) }
func BodyRead(off int64, buf []byte) int32     { return host().BodyRead(off, buf) }
func BodyWrite(data []byte) int32              { return host().BodyWrite(string(data)) }
func BodyWriteString(data string) int32        { return host().BodyWrite(data) }
func BodySplice(off, n int64) int32            { return host().BodySplice(off, n) }
func Config(key string, buf []byte) int32      { return host().Config(key, buf) }
func Log(level int32, text string) int32       { return host().Log(level, text) }
func LogLevel() int32                          { return host().LogLevel() }
func NowMS() int64                             { return host().NowMS() }
func MonoNS() int64                            { return host().MonoNS() }
func Random(buf []byte) int32                  { return host().Random(buf) }
func Feature(id int32) int32                   { return host().Feature(id) }
func AttrDel(s abi.Scope, key string) int32    { return host().AttrDel(s, key) }
func AttrSet(s abi.Scope, key, v string) int32 { return host().AttrSet(s, key, v) }
func AttrGet(s abi.Scope, key string, buf []byte) int32 {
	return host().AttrGet(s, key, buf)
}
func Reply(code, enhanced int32, text string) int32 { return host().Reply(code, enhanced, text) }
func ListGet(l abi.List, i int32, f abi.ListField, buf []byte) int32 {
	return host().ListGet(l, i, f, buf)
}
func ListNum(l abi.List, i int32, f abi.ListField) int64 { return host().ListNum(l, i, f) }
func ListSet(l abi.List, i int32, f abi.ListField, v string) int32 {
	return host().ListSet(l, i, f, v)
}
func ListInsert(l abi.List, i int32, v string) int32 { return host().ListInsert(l, i, v) }
func ListFind(l abi.List, from int32, key string) int32 {
	return host().ListFind(l, from, key)
}
