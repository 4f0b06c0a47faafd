package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wasmta/wasmta/core/admin"
	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/maildrop"
)

// sendmailNames are the programs that scripts know, as names of this one and as
// its commands.
var sendmailNames = [...]string{"sendmail", "mailq", "newaliases"}

// sendmailArgs is the command line as a command of this program, and whether it
// is one of those that scripts know.
func sendmailArgs(argv []string) (args []string, ok bool) {
	if len(argv) == 0 {
		return nil, false
	}
	if name := filepath.Base(argv[0]); slices.Contains(sendmailNames[:], name) {
		return append([]string{name}, argv[1:]...), true
	}
	return argv[1:], len(argv) > 1 && slices.Contains(sendmailNames[:], argv[1])
}

type sendmailCmd struct {
	Args []string `arg:"" optional:"" passthrough:"" help:"Options as those of Sendmail and Postfix: -t -i -f SENDER ... RECIPIENT ..."`
}
type mailqCmd struct {
	Args []string `arg:"" optional:"" passthrough:"" help:"Options as those of Sendmail."`
}
type newaliasesCmd struct {
	Args []string `arg:"" optional:"" passthrough:"" help:"Options as those of Sendmail."`
}

func (c *sendmailCmd) Run(e *env) error   { return e.sendmail("sendmail", c.Args) }
func (c *mailqCmd) Run(e *env) error      { return e.sendmail("mailq", c.Args) }
func (c *newaliasesCmd) Run(e *env) error { return e.sendmail("newaliases", c.Args) }

// sendmailOptions are what the command line says.
type sendmailOptions struct {
	mode       byte // m: take a message, s: speak SMTP, p: list, i: aliases, q: try now
	fromHeader bool // -t
	ignoreDots bool // -i
	sender     *string
	fullName   string
	notify     mail.Notify
	ret        mail.Return
	envID      string
	body       mail.BodyType
	config     string
	flush      string // behind -q
	recipients []string
}

// parseSendmail reads options as getopt does: several behind one dash, values
// glued to them or next. What has no meaning here is taken and ignored, since
// scripts give it.
func parseSendmail(name string, args []string) (o sendmailOptions, err error) {
	switch o.mode = 'm'; name {
	case "mailq":
		o.mode = 'p'
	case "newaliases":
		o.mode = 'i'
	}
	o.config = "/etc/wasmta/wasmta.toml"
	for len(args) > 0 {
		arg := args[0]
		if arg == "--" {
			o.recipients = append(o.recipients, args[1:]...)
			break
		}
		args = args[1:]
		if len(arg) < 2 || arg[0] != '-' {
			o.recipients = append(o.recipients, arg)
			continue
		}
		for rest := arg[1:]; rest != ""; {
			c := rest[0]
			rest = rest[1:]
			value := func() (string, error) {
				v := rest
				if rest = ""; v != "" {
					return v, nil
				}
				if len(args) == 0 {
					return "", fmt.Errorf("the option -%c needs a value", c)
				}
				v, args = args[0], args[1:]
				return v, nil
			}
			var v string
			switch c {
			case 't':
				o.fromHeader = true
			case 'i':
				o.ignoreDots = true
			case 'c', 'G', 'm', 'n', 'U', 'v', 'x':
			case 'I':
				o.mode = 'i'
			case 'd': // a level may be glued to it
				rest = ""
			case 'q':
				o.mode, o.flush, rest = 'q', rest, ""
			case 'A', 'e', 'h', 'L', 'O', 'p', 'X':
				_, err = value()
			case 'o':
				if v, err = value(); err == nil && v == "i" {
					o.ignoreDots = true
				}
			case 'b':
				v, err = value()
				switch {
				case err != nil:
				case len(v) == 1 && strings.Contains("mspi", v):
					o.mode = v[0]
				default:
					err = fmt.Errorf("-b%s is not served: wasmta serve is the server, and addresses are tested by sending", v)
				}
			case 'C':
				o.config, err = value()
			case 'F':
				o.fullName, err = value()
			case 'f', 'r':
				if v, err = value(); err == nil {
					o.sender = &v
				}
			case 'B':
				v, err = value()
				switch strings.ToUpper(v) {
				case "7BIT":
					o.body = mail.Body7Bit
				case "8BITMIME":
					o.body = mail.Body8BitMIME
				default:
					err = errors.Join(err, fmt.Errorf("-B %q: write 7BIT or 8BITMIME", v))
				}
			case 'R':
				v, err = value()
				switch strings.ToLower(v) {
				case "full":
					o.ret = mail.ReturnFull
				case "hdrs":
					o.ret = mail.ReturnHeaders
				default:
					err = errors.Join(err, fmt.Errorf("-R %q: write full or hdrs", v))
				}
			case 'V':
				if o.envID, err = value(); err == nil && !maildrop.ValidEnvID(o.envID) {
					err = errors.New("-V: an envelope id has at most 100 characters of printable ASCII")
				}
			case 'N':
				if v, err = value(); err == nil {
					o.notify, err = parseNotify(v)
				}
			default:
				err = fmt.Errorf("there is no option -%c", c)
			}
			if err != nil {
				return o, err
			}
		}
	}
	return o, nil
}

