package core

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wasmta/wasmta/core/dsn"
	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/maildrop"
	"github.com/wasmta/wasmta/core/queue"
	"github.com/wasmta/wasmta/core/smtpd"
)

const (
	// pickEvery is how often the maildrop is looked at when nobody tells.
	pickEvery = time.Second
	// pickers is how many messages of it are submitted at the same time.
	pickers = 16
	// pickPage is how many messages are taken before it is looked at again.
	pickPage = 256
	// pickRetry is the wait before a message that was not taken is submitted
	// again; it doubles up to pickRest.
	pickRetry = time.Minute
	pickRest  = 15 * time.Minute
	// patience is how long a message waits for recipients that are refused for
	// now while others are taken; then it goes without them.
	patience = time.Hour
	// pickLimit is how long one submission may take.
	pickLimit = 10 * time.Minute
	// maxReturned is how much of a header section a notification brings back.
	maxReturned = 64 << 10
)

// pickup submits what the sendmail command left in the maildrop.
type pickup struct {
	server *Server
	dir    *maildrop.Dir
	in     *intake
	pipes  *pipes
	log    *slog.Logger
	kick   chan struct{} // capacity 1

	mu       sync.Mutex
	underWay map[string]bool // by session: whether the queue has the message
	waiting  map[string]wait // active messages that shall be submitted again
	finished map[string]bool // active messages that are done with and could not be removed
}

type wait struct {
	at    time.Time
	pause time.Duration
	since time.Time          // the first attempt
	told  map[mail.Path]bool // recipients of whose refusal the sender was notified
}

func (w *wait) tell(list []dsn.Recipient) {
	if w.told == nil {
		w.told = make(map[mail.Path]bool)
	}
	for i := range list {
		w.told[list[i].ForwardPath] = true
	}
}

// buildPickUp opens the maildrop and settles what a crash left, before anything
// is delivered.
func (s *Server) buildPickUp() error {
	c := s.opt.Config
	path := c.Sendmail.Maildrop
	if path == "" {
		return nil
	}
	gid := -1
	if name := c.Sendmail.Group; name != "" {
		g, err := user.LookupGroup(name)
		if err == nil {
			gid, err = strconv.Atoi(g.Gid)
		}
		if err != nil {
			return fmt.Errorf("[sendmail] group %q: %w", name, err)
		}
	}
	log := s.log.Program("pickup")
	dir, err := maildrop.Open(path, gid)
	if errors.Is(err, maildrop.ErrUnsupported) {
		log.Warn("sendmail is not served", "error", err.Error())
		return nil
	} else if err != nil {
		return err
	}
	p := &pickup{server: s, dir: dir, log: log, pipes: newPipes(path), kick: make(chan struct{}, 1),
		underWay: make(map[string]bool), waiting: make(map[string]wait), finished: make(map[string]bool)}
	s.pickup = p
	if closed := unreachable(path); closed != "" && gid < 0 {
		log.Warn("only this server's user and root can use sendmail: others may not pass through a directory", "directory", closed, "repair", "chmod o+x "+closed)
	}
	if err := p.reconcile(context.Background()); err != nil {
		return fmt.Errorf("maildrop: %w", err)
	}
	p.in = s.newIntake()
	p.in.committed = p.committed
	server, err := smtpd.New(smtpd.Options{
		Hostname: c.Hostname, Listener: c.Sendmail.Listener, Role: smtpd.Submission, AuthRelay: true,
		LocalDomains: c.IsLocal, RelayDomains: c.IsRelay, MaxHold: maxHold(c.Queue.Lifetime.Std()),
		MaxSize: int64(c.Limits.MessageSize), MaxRecipients: maildrop.MaxRecipients, MaxSessions: -1, MaxSessionsPerAddress: -1, // there are as many as pickers, and those that are ending
		Timeouts: smtpd.Timeouts{Command: c.Limits.CommandTimeout.Std()},
		Source:   s.opt.Source, Trace: s.trace, Log: s.log, Intake: p.in, Known: known,
	})
	if err != nil {
		return err
	}
	s.listeners = append(s.listeners, &listener{name: c.Sendmail.Listener, nets: []net.Listener{p.pipes}, smtpd: server})
	return nil
}

