//go:build linux

package interop_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// setup lays $P over /usr, /etc and /var, writable and for this process and its children only, with users for the
// peers. $W stays what it is.
const setup = `set -e
mount --make-rprivate /
mkdir -p "$J"
mount -t tmpfs -o mode=755 jail "$J"
mkdir "$J/keep"
mount --bind "$W" "$J/keep"
for d in usr etc var; do
  mkdir -p "$J/$d" "$J/work-$d"
  mount -t overlay overlay -o "lowerdir=$P/$d:/$d,upperdir=$J/$d,workdir=$J/work-$d" "/$d"
done
mount --bind "$J/keep" "$W"
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lock /var/mail
echo "127.0.0.1 localhost client.test" >/etc/hosts
uid=64100
for u in postfix Debian-exim opensmtpd opensmtpq dovecot dovenull nullmail vmail mail; do
  uid=$((uid + 1))
  grep -q "^$u:" /etc/group || echo "$u:x:$uid:" >>/etc/group
  grep -q "^$u:" /etc/passwd || echo "$u:x:$uid:$(sed -n "s/^$u:x:\([0-9]*\):.*/\1/p" /etc/group)::/nonexistent:/usr/sbin/nologin" >>/etc/passwd
done
grep -q "^postdrop:" /etc/group || echo "postdrop:x:64200:" >>/etc/group
`

// peers is the directory of .ci/lab-tools. The test skips if it is not there, or cannot be used.
func peers(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("WASMTA_PEERS")
	switch {
	case dir == "":
		t.Skip("needs Exim, OpenSMTPD, Dovecot and clients, and WASMTA_PEERS to say where; eval \"$(.ci/lab-tools)\" fetches the peers from Debian and sets it")
	case os.Getuid() != 0:
		t.Skip("needs root: peers run in a mount namespace of their own")
	}
	if out := usable(); out != "" {
		t.Skipf("needs a mount namespace with overlays (unshare and mount of util-linux; CAP_SYS_ADMIN), which this machine refuses: %s", out)
	}
	return dir
}

var usable = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "wasmta-jail-")
	if err != nil {
		return err.Error()
	}
	defer os.RemoveAll(dir)
	if out, err := jail(context.Background(), dir, "true").CombinedOutput(); err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	return ""
})

// jail is a command of the shell in namespaces of its own. It and all that it started die with it.
func jail(ctx context.Context, dir, script string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "unshare", append([]string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", setup + script, "sh"}, args...)...)
	c.Env = append(os.Environ(), "W="+dir, "J="+filepath.Join(dir, ".jail"), "P="+os.Getenv("WASMTA_PEERS"), "LC_ALL=C.UTF-8", "HOME="+dir,
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	c.Dir = dir
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 10 * time.Second
	return c
}

// need skips unless the peers have the files.
func need(t *testing.T, name string, files ...string) {
	t.Helper()
	dir := peers(t)
	for _, f := range files {
		_, there := os.Stat(filepath.Join(dir, f))
		_, here := os.Stat(f)
		if there != nil && here != nil {
			t.Skipf("needs %s (%s); .ci/lab-tools fetches it", name, f)
		}
	}
}

// output is what a program says, as it comes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// background starts a command and ends it with its process group when the test ends. What it says is shown if the test
// fails.
func background(t *testing.T, name string, c *exec.Cmd) *output {
	t.Helper()
	out := new(output)
	c.Stdout, c.Stderr = out, out
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	c.WaitDelay = 10 * time.Second
	if err := c.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(func() {
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		c.Wait()
		if t.Failed() {
			s := out.String()
			t.Logf("%s said:\n%s", name, s[max(0, len(s)-8000):])
		}
	})
	return out
}

// peer runs a server in a jail. files are written to dir first, with @W@ for its name.
func peer(t *testing.T, name, dir, script string, files map[string]string) *output {
	t.Helper()
	for f, text := range files {
		write(t, filepath.Join(dir, f), strings.ReplaceAll(text, "@W@", dir))
	}
	return background(t, name, jail(context.Background(), dir, script))
}

// directory is one that peers can use, whoever they are.
func directory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until ok holds; the limit is one that only a hanging server reaches.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after a minute: %s", what)
		}
	}
}