func parseNotify(v string) (n mail.Notify, err error) {
	for word := range strings.SplitSeq(strings.ToLower(v), ",") {
		switch strings.TrimSpace(word) {
		case "never":
			n |= mail.NotifyNever
		case "success":
			n |= mail.NotifySuccess
		case "failure":
			n |= mail.NotifyFailure
		case "delay":
			n |= mail.NotifyDelay
		default:
			return 0, fmt.Errorf("-N %q: write never, or some of success,failure,delay", v)
		}
	}
	if n&mail.NotifyNever != 0 && n != mail.NotifyNever {
		return 0, fmt.Errorf("-N %q: never stands alone", v)
	}
	return n, nil
}

// sendmail is sendmail, mailq or newaliases. Its errors begin with that name.
func (e *env) sendmail(name string, args []string) error {
	err := e.runSendmail(name, args)
	var said exit
	if err == nil || errors.As(err, &said) && said.err == nil {
		return err
	}
	fmt.Fprintf(e.err, "%s: %s\n", name, visible(err.Error()))
	return exit{code: exitCode(err)}
}

func (e *env) runSendmail(name string, args []string) error {
	o, err := parseSendmail(name, args)
	if err != nil {
		return exit{exUsage, err}
	}
	if o.mode == 'i' {
		fmt.Fprintln(e.out, "newaliases: nothing to do: aliases are tables of plugins ([[table]]), which the server reads again when they change")
		return nil
	}
	cfg, err := o.load()
	if err != nil {
		return exit{exConfig, err}
	}
	switch o.mode {
	case 'p':
		return e.mailq(cfg)
	case 'q':
		return e.flushQueue(cfg, o.flush)
	case 's':
		return e.smtpPipe(cfg)
	}
	return e.dropMail(cfg, o)
}

// load reads the configuration. Who may not read it gets the defaults: they say
// where the maildrop is, if the configuration leaves that alone.
func (o *sendmailOptions) load() (*config.Config, error) {
	if os.Getegid() != os.Getgid() && o.config != "/etc/wasmta/wasmta.toml" {
		return nil, errors.New("-C is only for who runs this without the rights of a group")
	}
	cfg, err := config.Load(o.config)
	if err != nil {
		if f, bad := os.Open(o.config); bad == nil {
			f.Close()
		} else if errors.Is(bad, fs.ErrPermission) {
			return config.Parse([]byte("[[listener]]\naddress = \"127.0.0.1:25\"\n"), o.config, filepath.Dir(o.config))
		}
	}
	return cfg, err
}

// origin is what addresses without a domain belong to: /etc/mailname, as Debian
// has it, or our own name.
func origin(cfg *config.Config) string {
	if text, err := os.ReadFile("/etc/mailname"); err == nil {
		line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		if d, err := mail.ParseDomain(strings.TrimSpace(line)); err == nil {
			return d
		}
	}
	return cfg.Hostname
}

