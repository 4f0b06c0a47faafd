//go:build unix

package maildrop

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func openDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path, -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// put leaves a message in the maildrop and returns its name.
func put(t *testing.T, dir string) string {
	t.Helper()
	d, err := Create(dir, sample())
	if err == nil {
		_, err = d.Write([]byte("Subject: x\r\n\r\nbody\r\n"))
	}
	if err == nil {
		err = d.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	return d.name
}

func waiting(t *testing.T, d *Dir, now time.Time) (names []string, reports []string) {
	t.Helper()
	names, err := d.Waiting(10, now, func(name string, err error) { reports = append(reports, name+": "+err.Error()) })
	if err != nil {
		t.Fatal(err)
	}
	return names, reports
}

func TestTheWayOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drop")
	d := openDir(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o733 || info.Mode()&os.ModeSticky == 0 {
		t.Errorf("mode of the maildrop is %v, %v: all may write, nobody may list or remove", info.Mode(), err)
	}
	name := put(t, path)
	names, reports := waiting(t, d, time.Now())
	if len(names) != 1 || names[0] != name || len(reports) > 0 {
		t.Fatalf("waiting: %v, %v", names, reports)
	}
	before := time.Now()
	active, err := d.Take(name, before)
	if err != nil {
		t.Fatal(err)
	}
	if at := Taken(active).Time(); at.After(before) || before.Sub(at) > time.Second {
		t.Errorf("taken at %v, the name says %v", before, at)
	}
	f, err := d.Open(active, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // once for the content, once for a notification
		_, content, err := f.Decode()
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(content); err != nil || !strings.HasPrefix(string(text), "Subject: x\r\n") {
			t.Errorf("%q, %v", text, err)
		}
	}
	if f.UID != os.Geteuid() || f.Close() != nil {
		t.Errorf("owner %d", f.UID)
	}
	// A server that is started again finds it, and has it once.
	d = openDir(t, path)
	if names, _ := waiting(t, d, time.Now()); len(names) != 0 {
		t.Errorf("taken, and waiting: %v", names)
	}
	if active, err = d.Again(active, time.Now()); err != nil {
		t.Fatal(err)
	}
	if list, err := d.Active(); err != nil || len(list) != 1 || list[0] != active {
		t.Errorf("active: %v, %v", list, err)
	}
	if list, err := List(path); err != nil || len(list) != 1 || list[0].Name != active {
		t.Errorf("listed: %v, %v", list, err)
	}
	if err := d.Done(active); err != nil {
		t.Fatal(err)
	}
	if list, _ := d.Active(); len(list) != 0 {
		t.Errorf("done, and active: %v", list)
	}
}

// TestHostileFiles: what is no message of sendmail's is neither read nor
// followed nor removed, but put where a person can look at it.
func TestHostileFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drop")
	d := openDir(t, path)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, record(t, sample(), nil), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, make := range map[string]func(file string) error{
		"a symbolic link": func(file string) error { return os.Symlink(secret, file) },
		"a link to a directory": func(file string) error {
			return os.Symlink(filepath.Dir(secret), file)
		},
		"a pipe":           func(file string) error { return syscall.Mkfifo(file, 0o644) },
		"a hard link":      func(file string) error { return os.Link(secret, file) },
		"a large file":     func(file string) error { return errors.Join(os.WriteFile(file, nil, 0o644), os.Truncate(file, 1<<40)) },
		"a file of no use": func(file string) error { return os.WriteFile(file, []byte("x"), 0o644) },
	} {
		name := newName()
		if err := make(filepath.Join(path, name)); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if names, _ := waiting(t, d, time.Now()); len(names) != 1 {
			t.Fatalf("%s: waiting are %v", what, names)
		}
		active, err := d.Take(name, time.Now())
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		f, err := d.Open(active, 1<<20)
		if err == nil {
			_, _, err = f.Decode()
			f.Close()
		}
		if !errors.Is(err, ErrUntrusted) && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
		to, err := d.Quarantine(active)
		if _, there := os.Lstat(to); err != nil || there != nil {
			t.Errorf("%s is not kept: %v, %v", what, err, there)
		}
	}
	if text, err := os.ReadFile(secret); err != nil || len(text) == 0 {
		t.Errorf("what a link led to was changed: %v", err)
	}
}

// TestReadingForANotificationLeavesTheContentAlone: the header section is read
// for the sender while the content is on its way to others.
func TestReadingForANotificationLeavesTheContentAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drop")
	d := openDir(t, path)
	text := "Subject: x\r\n" + strings.Repeat("X: "+strings.Repeat("y", 70)+"\r\n", 2000) + "\r\nbody\r\n"
	w, err := Create(path, sample())
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	if err == nil {
		err = w.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	active, err := d.Take(w.name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.Open(active, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got [2]strings.Builder
	_, first, err := f.Decode()
	if err == nil {
		_, err = io.CopyN(&got[0], first, 1000)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := f.Decode()
	if err == nil {
		_, err = io.Copy(&got[1], second)
	}
	if err == nil {
		_, err = io.Copy(&got[0], first)
	}
	if err != nil || got[0].String() != text || got[1].String() != text {
		t.Errorf("%d and %d octets, want %d: %v", got[0].Len(), got[1].Len(), len(text), err)
	}
}

// TestDirectoriesHideNoMessage: a directory of somebody else cannot be moved by a
// server that is not root. However many have names of messages, the messages
// behind them are seen.
func TestDirectoriesHideNoMessage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drop")
	d := openDir(t, path)
	for range 300 {
		if err := os.Mkdir(filepath.Join(path, newName()), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	name := put(t, path)
	names, reports := waiting(t, d, time.Now())
	if len(names) != 1 || names[0] != name || len(reports) == 0 {
		t.Errorf("waiting: %v, and %d reports", names, len(reports))
	}
}

func TestWhatDoesNotBelongThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drop")
	d := openDir(t, path)
	for _, name := range []string{"x", ".hidden", "line\nend", strings.Repeat("A", 32)} {
		if err := os.WriteFile(filepath.Join(path, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	unfinished, err := Create(path, sample())
	if err != nil {
		t.Fatal(err)
	}
	defer unfinished.Abort()
	if names, reports := waiting(t, d, time.Now()); len(names) != 0 || len(reports) != 4 {
		t.Errorf("waiting: %v; reported: %q", names, reports)
	}
	if bad, _ := os.ReadDir(filepath.Join(path, badDir)); len(bad) != 4 {
		t.Errorf("%d files were kept, want 4", len(bad))
	}
	if _, err := os.Lstat(unfinished.temp()); err != nil {
		t.Errorf("a message that is being written: %v", err)
	}
	if _, reports := waiting(t, d, time.Now().Add(25*time.Hour)); len(reports) != 1 {
		t.Errorf("a day later: %q", reports)
	}
	if _, err := os.Lstat(unfinished.temp()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was never finished is still there a day later: %v", err)
	}
}

func TestDirectoriesOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drop")
	if err := os.MkdirAll(filepath.Join(path, activeDir), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(path, activeDir), 0o777); err != nil {
		t.Fatal(err)
	}
	if d, err := Open(path, -1); err == nil {
		d.Close()
		t.Error("a directory for taken messages that others may write to is used")
	}
	if err := os.RemoveAll(filepath.Join(path, activeDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), filepath.Join(path, activeDir)); err != nil {
		t.Fatal(err)
	}
	if d, err := Open(path, -1); err == nil {
		d.Close()
		t.Error("a link in the place of the directory for taken messages is followed")
	}
}
