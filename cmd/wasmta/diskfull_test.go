package main_test

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// smallDisk is a server whose data is on a disk of its own of 64 MB, with a
// next hop that can be down.
type smallDisk struct {
	*server
	t    *testing.T
	dir  string // the disk
	next string // address of the next hop
	hop  net.Listener

	mu     sync.Mutex
	acked  map[string]bool // got 250 from the server
	got    map[string]bool // arrived at the next hop
	conns  map[net.Conn]bool
	serial atomic.Int64
}

func newSmallDisk(t *testing.T) *smallDisk {
	t.Helper()
	if testing.Short() {
		t.Skip("fills a disk again and again; not with -short")
	}
	if runtime.GOOS != "linux" {
		t.Skip("needs a tmpfs, which only Linux has")
	}
	d := &smallDisk{t: t, next: freeAddr(t), acked: make(map[string]bool), got: make(map[string]bool), conns: make(map[net.Conn]bool)}
	d.server = newServer(t, "", fmt.Sprintf("[[route]]\ndomains = [\"*\"]\nto = \"smtp:%s\"\n[queue]\nretry = [\"2s\"]\n", d.next))
	d.dir = filepath.Join(filepath.Dir(d.config), "data")
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", d.dir).CombinedOutput(); err != nil {
		t.Skipf("may not mount a tmpfs, which needs root: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if d.cmd != nil && d.cmd.ProcessState == nil {
			d.kill()
		}
		if out, err := exec.Command("umount", d.dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	t.Cleanup(func() {
		if d.hop != nil {
			d.down()
		}
	})
	return d
}

// up starts the next hop, down ends it with all connections. busy is a next hop
// that answers each message with 451.
func (d *smallDisk) up()   { d.serve(d.take) }
func (d *smallDisk) busy() { d.serve(refuse) }

func refuse(c net.Conn) {
	defer c.Close()
	io.WriteString(c, "220 sink.test ESMTP\r\n")
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		reply := "250 Ok\r\n"
		if strings.HasPrefix(line, "MAIL") || strings.HasPrefix(line, "RCPT") {
			reply = "451 4.3.0 Busy\r\n"
		}
		if _, werr := io.WriteString(c, reply); err != nil || werr != nil {
			return
		}
	}
}

func (d *smallDisk) take(c net.Conn) {
	s := &sink{got: make(map[string][]time.Time), body: func(token string, _ []byte) {
		d.mu.Lock()
		d.got[token] = true
		d.mu.Unlock()
	}}
	s.serve(c)
}

func (d *smallDisk) serve(session func(net.Conn)) {
	d.t.Helper()
	l, err := net.Listen("tcp", d.next)
	if err != nil {
		d.t.Fatal(err)
	}
	d.hop = l
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.conns[c] = true
			d.mu.Unlock()
			go session(c)
		}
	}()
}

func (d *smallDisk) down() {
	d.hop.Close()
	d.hop = nil
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.conns {
		c.Close()
	}
	clear(d.conns)
}

// deliver sends one message of that many octets in a session of its own.
func (d *smallDisk) deliver(size int) error {
	k, err := dial(d.addr)
	if err != nil {
		return err
	}
	defer k.c.Close()
	token := fmt.Sprintf("d%d", d.serial.Add(1))
	if err := k.send("a@src.test", "b@dst.test", incompressible(token, size)); err != nil {
		return err
	}
	d.mu.Lock()
	d.acked[token] = true
	d.mu.Unlock()
	return nil
}

// incompressible is a message that Pebble cannot make smaller than it is.
func incompressible(token string, size int) []byte {
	b := append(make([]byte, 0, size+200), message(token, 0)...)
	rnd := make([]byte, 54)
	for len(b) < size {
		rand.Read(rnd)
		b = append(base64.StdEncoding.AppendEncode(b, rnd), '\r', '\n')
	}
	return b
}

func (d *smallDisk) missing() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for token := range d.acked {
		if !d.got[token] {
			n++
		}
	}
	return n
}