// dropMail reads a message from standard input and leaves it in the maildrop.
func (e *env) dropMail(cfg *config.Config, o sendmailOptions) error {
	dir := cfg.Sendmail.Maildrop
	if dir == "" {
		return exitf(exUnavailable, "the configuration has [sendmail] maildrop = \"none\"")
	}
	m := outgoing{origin: origin(cfg), fullName: o.fullName, now: time.Now()}
	who, name := strconv.Itoa(os.Getuid()), ""
	if u, err := user.LookupId(who); err == nil {
		who = u.Username
		name, _, _ = strings.Cut(u.Name, ",")
		name = strings.ReplaceAll(name, "&", who)
	}
	if m.fullName == "" && o.sender == nil {
		m.fullName = name
	}
	from := who
	if o.sender != nil {
		from = strings.TrimSpace(*o.sender)
	}
	env := maildrop.Envelope{Notify: o.notify, Return: o.ret, EnvID: o.envID, Body: o.body}
	if from != "" && from != "<>" {
		list, err := maildrop.Addresses(from, m.origin, 1)
		if err != nil || len(list) != 1 {
			return exitf(exNoUser, "sender %q: %v", from, orNone(err))
		}
		env.Sender = list[0]
	}
	m.sender = env.Sender
	for _, r := range o.recipients {
		list, err := maildrop.Addresses(r, m.origin, maildrop.MaxRecipients)
		if err != nil || len(list) == 0 {
			return exitf(exNoUser, "recipient %q: %v", r, orNone(err))
		}
		m.to = append(m.to, list...)
	}
	if len(m.to) == 0 && !o.fromHeader {
		return exitf(exUsage, "no recipients: name them, or give -t to take them from the message")
	}
	in := newMessageReader(e.in, o.ignoreDots)
	header, err := m.header(in, o.fromHeader)
	if err != nil {
		return exit{exDataErr, err}
	}
	env.Recipients = m.recipients()
	switch n := len(env.Recipients); {
	case n == 0:
		return exitf(exUsage, "no recipients: the message has none in To, Cc and Bcc")
	case n > maildrop.MaxRecipients:
		return exitf(exDataErr, "%d recipients are too many; the limit is %d", n, maildrop.MaxRecipients)
	}
	env.SMTPUTF8 = env.Sender.NeedsUTF8() || slices.ContainsFunc(env.Recipients, mail.Path.NeedsUTF8)

	d, err := maildrop.Create(dir, env)
	if err != nil {
		return cannotDrop(err, dir)
	}
	defer d.Abort()
	out := &limited{w: d, left: int64(cfg.Limits.MessageSize)}
	if _, err = out.Write(header); err == nil {
		err = in.body(out)
	}
	if err == nil {
		err = d.Commit()
	}
	switch {
	case errors.Is(err, errTooLarge):
		return exitf(exDataErr, "the message is larger than %d octets ([limits] message_size)", int64(cfg.Limits.MessageSize))
	case err != nil:
		return cannotDrop(err, dir)
	}
	// The server looks once a second. Who may tells it at once.
	ctx, cancel := context.WithTimeout(e.ctx, 2*time.Second)
	defer cancel()
	_ = admin.NewClient(cfg.Admin.Socket, "").PickUp(ctx)
	return nil
}

func orNone(err error) error {
	if err == nil {
		return errors.New("there is no address in it")
	}
	return err
}

// cannotDrop says what to do about a maildrop that cannot be written.
func cannotDrop(err error, dir string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return exitf(exTempFail, "%w; wasmta serve makes the maildrop %s when it starts", err, dir)
	case errors.Is(err, fs.ErrPermission):
		return exitf(exTempFail, "%w; this user may not write into the maildrop %s: let others pass through the directories above it (chmod o+x), or see [sendmail] group", err, dir)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return exitf(exTempFail, "%w; free some space", err)
	}
	return exit{exTempFail, err}
}

var errTooLarge = errors.New("too large")

type limited struct {
	w    io.Writer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, errTooLarge
	}
	return l.w.Write(p)
}

// smtpPipe connects standard input and output with the server.
func (e *env) smtpPipe(cfg *config.Config) error {
	conn, err := dialLocal(e.ctx, cfg)
	if err != nil {
		fmt.Fprintf(e.out, "421 4.3.2 %s Service not available\r\n", cfg.Hostname)
		return exit{exTempFail, err}
	}
	defer conn.Close()
	go func() {
		_, _ = io.Copy(conn, e.in)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	if _, err := io.Copy(e.out, conn); err != nil {
		return exit{exTempFail, err}
	}
	return nil
}

// dialLocal connects to the listener that [sendmail] names, or to the first that
// takes mail by SMTP in clear text, MX before submission.
func dialLocal(ctx context.Context, cfg *config.Config) (net.Conn, error) {
	best, rank := -1, 0
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		usable := l.Role != config.RoleLMTP && l.TLS != config.TLSImplicit && !l.ProxyProtocol && !strings.HasPrefix(l.Address, "systemd:")
		r := 1
		switch {
		case !usable:
			continue
		case l.Name == cfg.Sendmail.Listener:
			r = 3
		case l.Role == config.RoleMX:
			r = 2
		}
		if r > rank {
			best, rank = i, r
		}
	}
	if best < 0 {
		return nil, errors.New("no listener takes SMTP in clear text")
	}
	d := net.Dialer{Timeout: 5 * time.Second}
	address := cfg.Listeners[best].Address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return d.DialContext(ctx, "unix", path)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return d.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
}
