package operator

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/wasmta/wasmta/hostapi"
	"github.com/wasmta/wasmta/hostapi/abi"
)

// What waits for one sink.
const (
	maxWaiting       = 4096    // events
	maxWaitingOctets = 8 << 20 // of their data
)

// SinkSpec is one [[event]].
type SinkSpec struct {
	Topics []string // "*": all
	File   string   // gets lines of JSON; empty: the log
}

// Sinks take events where the operator wants them. They are safe for concurrent
// use.
type Sinks struct {
	say     func(hostapi.Event, string)
	log     *slog.Logger
	mu      sync.RWMutex // write: the sinks change, and nobody emits
	specs   []SinkSpec
	list    []*sink
	dropped atomic.Int64
}

type sink struct {
	topics  []string
	write   func(hostapi.Event) error
	close   func() error
	queue   chan hostapi.Event
	octets  atomic.Int64
	dropped atomic.Int64 // since it was last said
	done    chan struct{}
}

// NewSinks makes a set without sinks. say writes an event to the log of the
// plugins, with the first abi.MaxLogLine octets of its data as printable text;
// log gets what goes wrong. Both may be nil.
func NewSinks(say func(e hostapi.Event, data string), log *slog.Logger) *Sinks {
	if say == nil {
		say = func(hostapi.Event, string) {}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Sinks{say: say, log: log}
}

// Apply opens these sinks, and closes those there were when they have written
// what they have. Files are appended to, and opened anew, so that a log that
// was moved away begins again. undo puts the old ones back.
func (s *Sinks) Apply(specs []SinkSpec) (undo func(), err error) {
	old, err := s.swap(specs)
	if err != nil {
		return nil, err
	}
	return func() {
		if _, err := s.swap(old); err != nil {
			s.log.Error("the old sinks for events cannot be opened again", "reason", err.Error())
		}
	}, nil
}

func (s *Sinks) swap(specs []SinkSpec) ([]SinkSpec, error) {
	var next []*sink
	for _, spec := range specs {
		k := &sink{topics: spec.Topics, queue: make(chan hostapi.Event, maxWaiting), done: make(chan struct{})}
		if spec.File == "" {
			k.write = func(e hostapi.Event) error {
				s.say(e, hostapi.Printable(string(e.Data[:min(len(e.Data), abi.MaxLogLine)])))
				return nil
			}
			k.close = func() error { return nil }
		} else {
			f, err := os.OpenFile(spec.File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				for _, o := range next {
					err = errors.Join(err, o.close())
				}
				return nil, fmt.Errorf("sink for events: %w", err)
			}
			k.write, k.close = jsonLines(f), f.Close
		}
		next = append(next, k)
	}
	for _, k := range next {
		go k.run(s.log)
	}
	s.mu.Lock()
	old, gone := s.specs, s.list
	s.specs, s.list = specs, next
	s.mu.Unlock()
	for _, k := range gone {
		close(k.queue)
		<-k.done
	}
	return old, nil
}

// Close writes what waits and closes the sinks.
func (s *Sinks) Close() {
	_, _ = s.swap(nil) // opens nothing
}

// Dropped is the number of events that a sink did not take.
func (s *Sinks) Dropped() int64 { return s.dropped.Load() }

// Emit hands an event to the sinks for its topic. It does not wait:
// abi.Limit says that one of them is full.
func (s *Sinks) Emit(e hostapi.Event) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	copied := false
	var err error
	for _, k := range s.list {
		if !slices.Contains(k.topics, "*") && !slices.Contains(k.topics, e.Topic) {
			continue
		}
		if !copied {
			e.Data, copied = bytes.Clone(e.Data), true
		}
		if !k.offer(e) {
			s.dropped.Add(1)
			err = abi.Limit
		}
	}
	return err
}

func (k *sink) offer(e hostapi.Event) bool {
	size := int64(len(e.Data))
	if k.octets.Add(size) <= maxWaitingOctets {
		select {
		case k.queue <- e:
			return true
		default:
		}
	}
	k.octets.Add(-size)
	k.dropped.Add(1)
	return false
}

// run writes what comes until the queue is closed. Trouble is said once, until
// writing works again.
func (k *sink) run(log *slog.Logger) {
	defer close(k.done)
	failing := false
	for e := range k.queue {
		k.octets.Add(-int64(len(e.Data)))
		err := k.write(e)
		if err != nil && !failing {
			log.Error("an event cannot be written; it is lost, and so are those after it until this works again", "reason", err.Error())
		}
		failing = err != nil
		if n := k.dropped.Swap(0); n > 0 {
			log.Warn("plugins emit more than a sink can take: events were dropped", "events", n)
		}
	}
	if err := k.close(); err != nil {
		log.Error("a file of events cannot be closed", "reason", err.Error())
	}
}

// eventLine is one line of a file of events. One of the last three is the data:
// JSON as it is, a text, or octets.
type eventLine struct {
	Time    string          `json:"time"`
	Plugin  string          `json:"plugin"`
	Topic   string          `json:"topic"`
	Session string          `json:"session,omitempty"`
	Message string          `json:"message,omitempty"`
	JSON    json.RawMessage `json:"json,omitempty"`
	Text    *string         `json:"text,omitempty"`
	Base64  string          `json:"base64,omitempty"`
}

func jsonLines(f *os.File) func(hostapi.Event) error {
	return func(e hostapi.Event) error {
		b, err := encodeEvent(e)
		if err == nil {
			_, err = f.Write(b)
		}
		return err
	}
}

// encodeEvent is e as one line.
func encodeEvent(e hostapi.Event) ([]byte, error) {
	l := eventLine{Time: e.Time.UTC().Format(time.RFC3339Nano), Plugin: e.Plugin, Topic: e.Topic, Session: e.Session, Message: e.Message}
	switch {
	case json.Valid(e.Data) && utf8.Valid(e.Data):
		l.JSON = e.Data
	case utf8.Valid(e.Data):
		text := string(e.Data)
		l.Text = &text
	default:
		l.Base64 = base64.StdEncoding.EncodeToString(e.Data)
	}
	b, err := json.Marshal(l)
	return append(b, '\n'), err
}