func (d *smallDisk) ackedCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.acked)
}

// exited tells whether the process of the server has ended.
func (d *smallDisk) exited() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.cmd.Process.Pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// free is what is left of the disk, in octets.
func (d *smallDisk) free() int64 {
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &st); err != nil {
		d.t.Fatal(err)
	}
	return int64(st.Bavail) * int64(st.Bsize)
}

// files says what takes the room of the disk.
func (d *smallDisk) files() string {
	out, _ := exec.Command("du", "-ak", d.dir).CombinedOutput()
	return string(out)
}

const kib, mib = 1 << 10, 1 << 20

// fillInside sends mail from several clients at once, each tenth message a large
// one, until also a small one is refused, and checks how it is.
func (d *smallDisk) fillInside(small, large int) {
	d.t.Helper()
	var senders sync.WaitGroup
	for i := range 4 {
		senders.Go(func() {
			for n := 0; n < 64*mib/small; n++ {
				size := small
				if (n+i)%10 == 0 {
					size = large
				}
				err := d.deliver(size)
				if err != nil && !strings.Contains(err.Error(), "452 4.3.1") {
					d.t.Errorf("a message of %d octets: %v; want 250 or 452 4.3.1", size, err)
					return
				}
				if err != nil && size == small {
					return
				}
			}
			d.t.Error("the disk never fills")
		})
	}
	senders.Wait()
	if d.t.Failed() {
		d.t.Fatalf("%s", d.log.Tail(3000))
	}
}

