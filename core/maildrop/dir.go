package maildrop

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

const (
	activeDir = "active"
	badDir    = "bad"
	// staleAfter is the age at which something unfinished is given up.
	staleAfter = 24 * time.Hour
)

// ErrUnsupported: this system does not tell who owns a file.
var ErrUnsupported = errors.New("there can be no maildrop on this system: it does not tell who owns a file")

// ErrUntrusted: a file that no message can be; it goes to bad.
var ErrUntrusted = errors.New("maildrop: not a file that sendmail makes")

// Dir is a maildrop as the server has it.
type Dir struct {
	path string
	root *os.Root
}

// Open makes the maildrop, or takes the one that there is, and sets its mode:
// everybody may write there, or with gid >= 0 only that group. Its inner
// directories must belong to the server.
func Open(path string, gid int) (*Dir, error) {
	if err := os.MkdirAll(path, 0o711); err != nil {
		return nil, fmt.Errorf("maildrop: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("maildrop: %w", err)
	}
	d := &Dir{path, root}
	if err := d.prepare(gid); err != nil {
		return nil, errors.Join(fmt.Errorf("maildrop %s: %w", path, err), root.Close())
	}
	return d, nil
}

func (d *Dir) prepare(gid int) error {
	info, err := d.root.Stat(".")
	if err != nil {
		return err
	}
	owner, _, ok := ownerOf(info)
	if !ok {
		return ErrUnsupported
	}
	if owner != os.Geteuid() && os.Geteuid() != 0 {
		return fmt.Errorf("it belongs to uid %d and this server runs as %d; change its owner", owner, os.Geteuid())
	}
	want := fs.ModeSticky | 0o733
	if gid >= 0 {
		want = fs.ModeSticky | 0o730
		if err := d.root.Chown(".", -1, gid); err != nil {
			return fmt.Errorf("cannot be given to its group: %w", err)
		}
	}
	for _, name := range []string{activeDir, badDir} { // before others may write there
		if err := d.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err := d.root.Lstat(name)
		if err != nil {
			return err
		}
		if owner, _, _ := ownerOf(info); !info.IsDir() || owner != os.Geteuid() || info.Mode().Perm()&0o077 != 0 {
			return fmt.Errorf("%s in it must be a directory of this server's user with mode 0700", name)
		}
	}
	if info.Mode()&(fs.ModePerm|fs.ModeSticky) != want {
		if err := d.root.Chmod(".", want); err != nil {
			return err
		}
	}
	return nil
}

// Close releases the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Waiting lists up to limit messages that nobody has taken yet. It also removes
// what a command left unfinished a day ago, and moves what does not belong here
// out of the way, each time a few; report hears of that.
func (d *Dir) Waiting(limit int, now time.Time, report func(name string, err error)) ([]string, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const fewest = 100
	var names []string
	odd := 0
	for {
		list, err := f.ReadDir(fewest)
		for _, e := range list {
			switch name := e.Name(); {
			case name == activeDir || name == badDir:
			case isName(name) && !e.IsDir(): // one of somebody else may not let itself be moved
				names = append(names, name)
			case strings.HasPrefix(name, "t") && isName(name[1:]):
				if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > staleAfter {
					report(name, errors.Join(errors.New("removed: the program that was writing it ended a day ago"), d.root.Remove(name)))
				}
			case odd < fewest:
				odd++
				report(name, d.move(name, badDir, newName()))
			}
		}
		if len(names) >= limit || err == io.EOF {
			return names[:min(len(names), limit)], nil
		} else if err != nil {
			return names, err
		}
	}
}

func (d *Dir) move(name, dir, to string) error {
	if err := d.root.Rename(name, path.Join(dir, to)); err != nil {
		return fmt.Errorf("cannot be moved out of the way, it stays: %w", err)
	}
	return fmt.Errorf("moved to %s/%s/%s: %w", d.path, dir, to, ErrUntrusted)
}

// Take makes a message the server's, under a new name that it has in active from
// now on.
func (d *Dir) Take(name string, now time.Time) (active string, err error) {
	active = activeName(now)
	return active, d.root.Rename(name, path.Join(activeDir, active))
}

// Again gives an active message that is surely not in the queue a new name, for
// another try.
func (d *Dir) Again(name string, now time.Time) (active string, err error) {
	active = activeName(now)
	return active, d.root.Rename(path.Join(activeDir, name), path.Join(activeDir, active))
}

func activeName(now time.Time) string { return mail.FirstID(now).String() + "-" + newName()[:16] }

// Active lists the messages that were taken, the oldest first.
func (d *Dir) Active() ([]string, error) {
	f, err := d.root.Open(activeDir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.SortFunc(names, func(a, b string) int {
		x, y := Taken(a), Taken(b)
		return int(min(max(int64(x)-int64(y), -1), 1))
	})
	return names, err
}

// Taken is the least queue id that a message can have that was submitted under
// this name. Zero: it is no name of ours.
func Taken(active string) mail.ID {
	text, _, _ := strings.Cut(active, "-")
	id, err := mail.ParseID(text)
	if err != nil {
		return 0
	}
	return id
}

// File is an active message that is open.
type File struct {
	f     *os.File
	UID   int       // of who sends it
	Since time.Time // when it was written
	Size  int64     // of the file, in octets
}

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// Decode is [Decode] of the file from its beginning. One does not disturb the
// content that another gave.
func (f *File) Decode() (Envelope, io.Reader, error) {
	return Decode(io.NewSectionReader(f.f, 0, math.MaxInt64))
}

// Open opens an active message. ErrUntrusted: it is no regular file with one
// name, or larger than maxSize octets.
func (d *Dir) Open(active string, maxSize int64) (*File, error) {
	name := path.Join(activeDir, active)
	info, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	owner, links, _ := ownerOf(info)
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: it is no regular file but %s", ErrUntrusted, info.Mode().Type())
	case links != 1:
		return nil, fmt.Errorf("%w: it has %d names", ErrUntrusted, links)
	case info.Size() > maxSize:
		return nil, fmt.Errorf("%w: it has %d octets, and a message at most %d", ErrUntrusted, info.Size(), maxSize)
	}
	f, err := d.root.OpenFile(name, os.O_RDONLY|noBlock, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w: %v", ErrUntrusted, err)
	} else if err != nil {
		return nil, err
	}
	// Nobody else can change a name in active; looking again costs nothing.
	if now, err := f.Stat(); err != nil || !os.SameFile(info, now) {
		return nil, errors.Join(fmt.Errorf("%w: it was replaced meanwhile", ErrUntrusted), err, f.Close())
	}
	return &File{f, owner, info.ModTime(), info.Size()}, nil
}

// Done removes an active message for good.
func (d *Dir) Done(active string) error {
	if err := d.root.Remove(path.Join(activeDir, active)); err != nil {
		return err
	}
	dir, err := d.root.Open(activeDir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Quarantine moves an active message to bad and returns its path there.
func (d *Dir) Quarantine(active string) (string, error) {
	to := path.Join(badDir, newName())
	return path.Join(d.path, to), d.root.Rename(path.Join(activeDir, active), to)
}

// Entry is a message in the maildrop.
type Entry struct {
	Name string
	UID  int       // of who sends it
	Size int64     // of its file, in octets
	At   time.Time // when it was written
}

// List lists the messages in the maildrop at dir, taken or not, for who may.
// Without a server, too.
func List(dir string) (list []Entry, err error) {
	for _, sub := range []string{".", activeDir} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			return list, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || sub == "." && !isName(e.Name()) {
				continue
			}
			uid, _, _ := ownerOf(info)
			list = append(list, Entry{e.Name(), uid, info.Size(), info.ModTime()})
		}
	}
	return list, nil
}
