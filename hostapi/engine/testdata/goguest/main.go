//go:build wasip1

// A guest in Go on the bare contract, without the SDK, that can go wrong in
// every way that Go offers: the local part of the reverse-path says how.
package main

import (
	"bytes"
	"os"
	"runtime"
	"time"
	"unsafe"
)

//go:wasmimport mta1 get
func get(field int32, buf unsafe.Pointer, size int32) int32

//go:wasmimport mta1 list_get
func listGet(list, idx, field int32, buf unsafe.Pointer, size int32) int32

//go:wasmimport mta1 config
func config(key unsafe.Pointer, klen int32, buf unsafe.Pointer, size int32) int32

//go:wasmimport mta1 log
func log(level int32, text unsafe.Pointer, size int32) int32

var scratch [512]byte

//go:wasmexport mta1_init
func initialise() int32 {
	n := config(nil, 0, unsafe.Pointer(&scratch), int32(len(scratch)))
	if n >= 0 && n <= int32(len(scratch)) && bytes.Contains(scratch[:n], []byte(`"broken"`)) {
		os.Stderr.WriteString("the configuration is broken\n")
		return 7
	}
	return 0
}

//go:wasmexport mta1_on_rcpt
func rcpt() int32 {
	n := get(0x0402, unsafe.Pointer(&scratch), int32(len(scratch)))
	m := listGet(1, 0, 1, unsafe.Pointer(&scratch), int32(len(scratch)))
	if n < 0 || m < 0 {
		return 2
	}
	return 1
}

//go:wasmexport mta1_on_mail
func mail() int32 {
	n := get(0x0402, unsafe.Pointer(&scratch), int32(len(scratch)))
	if n < 0 || n > int32(len(scratch)) {
		return 2
	}
	word, _, _ := bytes.Cut(scratch[:n], []byte("@"))
	switch string(word) {
	case "panic":
		panic("boom")
	case "nil":
		var p *int
		*p = 1
	case "exit":
		os.Exit(0)
	case "loop":
		for {
		}
	case "goroutines":
		for range 4 {
			go func() {
				for {
					runtime.Gosched()
				}
			}()
		}
		select {}
	case "deadlock":
		select {}
	case "sleep":
		time.Sleep(time.Hour)
	case "recurse":
		return recurse(1)
	case "grow":
		for {
			keep = append(keep, make([]byte, 1<<20))
		}
	case "print":
		os.Stdout.WriteString("one\ntwo\nthr")
		os.Stdout.WriteString("ee")
	case "work":
		sum := 0
		for k := range 1000 {
			keep = append(keep, make([]byte, k))
			sum += len(keep)
		}
		keep = nil
		runtime.GC()
	}
	return 0
}

var keep [][]byte

//go:noinline
func recurse(n int32) int32 { return recurse(n+1) + 1 }

func main() {}
