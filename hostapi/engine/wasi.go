package engine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"

	"github.com/tetratelabs/wazero/api"
	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// What of WASI preview 1 exists here is what the runtimes of Go, TinyGo, Rust
// and C need to start and to report: clocks, random octets, standard output
// and error into the log, and an end that is a trap. There is no file, no
// socket, no argument and no environment, and nothing waits.

// Error numbers of WASI.
const (
	wasiOK     = 0
	wasiBadF   = 8
	wasiFault  = 21
	wasiInval  = 28
	wasiNoSys  = 52
	wasiNotSup = 58
)

type wasiFunction struct {
	name string
	sig  abi.Signature
	call func(i *instance, m api.Memory, p []uint64) uint32
}

func wasiFunctions() []wasiFunction {
	badF := func(*instance, api.Memory, []uint64) uint32 { return wasiBadF }
	noSys := func(*instance, api.Memory, []uint64) uint32 { return wasiNoSys }
	return []wasiFunction{
		{"args_get", "ii>i", func(*instance, api.Memory, []uint64) uint32 { return wasiOK }},
		{"args_sizes_get", "ii>i", wasiNone},
		{"environ_get", "ii>i", func(*instance, api.Memory, []uint64) uint32 { return wasiOK }},
		{"environ_sizes_get", "ii>i", wasiNone},
		{"clock_res_get", "ii>i", wasiClockRes},
		{"clock_time_get", "iIi>i", wasiClockTime},
		{"fd_advise", "iIIi>i", badF},
		{"fd_allocate", "iII>i", badF},
		{"fd_close", "i>i", badF},
		{"fd_datasync", "i>i", badF},
		{"fd_fdstat_get", "ii>i", wasiFdStat},
		{"fd_fdstat_set_flags", "ii>i", badF},
		{"fd_fdstat_set_rights", "iII>i", badF},
		{"fd_filestat_get", "ii>i", badF},
		{"fd_filestat_set_size", "iI>i", badF},
		{"fd_filestat_set_times", "iIIi>i", badF},
		{"fd_pread", "iiiIi>i", badF},
		{"fd_prestat_dir_name", "iii>i", badF},
		{"fd_prestat_get", "ii>i", badF},
		{"fd_pwrite", "iiiIi>i", badF},
		{"fd_read", "iiii>i", badF},
		{"fd_readdir", "iiiIi>i", badF},
		{"fd_renumber", "ii>i", badF},
		{"fd_seek", "iIii>i", badF},
		{"fd_sync", "i>i", badF},
		{"fd_tell", "ii>i", badF},
		{"fd_write", "iiii>i", wasiWrite},
		{"path_create_directory", "iii>i", noSys},
		{"path_filestat_get", "iiiii>i", noSys},
		{"path_filestat_set_times", "iiiiIIi>i", noSys},
		{"path_link", "iiiiiii>i", noSys},
		{"path_open", "iiiiiIIii>i", noSys},
		{"path_readlink", "iiiiii>i", noSys},
		{"path_remove_directory", "iii>i", noSys},
		{"path_rename", "iiiiii>i", noSys},
		{"path_symlink", "iiiii>i", noSys},
		{"path_unlink_file", "iii>i", noSys},
		{"poll_oneoff", "iiii>i", wasiPoll},
		{"proc_exit", "i>", wasiExit},
		{"proc_raise", "i>i", noSys},
		{"random_get", "ii>i", wasiRandom},
		{"sched_yield", ">i", func(*instance, api.Memory, []uint64) uint32 { runtime.Gosched(); return wasiOK }},
		{"sock_accept", "iii>i", badF},
		{"sock_recv", "iiiiii>i", badF},
		{"sock_send", "iiiii>i", badF},
		{"sock_shutdown", "ii>i", badF},
	}
}

// wasiNone tells that there are no arguments or variables.
func wasiNone(_ *instance, m api.Memory, p []uint64) uint32 {
	if !m.WriteUint32Le(uint32(p[0]), 0) || !m.WriteUint32Le(uint32(p[1]), 0) {
		return wasiFault
	}
	return wasiOK
}

func wasiClockRes(_ *instance, m api.Memory, p []uint64) uint32 {
	if uint32(p[0]) > 1 {
		return wasiInval
	}
	if !m.WriteUint64Le(uint32(p[1]), 1) {
		return wasiFault
	}
	return wasiOK
}

