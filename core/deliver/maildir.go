package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

const (
	tmpAge     = 36 * time.Hour // after which a file in tmp/ is a leftover (Maildir specification)
	cleanEvery = 128            // deliveries
	cleanMost  = 1000           // files looked at
)

// maildir writes one file for each recipient.
func (a *Agent) maildir(ctx context.Context, hop mail.NextHop, j *job) {
	var seen []mail.Path // Delivered-To of former deliveries
	if h, err := mail.ParseHeader(j.m.Header); err == nil {
		for i := h.Find(0, "Delivered-To"); i >= 0; i = h.Find(i+1, "Delivered-To") {
			if p, err := mail.ParseMailbox(strings.Trim(h.Value(i), " \t<>")); err == nil {
				seen = append(seen, p)
			}
		}
	}
	j.each(unreached, func(i int) {
		start := time.Now()
		to := j.m.Envelope.Recipients[i].ForwardPath
		r := mail.Result{Outcome: mail.Failed, Reply: *mail.NewReply(554, "5.4.6", "This message has been delivered to this mailbox before: mail loop"), Relay: "maildir"}
		s := settled
		loop := false
		for _, p := range seen {
			loop = loop || p.Equal(to)
		}
		if !loop {
			r.Reply = *mail.NewReply(250, "2.0.0", "Delivered to mailbox")
			if err := a.writeMaildir(ctx, hop.Host, j.m, to); err != nil {
				r.Reply = maildirReply(err)
				a.o.Log.Warn("Maildir not written", "id", j.m.ID.String(), "path", hop.Host, "error", err)
			}
			if r.Outcome = outcome(r.Reply); r.Outcome == mail.Deferred {
				s = postponed
			}
		}
		r.Transmit = time.Since(start)
		j.set(i, s, r)
	})
}

var (
	errUnsafePath = errors.New("the path has an element that is over-long or has control characters")
	errRoutePath  = errors.New("the path must begin with / or ./ and have no element that is '..', '.' or empty; correct the route")
	errBody       = errors.New("the body cannot be read")
)

// maildirReply says what went wrong without naming files.
func maildirReply(err error) mail.Reply {
	r := mail.NewReply(451, "4.3.0", "The mailbox cannot be written")
	switch {
	case errors.Is(err, errUnsafePath):
		r = mail.NewReply(550, "5.1.3", "There can be no mailbox of this name")
	case errors.Is(err, errRoutePath): // ours to repair: nothing bounces
		r = mail.NewReply(451, "4.3.5", "The route has a path that is not allowed")
	case errors.Is(err, errBody):
		r = mail.NewReply(451, "4.3.0", "Local error in reading the message")
	case errors.Is(err, syscall.ENOSPC):
		r = mail.NewReply(452, "4.3.1", "Insufficient system storage")
	case errors.Is(err, syscall.EDQUOT):
		r = mail.NewReply(452, "4.2.2", "The mailbox is full")
	case errors.Is(err, fs.ErrPermission):
		r.Text += ": permission denied"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		r = mail.NewReply(451, "4.3.2", "Delivery was interrupted")
	}
	return *r
}

// safePath checks a path into which routing has put the name of a user. It returns it cleaned.
func safePath(path string) (string, error) {
	rest := strings.TrimPrefix(strings.TrimPrefix(path, "."), "/")
	rest = strings.TrimSuffix(rest, "/")
	if !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "./") {
		return "", errRoutePath
	}
	for e := range strings.SplitSeq(rest, "/") {
		if e == "" || e == "." || e == ".." { // no user's name becomes one of these
			return "", errRoutePath
		}
		if len(e) > 255 || strings.ContainsFunc(e, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return "", errUnsafePath
		}
	}
	return filepath.Clean(path), nil
}

