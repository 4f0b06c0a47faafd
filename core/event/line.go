package event

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Attribute keys with a place of their own in a line.
const (
	keyProgram = "program" // smtpd, qmgr, smtp ...
	keyID      = "id"      // queue id or NOQUEUE
	keySuffix  = "note"    // printed in parentheses behind the last value
)

// maxValue is how much of one value is printed, in octets.
const maxValue = 1024

// NewLineHandler returns a handler that writes one line an event to w in the
// layout of a mail log. host is this server's name. Levels below level are
// left out. Control characters and what is not UTF-8 are written as \xNN.
func NewLineHandler(w io.Writer, host string, level slog.Leveler) slog.Handler {
	return &lineHandler{w: w, mu: new(sync.Mutex), host: host, level: level, pid: strconv.Itoa(os.Getpid()),
		buffers: &sync.Pool{New: func() any { return new(lineBuffers) }}}
}

// lineBuffers are what a line is made in.
type lineBuffers struct{ line, values bytes.Buffer }

type lineHandler struct {
	w     io.Writer
	mu    *sync.Mutex // guards w
	host  string
	level slog.Leveler
	pid   string
	attrs []slog.Attr
	group string

	buffers *sync.Pool // of *lineBuffers
}

func (h *lineHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = append(c.attrs[:len(c.attrs):len(c.attrs)], attrs...)
	return &c
}

func (h *lineHandler) WithGroup(name string) slog.Handler {
	c := *h
	if name != "" {
		c.group += name + "."
	}
	return &c
}

func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	program, id, note := "wasmta", "", ""
	buf := h.buffers.Get().(*lineBuffers)
	defer h.buffers.Put(buf)
	b, values := &buf.line, &buf.values
	b.Reset()
	values.Reset()
	add := func(a slog.Attr) bool {
		if a.Value.Kind() == slog.KindLogValuer {
			if s, ok := a.Value.Any().(sentence); ok {
				appendValue(values, s.line)
				return true
			}
		}
		v := a.Value.Resolve()
		switch a.Key {
		case keyProgram:
			program = v.String()
		case keyID:
			id = v.String()
		case keySuffix:
			note = v.String()
		case "":
		default:
			if values.Len() > 0 {
				values.WriteString(", ")
			}
			values.WriteString(h.group)
			values.WriteString(a.Key)
			values.WriteByte('=')
			appendValue(values, valueString(v))
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)

	b.Write(r.Time.AppendFormat(b.AvailableBuffer(), "2006-01-02T15:04:05.000Z07:00"))
	for _, part := range [...]string{" ", h.host, " wasmta/", program, "[", h.pid, "]: "} {
		b.WriteString(part)
	}
	if id != "" {
		appendValue(b, id)
		b.WriteString(": ")
	}
	switch {
	case r.Level >= slog.LevelError:
		b.WriteString("error: ")
	case r.Level >= slog.LevelWarn:
		b.WriteString("warning: ")
	}
	// An event's name is for machines: its keys say what it is.
	if free := r.Message != "" && (strings.Contains(r.Message, " ") || values.Len() == 0); free {
		appendValue(b, r.Message)
		if values.Len() > 0 {
			b.WriteString(": ")
		}
	}
	b.Write(values.Bytes())
	if note != "" {
		b.WriteString(" (")
		appendValue(b, note)
		b.WriteByte(')')
	}
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.w.Write(b.Bytes())
	return err
}

func valueString(v slog.Value) string {
	switch v.Kind() {
	case slog.KindDuration:
		return strconv.FormatFloat(v.Duration().Seconds(), 'f', -1, 64)
	case slog.KindTime:
		return v.Time().Format(time.RFC3339)
	}
	return v.String()
}

// appendValue writes s so that it stays on its line: a log that can be forged
// is worse than none.
func appendValue(b *bytes.Buffer, s string) {
	if len(s) > maxValue {
		s = s[:maxValue] + "..."
	}
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n <= 1, r < ' ', r == 0x7f:
			fmt.Fprintf(b, `\x%02X`, s[0])
		case r >= 0x80 && r < 0xa0, r == 0x2028, r == 0x2029, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			fmt.Fprintf(b, `\u%04X`, r)
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
}