func wasiClockTime(i *instance, m api.Memory, p []uint64) uint32 {
	var ns int64
	g := &i.plugin.guest
	switch uint32(p[0]) {
	case 0:
		ns = g.Now().UnixNano()
	case 1:
		ns = g.Now().Sub(g.Started).Nanoseconds() + 1
	default:
		return wasiInval
	}
	if !m.WriteUint64Le(uint32(p[2]), uint64(ns)) {
		return wasiFault
	}
	return wasiOK
}

func wasiRandom(i *instance, m api.Memory, p []uint64) uint32 {
	b, ok := m.Read(uint32(p[0]), uint32(p[1]))
	if !ok {
		return wasiFault
	}
	i.Charge(int64(len(b)))
	if _, err := io.ReadFull(i.plugin.guest.Random, b); err != nil {
		panic(err)
	}
	return wasiOK
}

// wasiFdStat describes the standard streams as character devices.
func wasiFdStat(_ *instance, m api.Memory, p []uint64) uint32 {
	if uint32(p[0]) > 2 {
		return wasiBadF
	}
	b, ok := m.Read(uint32(p[1]), 24)
	if !ok {
		return wasiFault
	}
	clear(b)
	b[0] = 2           // character device
	b[8] = 1<<6 | 1<<1 // may be written and read
	return wasiOK
}

func wasiExit(_ *instance, _ api.Memory, p []uint64) uint32 {
	panic(&hostapi.Trap{Fault: hostapi.FaultExit, Reason: fmt.Sprintf("it exited with code %d; a plugin must not end", uint32(p[0]))})
}

// wasiPoll lets every subscribed time pass at once: a guest must not sleep. One
// that waits for the clock goes on until its CPU time is used up.
func wasiPoll(i *instance, m api.Memory, p []uint64) uint32 {
	const subscription, event = 48, 32
	n := uint32(p[2])
	if n == 0 || n > 1024 {
		return wasiInval
	}
	subs, ok1 := m.Read(uint32(p[0]), n*subscription)
	events, ok2 := m.Read(uint32(p[1]), n*event)
	if !ok1 || !ok2 {
		return wasiFault
	}
	i.Charge(1000 + int64(n)*10)
	// The two may overlap: read each before it can be written over.
	for k := range int(n) {
		user := binary.LittleEndian.Uint64(subs[k*subscription:])
		tag := subs[k*subscription+8]
		e := events[k*event : (k+1)*event]
		clear(e)
		binary.LittleEndian.PutUint64(e, user)
		if e[10] = tag; tag != 0 {
			binary.LittleEndian.PutUint16(e[8:], wasiNotSup)
		}
	}
	if !m.WriteUint32Le(uint32(p[3]), n) {
		return wasiFault
	}
	return wasiOK
}

// console collects standard output and error into lines of the log.
type console struct {
	line  []byte
	level int32
	first string // the first line of standard error in this call, for the error
}

// wasiWrite takes all of what is written and keeps what the log takes.
func wasiWrite(i *instance, m api.Memory, p []uint64) uint32 {
	fd := uint32(p[0])
	if fd != 1 && fd != 2 {
		return wasiBadF
	}
	n := uint32(p[2])
	if n > 1024 {
		return wasiInval
	}
	iovs, ok := m.Read(uint32(p[1]), n*8)
	if !ok {
		return wasiFault
	}
	level := abi.LogInfo
	if fd == 2 {
		level = abi.LogWarn
	}
	var total uint32
	for ; len(iovs) > 0; iovs = iovs[8:] {
		b, ok := m.Read(binary.LittleEndian.Uint32(iovs), binary.LittleEndian.Uint32(iovs[4:]))
		if !ok {
			return wasiFault
		}
		i.Charge(int64(len(b)))
		i.write(level, b)
		total += uint32(len(b))
	}
	if !m.WriteUint32Le(uint32(p[3]), total) {
		return wasiFault
	}
	return wasiOK
}

func (i *instance) write(level int32, b []byte) {
	c := &i.console
	if c.level != level {
		i.flush()
		c.level = level
	}
	for len(b) > 0 {
		line, rest, end := bytes.Cut(b, []byte("\n"))
		// A password at the end of a line that is cut is taken out whole.
		if room := abi.MaxLogLine + hostapi.MaxPassword - len(c.line); len(line) > room {
			line = line[:room]
		}
		c.line = append(c.line, line...)
		if b = rest; end {
			i.flush()
		}
	}
}

// flush logs the line so far.
func (i *instance) flush() {
	c := &i.console
	if len(c.line) == 0 {
		return
	}
	if c.level == abi.LogWarn && c.first == "" {
		first := i.call.WithoutPassword(c.line)
		c.first = string(first[:min(len(first), 200)])
	}
	line := c.line
	c.line = c.line[:0]
	i.call.Log(c.level, line)
}