// unreachable is the first directory on the way to path, itself left out, that
// others may not pass through.
func unreachable(path string) string {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o001 == 0 {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

// reconcile removes messages that the queue has: a server was ended between its
// commit and the removal. What else it had taken is submitted again.
func (p *pickup) reconcile(ctx context.Context) error {
	active, err := p.dir.Active()
	if err != nil {
		return err
	}
	var first mail.ID
	for _, name := range active {
		p.waiting[name] = wait{at: time.Now(), pause: pickRetry, since: time.Now()}
		if id := maildrop.Taken(name); id != 0 && (first == 0 || id < first) {
			first = id
		}
	}
	if first == 0 {
		return nil
	}
	var last mail.ID
	err = p.server.store.List(ctx, queue.Filter{After: queue.Ref{ID: first - 1, Item: 1<<32 - 1}}, func(it queue.Item, _ error) bool {
		if it.ID == last {
			return true
		}
		last = it.ID
		m, err := p.server.store.Message(ctx, it.ID)
		if err != nil {
			return true // damaged, or gone
		}
		name := m.Envelope.Client.Session
		if _, ours := p.waiting[name]; ours {
			delete(p.waiting, name)
			p.log.Info("a message was in the queue already when the server ended", "id", it.ID.String(), "session", name)
			p.remove(name)
		}
		return len(p.waiting) > 0
	})
	return err
}

// Poke has the maildrop looked at at once.
func (p *pickup) poke() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// run submits until ctx ends, then finishes what is under way.
func (p *pickup) run(ctx context.Context) {
	var busy sync.WaitGroup
	defer busy.Wait()
	slots := make(chan struct{}, pickers)
	complained := make(map[string]bool) // of what cannot be moved
	tick := time.NewTicker(pickEvery)
	defer tick.Stop()
	for {
		p.sweep()
		names := p.due(time.Now())
		fresh, err := p.dir.Waiting(pickPage, time.Now(), func(name string, err error) {
			if len(complained) < pickPage && !complained[name] {
				complained[name] = true
				p.log.Error("something in the maildrop is no message", "file", name, "error", err.Error())
			}
		})
		if err != nil {
			p.log.Error("cannot look into the maildrop", "error", err.Error())
		}
		for _, name := range fresh {
			active, err := p.dir.Take(name, time.Now())
			if err == nil {
				names = append(names, active)
			} else if len(complained) < pickPage && !complained[name] {
				complained[name] = true
				p.log.Error("a message in the maildrop cannot be taken", "file", name, "error", err.Error())
			}
		}
		for _, name := range names {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return // those that were not begun are found at the next start
			}
			busy.Go(func() {
				p.submit(name)
				<-slots
			})
		}
		if len(fresh) >= pickPage && len(names) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-p.kick:
		case <-tick.C:
		}
	}
}

// due takes those that shall be tried again now out of the waiting ones.
func (p *pickup) due(now time.Time) (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, w := range p.waiting {
		if now.Before(w.at) {
			continue
		}
		next, err := p.dir.Again(name, now)
		if errors.Is(err, fs.ErrNotExist) {
			delete(p.waiting, name)
			p.log.Error("a message that was taken from the maildrop is gone", "session", name)
			continue
		} else if err != nil { // perhaps too many files are open
			w.at = now.Add(w.pause)
			p.waiting[name] = w
			p.log.Error("a message that was taken from the maildrop cannot be submitted now", "session", name, "error", err.Error())
			continue
		}
		delete(p.waiting, name)
		w.at = now.Add(pickLimit) // until it is known what becomes of it
		p.waiting[next] = w
		names = append(names, next)
	}
	return names
}

