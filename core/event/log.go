package event

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// Log reports events to a slog.Logger. The zero value reports to nobody.
type Log struct{ logger *slog.Logger }

// NewLog makes a Log that reports to h.
func NewLog(h slog.Handler) Log { return Log{slog.New(h)} }

// Program returns a logger for what has no method of its own, under the name
// of a part of the server.
func (l Log) Program(name string) *slog.Logger {
	if l.logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l.logger.With(keyProgram, name)
}

func (l Log) emit(level slog.Level, program, id, event string, attrs ...slog.Attr) {
	if l.logger == nil || !l.logger.Enabled(context.Background(), level) {
		return
	}
	all := make([]slog.Attr, 0, len(attrs)+2)
	all = append(all, slog.String(keyProgram, program))
	if id != "" {
		all = append(all, slog.String(keyID, id))
	}
	l.logger.LogAttrs(context.Background(), level, event, append(all, attrs...)...)
}

// ClientName is host[addr]:port for the log, Postfix's way.
func ClientName(c *mail.Client) string {
	name := c.PTR
	if name == "" {
		name = "unknown"
	}
	return name + "[" + c.Remote.Addr().Unmap().String() + "]:" + strconv.Itoa(int(c.Remote.Port()))
}

// Connected: a session began.
func (l Log) Connected(c *mail.Client) {
	l.emit(slog.LevelDebug, "smtpd", "", "connect", slog.String("client", ClientName(c)), slog.String("listener", c.Listener), slog.String("session", c.Session))
}

// Disconnected: a session ended. reason is ours, such as "QUIT" or "timeout".
func (l Log) Disconnected(c *mail.Client, reason string, messages int) {
	l.emit(slog.LevelDebug, "smtpd", "", "disconnect", slog.String("client", ClientName(c)), slog.String("session", c.Session),
		slog.String("reason", reason), slog.Int("messages", messages))
}

// Authenticated: a client said who it is, and by, a plugin, believed it.
func (l Log) Authenticated(c *mail.Client, by string) {
	attrs := []slog.Attr{slog.String("client", ClientName(c)), slog.String("session", c.Session), slog.String("sasl_method", c.AuthMech),
		slog.String("sasl_username", c.Auth)}
	if c.AuthUser != c.Auth {
		attrs = append(attrs, slog.String("sasl_authcid", c.AuthUser))
	}
	l.emit(slog.LevelDebug, "smtpd", "", "authenticated", append(attrs, slog.String("plugin", by))...)
}

// identity quotes a name that a client made up where it could be taken for more
// of the line: for another key, or another client's address.
func identity(name string) string {
	if strings.ContainsAny(name, " ,;=:\"\\[]()<>") {
		return strconv.Quote(name)
	}
	return name
}

// AuthFailed: a SASL exchange failed. The line is Postfix's, so that what
// watches its log for guessers finds them here. user is empty if the exchange
// did not come so far; by is the plugin that decided, if one did.
func (l Log) AuthFailed(c *mail.Client, mechanism, user, reason, by string) {
	host := strings.TrimSuffix(ClientName(c), ":"+strconv.Itoa(int(c.Remote.Port())))
	text := host + ": SASL " + mechanism + " authentication failed: " + reason
	keys := []slog.Attr{slog.String("client", host), slog.String("sasl_method", mechanism), slog.String("reason", reason)}
	add := func(key, value string) {
		if value != "" {
			keys = append(keys, slog.String(key, value))
			text += ", " + key + "=" + identity(value)
		}
	}
	add("sasl_username", user)
	add("plugin", by)
	add("session", c.Session)
	l.emit(slog.LevelWarn, "smtpd", "", "auth_failed", slog.Any("", sentence{text, keys}))
}

// Rejected: a command or message was refused. stage is the SMTP verb or
// "CONNECT"; to is empty before RCPT; by is the plugin that decided, empty for
// the server itself; proto is the transmission type.
func (l Log) Rejected(c *mail.Client, stage string, r *mail.Reply, from, to *mail.Path, by, proto string) {
	host := strings.TrimSuffix(ClientName(c), ":"+strconv.Itoa(int(c.Remote.Port())))
	keys := []slog.Attr{slog.String("stage", stage), slog.String("client", host), slog.String("reply", r.String())}
	var b strings.Builder
	fmt.Fprintf(&b, "reject: %s from %s: %s;", stage, host, r.String())
	add := func(key, value, shown string) {
		keys = append(keys, slog.String(key, value))
		b.WriteString(" " + key + "=" + shown)
	}
	if from != nil {
		add("from", "<"+from.String()+">", "<"+from.String()+">")
	}
	if to != nil {
		add("to", "<"+to.String()+">", "<"+to.String()+">")
	}
	add("proto", proto, proto)
	add("helo", c.Helo, "<"+c.Helo+">")
	if by != "" {
		add("plugin", by, by)
	}
	if c.Session != "" {
		add("session", c.Session, c.Session)
	}
	l.emit(slog.LevelInfo, "smtpd", "NOQUEUE", "reject", slog.Any("", sentence{b.String(), keys}))
}

// sentence is an event that a line tells in a wording of its own; elsewhere it
// is its keys.
type sentence struct {
	line string
	keys []slog.Attr
}

// LogValue implements [slog.LogValuer].
func (s sentence) LogValue() slog.Value { return slog.GroupValue(s.keys...) }