// writeMaildir delivers one copy: tmp/, sync, rename to new/, sync the directory. Nothing inside the Maildir can lead
// out of it: os.Root refuses symbolic links that do.
func (a *Agent) writeMaildir(ctx context.Context, path string, m *mail.Message, to mail.Path) error {
	path, err := safePath(path)
	if err != nil {
		return err
	}
	root, err := a.openMaildir(path)
	if err != nil {
		return err
	}
	defer root.Close()
	n := a.files.Add(1)
	if n%cleanEvery == 1 {
		a.cleanTmp(root)
	}
	name := a.uniqueName(m.ID, n)
	tmp, final := "tmp/"+name, "new/"+name
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = a.writeContent(f, m, to)
	if err == nil {
		err = a.syncFile(f)
	}
	// NFS and quotas report at close what write did not.
	err = errors.Join(err, f.Close(), ctx.Err())
	if err == nil {
		err = root.Rename(tmp, final)
	}
	if err != nil {
		root.Remove(tmp)
		return err
	}
	return a.syncDir(root, "new")
}

func (a *Agent) writeContent(f *os.File, m *mail.Message, to mail.Path) error {
	b := a.buffers.Get().(*buffers)
	defer a.giveBack(b)
	out := append(b.out[:0], "Return-Path: <"...)
	out = appendPath(out, m.Envelope.ReversePath)
	out = append(out, ">\r\nDelivered-To: "...)
	out = appendPath(out, to)
	out = append(out, "\r\n"...)
	out = append(out, m.Header...)
	b.out = out
	var body io.ReadCloser
	if m.OpenBody != nil {
		var err error
		if body, err = m.OpenBody(); err != nil {
			return fmt.Errorf("%w: %w", errBody, err)
		}
		defer body.Close()
	}
	read := int64(0)
	for body != nil {
		n, err := body.Read(b.copy[:])
		read += int64(n)
		b.out = append(b.out, b.copy[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errBody, err)
		}
		if len(b.out) > blockSize-partSize {
			if _, err := f.Write(b.out); err != nil {
				return err
			}
			b.out = b.out[:0]
		}
	}
	if read != m.BodySize {
		return fmt.Errorf("%w: %d octets instead of %d", errBody, read, m.BodySize)
	}
	_, err := f.Write(b.out)
	return err
}

// openMaildir opens a Maildir and makes what is missing of it.
func (a *Agent) openMaildir(path string) (*os.Root, error) {
	root, err := os.OpenRoot(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := a.makeDir(path); err != nil {
			return nil, err
		}
		root, err = os.OpenRoot(path)
	}
	if err != nil {
		return nil, err
	}
	made := false
	for _, dir := range [...]string{"tmp", "new", "cur"} {
		if _, err = root.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			if err = root.Mkdir(dir, 0o700); errors.Is(err, fs.ErrExist) { // another delivery was faster
				err = nil
			}
			made = true
		}
		if err != nil {
			root.Close()
			return nil, err
		}
	}
	if made {
		if err := a.syncDir(root, "."); err != nil {
			root.Close()
			return nil, err
		}
	}
	return root, nil
}

// makeDir makes path and what is missing above it, each entered durably in its parent.
func (a *Agent) makeDir(path string) error {
	parent := filepath.Dir(path)
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrNotExist) && parent != path {
		if err := a.makeDir(parent); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.Open(parent)
	if err != nil {
		return err
	}
	defer d.Close()
	return a.syncFile(d)
}

func (a *Agent) syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return a.syncFile(d)
}

// uniqueName follows the Maildir specification: time, what is unique on this host, host.
func (a *Agent) uniqueName(id mail.ID, n uint64) string {
	now := a.now()
	host := strings.NewReplacer("/", `\057`, ":", `\072`).Replace(a.helo)
	if len(host) > 100 {
		host = host[:100]
	}
	return strconv.FormatInt(now.Unix(), 10) + ".M" + strconv.Itoa(now.Nanosecond()/1000) + "P" + strconv.Itoa(os.Getpid()) +
		"Q" + strconv.FormatUint(n, 10) + "_" + id.String() + "." + host
}

// cleanTmp removes what crashed deliveries left.
func (a *Agent) cleanTmp(root *os.Root) {
	d, err := root.Open("tmp")
	if err != nil {
		return
	}
	defer d.Close()
	names, _ := d.Readdirnames(cleanMost)
	for _, name := range names {
		info, err := root.Lstat("tmp/" + name)
		if err == nil && info.Mode().IsRegular() && a.now().Sub(info.ModTime()) > tmpAge {
			root.Remove("tmp/" + name)
		}
	}
}
