//go:build wasip1

package guest

import (
	"unsafe"

	"github.com/wasmta/wasmta/hostapi/abi"
)

// A string parameter crosses as pointer and length. The host keeps neither, so
// nothing escapes.

//go:wasmimport mta1 get
//go:noescape
func get(field int32, buf unsafe.Pointer, n int32) int32

//go:wasmimport mta1 get_num
func getNum(field int32) int64

//go:wasmimport mta1 set
//go:noescape
func set(field int32, value string) int32

//go:wasmimport mta1 set_num
func setNum(field int32, value int64) int32

//go:wasmimport mta1 list_len
func listLen(list int32) int32

//go:wasmimport mta1 list_get
//go:noescape
func listGet(list, index, field int32, buf unsafe.Pointer, n int32) int32

//go:wasmimport mta1 list_num
func listNum(list, index, field int32) int64

//go:wasmimport mta1 list_set
//go:noescape
func listSet(list, index, field int32, value string) int32

//go:wasmimport mta1 list_insert
//go:noescape
func listInsert(list, index int32, value string) int32

//go:wasmimport mta1 list_remove
func listRemove(list, index int32) int32

//go:wasmimport mta1 list_find
//go:noescape
func listFind(list, from int32, key string) int32

//go:wasmimport mta1 reply
//go:noescape
func reply(code, enhanced int32, text string) int32

//go:wasmimport mta1 body_read
//go:noescape
func bodyRead(off int64, buf unsafe.Pointer, n int32) int32

//go:wasmimport mta1 body_write
//go:noescape
func bodyWrite(p unsafe.Pointer, n int32) int32

//go:wasmimport mta1 body_write
//go:noescape
func bodyWriteString(text string) int32

//go:wasmimport mta1 body_splice
func bodySplice(off, n int64) int32

//go:wasmimport mta1 attr_get
//go:noescape
func attrGet(scope int32, key string, buf unsafe.Pointer, n int32) int32

//go:wasmimport mta1 attr_set
//go:noescape
func attrSet(scope int32, key, value string) int32

//go:wasmimport mta1 attr_del
//go:noescape
func attrDel(scope int32, key string) int32

//go:wasmimport mta1 config
//go:noescape
func config(key string, buf unsafe.Pointer, n int32) int32

//go:wasmimport mta1 log
//go:noescape
func log(level int32, text string) int32

//go:wasmimport mta1 log_level
func logLevel() int32

//go:wasmimport mta1 now_ms
func nowMS() int64

//go:wasmimport mta1 mono_ns
func monoNS() int64

//go:wasmimport mta1 random
//go:noescape
func random(buf unsafe.Pointer, n int32) int32

//go:wasmimport mta1 feature
func feature(id int32) int32

func ptr(b []byte) (unsafe.Pointer, int32) { return unsafe.Pointer(unsafe.SliceData(b)), int32(len(b)) }

// Get reads a field into buf.
func Get(f abi.Field, buf []byte) int32 { p, n := ptr(buf); return get(int32(f), p, n) }

// GetNum reads a number.
func GetNum(f abi.Field) int64 { return getNum(int32(f)) }

// Set sets a field.
func Set(f abi.Field, value string) int32 { return set(int32(f), value) }

// SetNum sets a number.
func SetNum(f abi.Field, value int64) int32 { return setNum(int32(f), value) }

// ListLen is the number of elements.
func ListLen(l abi.List) int32 { return listLen(int32(l)) }

// ListGet reads a field of an element into buf.
func ListGet(l abi.List, i int32, f abi.ListField, buf []byte) int32 {
	p, n := ptr(buf)
	return listGet(int32(l), i, int32(f), p, n)
}

// ListNum reads a number of an element.
func ListNum(l abi.List, i int32, f abi.ListField) int64 { return listNum(int32(l), i, int32(f)) }

// ListSet sets a field of an element.
func ListSet(l abi.List, i int32, f abi.ListField, value string) int32 {
	return listSet(int32(l), i, int32(f), value)
}

// ListInsert inserts an element before i; -1 appends.
func ListInsert(l abi.List, i int32, value string) int32 { return listInsert(int32(l), i, value) }

// ListRemove removes an element.
func ListRemove(l abi.List, i int32) int32 { return listRemove(int32(l), i) }

// ListFind is the index of the first element with this key at or after from.
func ListFind(l abi.List, from int32, key string) int32 { return listFind(int32(l), from, key) }

// Reply sets the reply of this call's verdict.
func Reply(code, enhanced int32, text string) int32 { return reply(code, enhanced, text) }

// BodyRead reads the body at off into buf; 0 at its end.
func BodyRead(off int64, buf []byte) int32 { p, n := ptr(buf); return bodyRead(off, p, n) }

// BodyWrite appends to the new body.
func BodyWrite(b []byte) int32 { p, n := ptr(b); return bodyWrite(p, n) }

// BodyWriteString appends to the new body.
func BodyWriteString(text string) int32 { return bodyWriteString(text) }

// BodySplice appends n octets of the body from off to the new one.
func BodySplice(off, n int64) int32 { return bodySplice(off, n) }

// AttrGet reads an attribute into buf.
func AttrGet(s abi.Scope, key string, buf []byte) int32 {
	p, n := ptr(buf)
	return attrGet(int32(s), key, p, n)
}

// AttrSet sets an attribute.
func AttrSet(s abi.Scope, key, value string) int32 { return attrSet(int32(s), key, value) }

// AttrDel deletes an attribute.
func AttrDel(s abi.Scope, key string) int32 { return attrDel(int32(s), key) }

// Config reads a value of the configuration into buf; no key: the whole.
func Config(key string, buf []byte) int32 { p, n := ptr(buf); return config(key, p, n) }

// Log writes a line to the server's log.
func Log(level int32, text string) int32 { return log(level, text) }

// LogLevel is the lowest level that is wanted.
func LogLevel() int32 { return logLevel() }

// NowMS is the time in milliseconds since 1970.
func NowMS() int64 { return nowMS() }

// MonoNS is a clock in nanoseconds that is never set.
func MonoNS() int64 { return monoNS() }

// Random fills buf with cryptographic random octets.
func Random(buf []byte) int32 { p, n := ptr(buf); return random(p, n) }

// Feature tells whether the host has a feature and grants it: 1 or 0.
func Feature(id int32) int32 { return feature(id) }

// OnInit is of use to tests only.
func OnInit(func() int32) {}

// Subscribe is of use to tests only.
func Subscribe(string, func() int32) {}