// committed is told by the intake: the queue has the message of a session, and
// is not told so yet.
func (p *pickup) committed(session string) {
	p.mu.Lock()
	_, ours := p.underWay[session]
	if ours {
		p.underWay[session] = true
	}
	p.mu.Unlock()
	if !ours {
		return
	}
	p.remove(session)
}

// remove removes an active message that is done with, later if it must be: it
// would be submitted again by the next start.
func (p *pickup) remove(name string) {
	err := p.dir.Done(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		delete(p.finished, name)
		return
	}
	if !p.finished[name] {
		p.log.Error("a message that is done with cannot be removed from the maildrop; it is tried again", "session", name, "error", err.Error())
	}
	p.finished[name] = true
}

// sweep removes what could not be removed before.
func (p *pickup) sweep() {
	p.mu.Lock()
	names := slices.Collect(maps.Keys(p.finished))
	p.mu.Unlock()
	for _, name := range names {
		p.remove(name)
	}
}

// submit says one active message to the server.
func (p *pickup) submit(name string) {
	p.mu.Lock()
	w, again := p.waiting[name]
	if delete(p.waiting, name); !again {
		w = wait{pause: pickRetry, since: time.Now()}
	}
	p.underWay[name] = false
	p.mu.Unlock()
	done, err := p.try(name, &w)
	p.mu.Lock()
	done = done || p.underWay[name]
	delete(p.underWay, name)
	p.mu.Unlock()
	switch {
	case done:
	case errors.Is(err, maildrop.ErrUntrusted), errors.Is(err, maildrop.ErrDamaged):
		to, moved := p.dir.Quarantine(name)
		p.log.Error("a message in the maildrop is not what sendmail writes; it was moved away", "session", name, "file", to, "error", errors.Join(err, moved).Error())
	default:
		w.at = time.Now().Add(w.pause)
		w.pause = min(2*w.pause, pickRest)
		p.log.Warn("a message of the maildrop was not taken; it is tried again", "session", name, "retry", w.at.UTC().Format(time.RFC3339), "error", err.Error())
		p.mu.Lock()
		p.waiting[name] = w
		p.mu.Unlock()
	}
}

var errLater = errors.New("refused for now")

// try submits a message. done tells that there is nothing left to do.
func (p *pickup) try(name string, w *wait) (done bool, err error) {
	limits := p.server.opt.Config.Limits
	f, err := p.dir.Open(name, int64(limits.MessageSize)+int64(limits.MessageSize)/1000+16<<20)
	if err != nil {
		return false, err
	}
	defer f.Close()
	env, content, err := f.Decode()
	if err != nil {
		return false, err
	}
	if f.Since.Before(w.since) {
		w.since = f.Since
	}
	age := time.Since(w.since)
	env.Recipients = slices.DeleteFunc(env.Recipients, func(to mail.Path) bool { return w.told[to] })
	conn, ended, err := p.pipes.dial(peer{user: userName(f.UID), session: name})
	if err != nil {
		return false, err
	}
	_ = conn.SetDeadline(time.Now().Add(pickLimit)) // a pipe can
	var told error
	a, err := maildrop.Submit(conn, "localhost", &env, content, func(rcpts []mail.Reply) bool {
		for _, r := range rcpts {
			if r.Class() == 4 && age < patience {
				told = fmt.Errorf("%w: %s", errLater, r.String())
				return false
			}
		}
		told = p.bounce(f, name, w, &env, rcpts, nil)
		return told == nil
	})
	<-ended // what we gave up waiting for may still be committed until then
	switch {
	case p.isCommitted(name):
		return true, nil
	case told != nil:
		return false, told
	case err != nil && (age < p.in.lifetime || errors.Is(err, maildrop.ErrDamaged)):
		return false, err
	case err != nil:
		p.log.Error("a message of the maildrop could not be submitted for as long as mail is tried", "session", name, "error", err.Error())
		a.Refusal = *mail.NewReply(554, "5.4.7", "Message could not be submitted")
	case a.Sent: // and dropped by a plugin
		p.remove(name)
		return true, nil
	case a.Refusal.Class() != 5 && age < p.in.lifetime:
		return false, fmt.Errorf("%w: %s", errLater, a.Refusal.String())
	}
	if err := p.bounce(f, name, w, &env, a.Recipients, &a.Refusal); errors.Is(err, errNobody) {
		to, moved := p.dir.Quarantine(name)
		p.log.Error("a message of the maildrop is refused and has nobody to be told; it was moved away",
			"session", name, "file", to, "reply", a.Refusal.String(), "error", fmt.Sprint(moved))
		return true, nil
	} else if err != nil {
		return false, err
	}
	p.remove(name)
	return true, nil
}

