package smtpd_test

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wasmta/wasmta/core/smtpd"
)

// failing is a listener whose Accept fails n times between connections.
type failing struct {
	net.Listener
	err  error
	n    int32
	left atomic.Int32
}

func (f *failing) Accept() (net.Conn, error) {
	if f.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: f.err}
	}
	f.left.Store(f.n)
	return f.Listener.Accept()
}

// R5: no error of accept(2) ends the server but that of a closed listener.
func TestAcceptErrorsAreWaitedOut(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED,
		syscall.EPROTO, syscall.EPERM, syscall.ENETDOWN, syscall.EHOSTUNREACH, errors.New("unheard of")} {
		t.Run(err.Error(), func(t *testing.T) {
			l, e := net.Listen("tcp", "127.0.0.1:0")
			if e != nil {
				t.Fatal(e)
			}
			f := &failing{Listener: l, err: os.NewSyscallError("accept4", err), n: 3}
			f.left.Store(3)
			h := start(t, f, nil)
			h.dial().hello().deliver("x: y\r\n")
			h.dial().hello().deliver("x: y\r\n")
		})
	}
}

// A server that cannot accept can be shut down at once, and one whose listener
// was closed by others says so.
func TestServeEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &failing{Listener: l, err: syscall.EMFILE, n: 1 << 30}
	f.left.Store(1 << 30)
	h := start(t, f, nil)
	time.Sleep(20 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	// A listener that comes too late is closed, not forgotten.
	late, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Serve(late); err != nil {
		t.Error(err)
	}
	if _, err := late.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a late listener: %v", err)
	}

	s, err := smtpd.New(options(&memory{}, &lockedBuffer{}))
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	if err := s.Serve(other); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a listener closed by others: %v", err)
	}
}

// When Shutdown has returned nil no session is left, whatever came in
// meanwhile: the caller closes the queue next.
func TestShutdownLeavesNobody(t *testing.T) {
	for range 30 {
		h := start(t, nil, nil)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 50 {
				conn, err := net.Dial("tcp", h.l.Addr().String())
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte("EHLO client.test\r\n"))
				conn.Close()
			}
		}()
		time.Sleep(time.Millisecond)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if err := h.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if n := h.Sessions(); n != 0 {
			t.Fatalf("%d sessions left", n)
		}
		<-done
	}
}