// Received: a message is ours; who brought it. was is the id that it had while
// it was received, which lines about that have, if a plugin replaced its body,
// else zero. changedBy says which plugins changed what; empty: none.
func (l Log) Received(id, was mail.ID, changedBy string, c *mail.Client) {
	attrs := []slog.Attr{slog.String("client", ClientName(c)), slog.String("helo", c.Helo), slog.String("listener", c.Listener)}
	if c.Auth != "" {
		attrs = append(attrs, slog.String("sasl_method", c.AuthMech), slog.String("sasl_username", c.Auth))
	}
	if was != 0 {
		attrs = append(attrs, slog.String("orig_queue_id", was.String()))
	}
	if changedBy != "" {
		attrs = append(attrs, slog.String("changed_by", changedBy))
	}
	l.emit(slog.LevelInfo, "smtpd", id.String(), "received", attrs...)
}

// Queued: a message is ours; what it is. held: it waits for an operator.
func (l Log) Queued(id mail.ID, from mail.Path, size int64, recipients int, messageID string, held bool) {
	note := "queue active"
	if held {
		note = "queue hold"
	}
	l.emit(slog.LevelInfo, "qmgr", id.String(), "queued", slog.String("from", "<"+from.String()+">"), slog.Int64("size", size),
		slog.Int("nrcpt", recipients), slog.String("message-id", messageID), slog.String(keySuffix, note))
}

// Discarded: a message or recipient was accepted and dropped by a rule. id is
// zero if it was never queued; to is nil for the whole message.
func (l Log) Discarded(id mail.ID, c *mail.Client, from mail.Path, to *mail.Path, by string) {
	name := "NOQUEUE"
	if id != 0 {
		name = id.String()
	}
	attrs := []slog.Attr{slog.String("from", "<"+from.String()+">")}
	if to != nil {
		attrs = append(attrs, slog.String("to", "<"+to.String()+">"))
	}
	if c != nil {
		attrs = append(attrs, slog.String("client", ClientName(c)))
	}
	attrs = append(attrs, slog.String("status", "discarded"), slog.String("plugin", by))
	if c != nil && id == 0 && c.Session != "" {
		attrs = append(attrs, slog.String("session", c.Session))
	}
	l.emit(slog.LevelInfo, "smtpd", name, "discarded", attrs...)
}

// Delays are the parts of a delivery's delay: before the queue, in it,
// connecting, transmitting (Postfix: delays=a/b/c/d).
type Delays [4]time.Duration

func (d Delays) String() string {
	var parts [4]string
	for i, v := range d {
		parts[i] = seconds(v)
	}
	return strings.Join(parts[:], "/")
}

// seconds has two significant digits, from a hundred on whole seconds.
func seconds(d time.Duration) string {
	if d >= 100*time.Second {
		return strconv.FormatFloat(d.Seconds(), 'f', 0, 64)
	}
	return strconv.FormatFloat(max(d, 0).Seconds(), 'g', 2, 64)
}

// Attempted: an attempt ended for one recipient. program is the agent: smtp,
// lmtp, local, discard, or qmgr if there was no attempt.
func (l Log) Attempted(program string, id mail.ID, to mail.Recipient, res mail.Result, delay time.Duration, delays Delays) {
	relay := res.Relay
	if relay == "" {
		relay = "none"
	}
	attrs := []slog.Attr{slog.String("to", "<"+to.ForwardPath.String()+">")}
	if !to.Original.IsNull() {
		attrs = append(attrs, slog.String("orig_to", "<"+to.Original.String()+">"))
	}
	attrs = append(attrs, slog.String("relay", relay), slog.String("delay", seconds(delay)), slog.String("delays", delays.String()),
		slog.String("dsn", res.Reply.Status().String()), slog.String("status", res.Outcome.String()), slog.String(keySuffix, res.Reply.String()))
	l.emit(slog.LevelInfo, program, id.String(), "attempt", attrs...)
}

// Notified: a DSN about id was queued as notice. action is failed, delayed,
// delivered or relayed.
func (l Log) Notified(id, notice mail.ID, action string, to mail.Path) {
	l.emit(slog.LevelInfo, "bounce", id.String(), "notified", slog.String("to", "<"+to.String()+">"), slog.String("action", action), slog.String("notification", notice.String()))
}

// Removed: nothing is left of a message.
func (l Log) Removed(id mail.ID) { l.emit(slog.LevelInfo, "qmgr", id.String(), "removed") }

// Operator: an operator changed the queue.
func (l Log) Operator(id mail.ID, act, detail string) {
	attrs := []slog.Attr{slog.String("operator", act)}
	if detail != "" {
		attrs = append(attrs, slog.String("detail", detail))
	}
	l.emit(slog.LevelInfo, "qmgr", id.String(), "operator", attrs...)
}

// PluginFailed: a plugin could not answer, and what stands for its answer.
// subject is a queue or session id.
func (l Log) PluginFailed(subject, plugin, generation, stage, policy string, err error) {
	l.emit(slog.LevelWarn, "plugin", subject, "plugin failed", slog.String("plugin", plugin), slog.String("generation", generation),
		slog.String("hook", stage), slog.String("on_error", policy), slog.String("error", err.Error()))
}

// PluginSaid: a line that a plugin logged.
func (l Log) PluginSaid(level slog.Level, subject, plugin, text string) {
	l.emit(level, "plugin", subject, "plugin", slog.String("plugin", plugin), slog.String("text", text))
}

// Generation: a plugin was loaded, swapped or refused. step names what
// happened or, with an error, at which step it failed.
func (l Log) Generation(plugin, hash, step string, err error) {
	attrs := []slog.Attr{slog.String("plugin", plugin), slog.String("hash", hash), slog.String("step", step)}
	if err != nil {
		l.emit(slog.LevelError, "plugin", "", "plugin not loaded", append(attrs, slog.String("error", err.Error()))...)
		return
	}
	l.emit(slog.LevelInfo, "plugin", "", "generation", attrs...)
}
