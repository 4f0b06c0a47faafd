//go:build wasip1

// Command goguest is a plugin of contract 1.0 in Go, against the bare contract:
// it does not change when the SDK does.
package main

import "unsafe"

//! == golden 1.0: Go
//! configuration {"list": "ann"}
//! at rcpt one
//! => reject 550 5.7.1 ann takes no mail
//! at data
//! => continue
//! edit attr session p/n: "\x01"
//! at message
//! => fails trap
//! at route
//! => continue

//go:wasmimport mta1 list_get
func listGet(list, index, field int32, buf unsafe.Pointer, size int32) int32

//go:wasmimport mta1 reply
func reply(code, enhanced int32, text unsafe.Pointer, size int32) int32

//go:wasmimport mta1 attr_set
func attrSet(scope int32, key unsafe.Pointer, keySize int32, value unsafe.Pointer, size int32) int32

//go:wasmimport mta1 config
func config(key unsafe.Pointer, keySize int32, buf unsafe.Pointer, size int32) int32

var (
	blocked string
	calls   byte
)

func main() {}

//go:wasmexport mta1_init
func start() int32 {
	key, buf := []byte("list"), make([]byte, 64)
	n := config(unsafe.Pointer(&key[0]), int32(len(key)), unsafe.Pointer(&buf[0]), int32(len(buf)))
	if n < 0 {
		return 1
	}
	blocked = string(buf[:n])
	println("started")
	return 0
}

//go:wasmexport mta1_on_rcpt
func onRcpt() int32 {
	buf := make([]byte, 64)
	n := listGet(1, 0, 4, unsafe.Pointer(&buf[0]), int32(len(buf))) // LOCAL
	if string(buf[:max(n, 0)]) != blocked {
		return 0
	}
	text := []byte(blocked + " takes no mail")
	reply(550, 0, unsafe.Pointer(&text[0]), int32(len(text)))
	return 2
}

//go:wasmexport mta1_on_data
func onData() int32 {
	calls++
	key, value := []byte("n"), []byte{calls}
	if attrSet(0, unsafe.Pointer(&key[0]), 1, unsafe.Pointer(&value[0]), 1) != 0 {
		return 3
	}
	return 0
}

//go:wasmexport mta1_on_message
func onMessage() int32 { panic("out of order") }

//go:wasmexport mta1_on_route
func onRoute() int32 {
	if calls != 0 { // of the instance that failed
		return 3
	}
	return 0
}