func (p *pickup) isCommitted(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.underWay[name]
}

var errNobody = errors.New("the reverse-path is null")

// bounce notifies the sender of the recipients that were refused, of all if
// there is a refusal of the message, but of none for a second time.
func (p *pickup) bounce(f *maildrop.File, name string, w *wait, env *maildrop.Envelope, rcpts []mail.Reply, all *mail.Reply) (err error) {
	now := time.Now()
	var failed []dsn.Recipient
	defer func() {
		if err == nil {
			w.tell(failed)
		}
	}()
	for i, to := range env.Recipients {
		var reply mail.Reply
		switch {
		case w.told[to]:
			continue
		case i < len(rcpts) && rcpts[i].Class() != 2:
			reply = rcpts[i]
		case all != nil:
			reply = *all
		default:
			continue
		}
		failed = append(failed, dsn.Recipient{Attempted: now, Result: mail.Result{Outcome: mail.Failed, Reply: reply.Clean()},
			Recipient: mail.Recipient{ForwardPath: to, RcptParams: mail.RcptParams{Notify: env.Notify}}})
	}
	if len(failed) == 0 {
		return nil
	}
	if env.Sender.IsNull() {
		if all != nil {
			return errNobody
		}
		p.log.Warn("recipients of a message of the maildrop are refused, and nobody can be told", "session", name, "recipients", len(failed))
		return nil
	}
	header, err := returned(f)
	if err != nil {
		return err
	}
	c := p.server.opt.Config
	id := maildrop.Taken(name)
	to, head, body, ok := dsn.Compose(dsn.Report{
		Action: dsn.Failed, Hostname: c.Hostname, ID: id, Now: now, Arrived: now, Recipients: failed, Header: header, Size: f.Size,
		Envelope: mail.Envelope{ReversePath: env.Sender, MailParams: mail.MailParams{Return: mail.ReturnHeaders, EnvID: env.EnvID, SMTPUTF8: env.SMTPUTF8}},
		Template: p.server.template, MaxReturn: int64(c.Notify.MaxSize),
	})
	if !ok {
		return nil // by NOTIFY
	}
	to.Client.Arrived = now
	ctx := context.Background()
	d, err := p.server.store.Begin(ctx)
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := d.Write(body); err != nil {
		return err
	}
	refs, err := d.Commit(ctx, to, head, queue.CommitOptions{Due: now, Expire: now.Add(p.in.lifetime)})
	if err != nil {
		return err
	}
	p.server.log.Notified(id, d.ID(), dsn.Failed.String(), env.Sender)
	p.server.queue.Enqueue(refs)
	return nil
}

// returned is the header section of a message, as far as it is brought back.
func returned(f *maildrop.File) ([]byte, error) {
	_, content, err := f.Decode()
	if err != nil {
		return nil, err
	}
	var header []byte
	in := bufio.NewReader(io.LimitReader(content, maxReturned))
	for {
		line, err := in.ReadBytes('\n')
		header = append(header, line...)
		if err == io.EOF || len(line) <= 2 {
			return header, nil
		} else if err != nil {
			return nil, err
		}
	}
}

// userName is the name of a user, or the number if there is none.
func userName(uid int) string {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil && u.Username != "" && mail.Printable(u.Username) == u.Username && !strings.ContainsAny(u.Username, " \"") {
		return u.Username
	}
	return id
}