// drained waits until all that was acknowledged has arrived.
func (d *smallDisk) drained() {
	d.t.Helper()
	limit := time.Now().Add(2 * time.Minute)
	for n := d.missing(); n > 0; n = d.missing() {
		if time.Now().After(limit) || d.exited() {
			d.t.Fatalf("%d of %d messages that got 250 did not arrive, exited: %v:\n%s", n, d.ackedCount(), d.exited(), d.log.Tail(3000))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// accepts waits until the server takes mail of that size.
func (d *smallDisk) accepts(size int) {
	d.t.Helper()
	limit := time.Now().Add(time.Minute)
	for err := d.deliver(size); err != nil; err = d.deliver(size) {
		if time.Now().After(limit) {
			d.t.Fatalf("%d octets are free and a message of %d is not taken: %v\n%s\n%s", d.free(), size, err, d.files(), d.log.Tail(3000))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestDiskFull: mail that the next hop does not take fills the disk. New mail
// gets 452, the server goes on, and when the next hop is back the queue is
// delivered and new mail is taken, with nobody's help. Again and again.
//
// The number of cycles is WASMTA_DISKFULL_CYCLES, or 3.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	d := newSmallDisk(t)
	d.start()
	cycles := 2
	if n, err := strconv.Atoi(os.Getenv("WASMTA_DISKFULL_CYCLES")); err == nil {
		cycles = n
	}
	for cycle := range cycles {
		before := d.ackedCount()
		switch cycle % 3 {
		case 0: // nobody listens
			d.fillInside(100*kib, 5*mib)
		case 1: // each attempt at each message writes
			d.busy()
			d.fillInside(100*kib, 5*mib)
		case 2: // thousands of messages
			d.busy()
			d.fillInside(4*kib, 40*kib)
		}
		took := d.ackedCount() - before
		if took < 20 {
			t.Errorf("the empty disk of 64 MB held only %d messages", took)
		}
		low := d.free()
		for range 30 { // attempts at all that waits write too
			time.Sleep(100 * time.Millisecond)
			low = min(low, d.free())
		}
		if d.exited() {
			t.Fatalf("the server has ended:\n%s", d.log.Tail(3000))
		}
		if low == 0 {
			t.Error("the last octet of the disk was used")
		}
		if d.hop != nil {
			d.down()
		}
		d.up()
		start := time.Now()
		d.drained()
		drain := time.Since(start)
		d.accepts(100 * kib)
		d.accepts(5 * mib)
		t.Logf("%d messages until 452, then %d KiB left at the least; drained in %.1fs, accepting again after %.1fs, %d KiB free",
			took, low/kib, drain.Seconds(), time.Since(start).Seconds(), d.free()/kib)
		d.drained()
		d.down()
	}
	d.stop()
}

// fillOutside writes into a file until not one octet is left, for some time.
func (d *smallDisk) fillOutside(name string, hold time.Duration) {
	d.t.Helper()
	f, err := os.Create(name)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 64*kib)
	full := false
	for end := time.Now().Add(hold); time.Now().Before(end); {
		for n := len(buf); n >= 512; {
			if _, err := f.Write(buf[:n]); err == nil {
				continue
			} else if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, io.ErrShortWrite) {
				d.t.Fatal(err)
			}
			full = true
			n /= 2
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !full {
		d.t.Fatal("the disk did not get full")
	}
}

// TestDiskFilledByOthers: somebody else takes the last octet of the disk, and
// each that becomes free, while mail flows. The server may give up with 75, to
// be started again; it does not lose what it acknowledged, and when there is
// room again it serves.
func TestDiskFilledByOthers(t *testing.T) {
	t.Parallel()
	d := newSmallDisk(t)
	d.up()
	d.start()
	var stop atomic.Bool
	var senders sync.WaitGroup
	for i := range 4 {
		senders.Go(func() {
			for n := 0; !stop.Load(); n++ {
				size := 10 * kib
				if (n+i)%20 == 0 {
					size = mib
				}
				if d.deliver(size) != nil {
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	defer senders.Wait()
	defer stop.Store(true)
	hog := filepath.Join(d.dir, "hog")
	for round := range 3 {
		time.Sleep(2 * time.Second)
		before := d.ackedCount()
		if before == 0 {
			t.Fatal("no mail flows")
		}
		hold := 5 * time.Second
		if round == 0 {
			hold = 200 * time.Millisecond
		}
		d.fillOutside(hog, hold)
		time.Sleep(time.Second)
		ended := d.exited()
		if round == 2 && !ended { // and again on a disk that stays full
			d.kill()
			restart(t, d)
			ended = true
		} else if ended {
			d.end()
			restart(t, d)
		}
		left := d.free()
		if err := os.Remove(hog); err != nil {
			t.Fatal(err)
		}
		if d.exited() {
			d.end()
			d.start()
		}
		d.accepts(mib)
		t.Logf("held at 0 for %v, then %d KiB left; ended: %v; %d messages got 250 by then", hold, left/kib, ended, before)
	}
	stop.Store(true)
	senders.Wait()
	d.drained()
	d.stop()
}

// end takes note of a server that ended because others filled the disk. That is
// 75; or 2, a panic of Pebble's where it cannot begin a new log file. Both are
// safe: nothing was acknowledged that is not on the disk.
func (d *smallDisk) end() {
	d.t.Helper()
	d.cmd.Wait()
	if code := d.cmd.ProcessState.ExitCode(); code != 75 && code != 2 {
		d.t.Errorf("the server ended with %d, want 75 or 2:\n%s", code, d.log.Tail(3000))
	}
}

// restart starts the server on a disk that is full: it serves, or says why it
// cannot and ends with 75.
func restart(t *testing.T, d *smallDisk) {
	t.Helper()
	from := len(d.log.String())
	d.cmd = exec.Command(d.binary, "serve", "--config", d.config)
	d.cmd.Stderr, d.cmd.Stdout = d.log, d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if d.exited() {
			d.cmd.Wait()
			said := d.log.String()[from:]
			if code := d.cmd.ProcessState.ExitCode(); code != 75 || !strings.Contains(said, "space") {
				t.Errorf("started on the full disk the server ends with %d, want 75 and a word on space:\n%s", code, said)
			}
			return
		}
		if k, err := dial(d.addr); err == nil {
			k.c.Close()
			return
		}
	}
	t.Errorf("started on the full disk the server neither serves nor ends:\n%s", d.log.Tail(2000))
}
