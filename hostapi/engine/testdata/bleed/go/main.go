//go:build wasip1

// A guest that keeps what it is told in every place that Go has for it, and
// rejects if a session before it has left something there.
package main

import (
	"fmt"
	"strings"
	"sync"
	"unsafe"
)

var (
	number  int
	array   [1 << 14]byte
	text    string
	list    []*string
	table   = map[string][]byte{}
	pool    sync.Pool
	closure func() int
	channel = make(chan string, 4)
	waiting = make(chan string) // of a goroutine that waits for it
)

//go:wasmimport mta1 get
func get(field int32, buf unsafe.Pointer, size int32) int32

//go:wasmimport mta1 list_get
func listGet(list, idx, field int32, buf unsafe.Pointer, size int32) int32

var buffer [256]byte

// data shows what a hook costs: it asks for the reverse-path and the first recipient.
//
//go:wasmexport mta1_on_data
func data() int32 {
	if get(0x0402, unsafe.Pointer(&buffer), 256) < 0 || listGet(1, 0, 1, unsafe.Pointer(&buffer), 256) < 0 {
		return 2
	}
	return 0 // continue
}

//go:wasmexport mta1_init
func initialise() int32 {
	list = append(make([]*string, 0, 16), nil)
	return 0
}

//go:wasmexport mta1_on_rcpt
func rcpt() int32 {
	found := number != 0 || text != "" || len(list) != 1 || len(table) != 0 || closure != nil || len(channel) != 0 || pool.Get() != nil
	for _, b := range array {
		found = found || b != 0
	}
	for _, p := range list[:cap(list)] {
		found = found || p != nil
	}
	select {
	case waiting <- "": // a goroutine of another session is there
		found = true
	default:
	}
	if found {
		return 2 // reject
	}
	number++
	for k := range array {
		array[k] = byte(k) | 1
	}
	text = strings.Repeat("secret ", 100)
	for k := range 40 {
		s := fmt.Sprintf("secret %d", k)
		list = append(list, &s)
		table[s] = make([]byte, 512)
	}
	secret := number
	closure = func() int { secret++; return secret }
	closure()
	channel <- text
	pool.Put(&text)
	go func() { text += <-waiting }()
	return 1 // accept
}

func main() {}
