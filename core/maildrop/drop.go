package maildrop

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// mode lets the server read what somebody else owns. Others cannot open it: they
// cannot list the directory, and the name is random.
const mode = 0o444

func newName() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// isName tells whether a file of that name is a whole message.
func isName(s string) bool {
	if len(s) != 32 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Drop is a message that is being written. It belongs to one goroutine.
type Drop struct {
	w         *writer
	f         *os.File
	dir, name string
	over      bool
}

// Create begins a message in the maildrop dir. The error is fs.ErrNotExist if
// there is no maildrop, and fs.ErrPermission if the user may not write there.
func Create(dir string, e Envelope) (*Drop, error) {
	d := &Drop{dir: dir, name: newName()}
	f, err := os.OpenFile(d.temp(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("maildrop: %w", err)
	}
	d.f = f
	if d.w, err = newWriter(f, &e); err != nil {
		d.Abort()
		return nil, err
	}
	return d, nil
}

func (d *Drop) temp() string { return filepath.Join(d.dir, "t"+d.name) }

// Write appends to the content: the header section, an empty line and the body,
// all lines ending with CRLF.
func (d *Drop) Write(p []byte) (int, error) { return d.w.Write(p) }

// Commit makes the message durable and visible to the server; see the package
// comment. The Drop is over.
func (d *Drop) Commit() error {
	if d.over {
		return errors.New("maildrop: commit of what is over")
	}
	err := errors.Join(d.w.end(), d.f.Chmod(mode), d.f.Sync())
	if err == nil {
		err = os.Rename(d.temp(), filepath.Join(d.dir, d.name))
	}
	if err != nil {
		d.Abort()
		return fmt.Errorf("maildrop: %w", err)
	}
	d.over = true
	err = errors.Join(d.f.Sync(), d.f.Close())
	if dir, bad := os.Open(d.dir); bad == nil {
		err = errors.Join(err, dir.Sync(), dir.Close())
	} else if !errors.Is(bad, fs.ErrPermission) {
		err = errors.Join(err, bad)
	}
	if err != nil { // it may be sent, and perhaps does not survive: the caller must say that it failed
		_ = os.Remove(filepath.Join(d.dir, d.name))
		return fmt.Errorf("maildrop: %w", err)
	}
	return nil
}

// Abort drops the message. Calling it after Commit or twice does nothing.
func (d *Drop) Abort() {
	if d.over {
		return
	}
	d.over = true
	_ = d.f.Close() // it is thrown away
	_ = os.Remove(d.temp())
}
