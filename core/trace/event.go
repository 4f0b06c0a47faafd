package trace

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"time"

	"github.com/wasmta/wasmta/core/mail"
)

// Event is one thing that happened. Which fields are set depends on Event:
//
//	connect      Client, Listener, Proxy
//	tls          TLS, or Error
//	helo         Verb, Helo
//	auth         Mechanism, User, Identity, Status (ok, failed), By, Detail
//	hook         Stage, Plugin, Generation, Module, Took, Verdict, Reply, Changes; Error and OnError if it failed
//	log          Plugin, Stage, Level, Detail: a line that the plugin logged
//	reply        Stage, Reply, From, To, By: of ours, that was no plain success
//	mail, rcpt   From, To, Size, Detail: the parameters
//	discard      By, To
//	accept       Size, Recipients, Took: until it was durable; Detail: why it is held
//	abort        Detail: why the transaction ended without a message
//	route        NextHops, By, To
//	attempt      Attempt, NextHops, To, Status, Reply, RemoteMTA, Relay, TLS, Connect, Transmit, Took, Earlier
//	outcome      To, Status, Reply, By: where it is not that of the attempt
//	retry        Attempt, Due, Detail
//	hold         Detail
//	notify       Notice, Verb (failed, delayed, delivered, relayed, expanded), To
//	notice       Notice: this message is a notification about that one
//	operator     Verb, Detail
//	gone         nothing is left of the message
//	close        Detail: why the session ended
//	more         Count: of events that were not kept
type Event struct {
	Time    time.Time `json:"time"`
	Event   string    `json:"event"`
	Session string    `json:"session,omitempty"`
	Message string    `json:"message,omitempty"` // queue id
	Item    uint32    `json:"item,omitempty"`

	Client    string `json:"client,omitempty"`
	Listener  string `json:"listener,omitempty"`
	Proxy     string `json:"proxy,omitempty"`
	TLS       string `json:"tls,omitempty"` // version, cipher, how the other side was verified
	Verb      string `json:"verb,omitempty"`
	Helo      string `json:"helo,omitempty"`
	Mechanism string `json:"mechanism,omitempty"`
	User      string `json:"user,omitempty"`
	Identity  string `json:"identity,omitempty"`

	Stage      string   `json:"stage,omitempty"`
	Plugin     string   `json:"plugin,omitempty"`
	Generation string   `json:"generation,omitempty"`
	Module     string   `json:"module,omitempty"` // beginning of its SHA-256
	Verdict    string   `json:"verdict,omitempty"`
	Changes    []string `json:"changes,omitempty"`
	Error      string   `json:"error,omitempty"`
	OnError    string   `json:"on_error,omitempty"`
	Level      string   `json:"level,omitempty"`
	By         string   `json:"by,omitempty"`

	From       string   `json:"from,omitempty"` // in angle brackets
	To         []string `json:"to,omitempty"`   // in angle brackets
	Size       int64    `json:"size,omitempty"`
	Recipients int64    `json:"recipients,omitempty"`
	Reply      string   `json:"reply,omitempty"`
	Status     string   `json:"status,omitempty"`
	Detail     string   `json:"detail,omitempty"`

	NextHops  []string  `json:"next_hops,omitempty"`
	RemoteMTA string    `json:"remote_mta,omitempty"`
	Relay     string    `json:"relay,omitempty"`
	Earlier   []string  `json:"earlier,omitempty"` // hosts that were tried before, and what came of it
	Attempt   int64     `json:"attempt,omitempty"`
	Due       time.Time `json:"due,omitzero"`
	Notice    string    `json:"notice,omitempty"` // queue id
	Count     int64     `json:"count,omitempty"`

	Took     time.Duration `json:"took_ns,omitempty"`
	Connect  time.Duration `json:"connect_ns,omitempty"`
	Transmit time.Duration `json:"transmit_ns,omitempty"`
}

// kind is the number of an event on the disk. Numbers are never given anew.
type kind uint8

const (
	evConnect kind = iota + 1
	evTLS
	evHelo
	evAuth
	evHook
	evLog
	evReply
	evMail
	evRcpt
	evDiscard
	evAccept
	evAbort
	evRoute
	evAttempt
	evOutcome
	evRetry
	evHold
	evNotify
	evNotice
	evOperator
	evGone
	evClose
	evMore
	evPlugin // who is meant by a number in the frame; not shown
)

var kindNames = [...]string{
	evConnect: "connect", evTLS: "tls", evHelo: "helo", evAuth: "auth", evHook: "hook", evLog: "log", evReply: "reply",
	evMail: "mail", evRcpt: "rcpt", evDiscard: "discard", evAccept: "accept", evAbort: "abort", evRoute: "route",
	evAttempt: "attempt", evOutcome: "outcome", evRetry: "retry", evHold: "hold", evNotify: "notify", evNotice: "notice",
	evOperator: "operator", evGone: "gone", evClose: "close", evMore: "more", evPlugin: "",
}

// key is the number of a field on the disk. Numbers are never given anew.
type key uint8

const (
	keyClient key = iota + 1
	keyListener
	keyProxy
	keyTLS
	keyVerb
	keyHelo
	keyMechanism
	keyUser
	keyIdentity
	keyStage
	keyPluginName
	keyGeneration
	keyModule
	keyVerdict
	keyChange
	keyError
	keyOnError
	keyLevel
	keyBy
	keyFrom
	keyTo
	keyReply
	keyStatus
	keyDetail
	keyNextHop
	keyRemoteMTA
	keyRelay
	keyEarlier
)

const (
	keyPlugin key = iota + 128 // its number in the frame
	keySize
	keyRecipients
	keyAttempt
	keyDue // milliseconds since 1970
	keyNotice
	keyCount
	keyTook // microseconds, as are the next two
	keyConnect
	keyTransmit
)

// text is where a text field belongs; nil: it is not known.
func (e *Event) text(k key) *string {
	switch k {
	case keyClient:
		return &e.Client
	case keyListener:
		return &e.Listener
	case keyProxy:
		return &e.Proxy
	case keyTLS:
		return &e.TLS
	case keyVerb:
		return &e.Verb
	case keyHelo:
		return &e.Helo
	case keyMechanism:
		return &e.Mechanism
	case keyUser:
		return &e.User
	case keyIdentity:
		return &e.Identity
	case keyStage:
		return &e.Stage
	case keyPluginName:
		return &e.Plugin
	case keyGeneration:
		return &e.Generation
	case keyModule:
		return &e.Module
	case keyVerdict:
		return &e.Verdict
	case keyError:
		return &e.Error
	case keyOnError:
		return &e.OnError
	case keyLevel:
		return &e.Level
	case keyBy:
		return &e.By
	case keyFrom:
		return &e.From
	case keyReply:
		return &e.Reply
	case keyStatus:
		return &e.Status
	case keyDetail:
		return &e.Detail
	case keyRemoteMTA:
		return &e.RemoteMTA
	case keyRelay:
		return &e.Relay
	}
	return nil
}

func (e *Event) list(k key) *[]string {
	switch k {
	case keyChange:
		return &e.Changes
	case keyTo:
		return &e.To
	case keyNextHop:
		return &e.NextHops
	case keyEarlier:
		return &e.Earlier
	}
	return nil
}

func (e *Event) number(k key, n int64) {
	switch k {
	case keySize:
		e.Size = n
	case keyRecipients:
		e.Recipients = n
	case keyAttempt:
		e.Attempt = n
	case keyDue:
		e.Due = time.UnixMilli(n)
	case keyNotice:
		e.Notice = mail.ID(n).String()
	case keyCount:
		e.Count = n
	case keyTook:
		e.Took = micros(n)
	case keyConnect:
		e.Connect = micros(n)
	case keyTransmit:
		e.Transmit = micros(n)
	}
}

// micros is n microseconds; what no duration can be is none.
func micros(n int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Microsecond)
	if n < 0 || n > most {
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

// Layout of a frame; see the package comment.
const (
	magic       = "wtr1"
	frameHead   = len(magic) + 4 + 4
	payloadHead = 1 + 1 + 8 + 8 + 4 + 8
	maxPayload  = MaxBytes + reserve + payloadHead + 1<<17
	version     = 1
)

// What a frame is about.
const (
	partSession     = 1 // between transactions
	partTransaction = 2
	partItem        = 3 // work on a queue item
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errTorn    = errors.New("trace: a frame breaks off")
	errDamaged = errors.New("trace: a frame is damaged")
)

// frame is a frame without its events.
type frame struct {
	part     uint8
	session  uint64 // 0: none
	message  uint64 // 0: none
	item     uint32
	start    time.Time
	events   []byte
	complete int // octets of the whole frame
}

// readFrame reads the frame at the beginning of b. errTorn: b ends before it does.
func readFrame(b []byte) (f frame, err error) {
	if len(b) < frameHead {
		return f, errTorn
	}
	size := int(binary.LittleEndian.Uint32(b[len(magic):]))
	if string(b[:len(magic)]) != magic || size < payloadHead || size > maxPayload {
		return f, errDamaged
	}
	if len(b) < frameHead+size {
		return f, errTorn
	}
	p := b[frameHead : frameHead+size]
	if crc32.Checksum(p, castagnoli) != binary.LittleEndian.Uint32(b[len(magic)+4:]) {
		return f, errDamaged
	}
	f.complete = frameHead + size
	if p[0] != version {
		return f, nil // of a later server: whole, but nothing that we could read
	}
	f.part = p[1]
	f.session = binary.LittleEndian.Uint64(p[2:])
	f.message = binary.LittleEndian.Uint64(p[10:])
	f.item = binary.LittleEndian.Uint32(p[18:])
	f.start = time.Unix(0, int64(binary.LittleEndian.Uint64(p[22:])))
	f.events = p[payloadHead:]
	return f, nil
}

// decode returns the events of a frame. What does not make sense ends them.
func (f *frame) decode() (list []Event, err error) {
	plugins := make(map[int64]Event)
	for b := f.events; len(b) > 0; {
		if len(b) < 3 {
			return list, errDamaged
		}
		k, size := kind(b[0]), int(binary.LittleEndian.Uint16(b[1:]))
		if len(b) < 3+size {
			return list, errDamaged
		}
		fields := b[3 : 3+size]
		b = b[3+size:]
		if k == 0 || int(k) >= len(kindNames) {
			continue
		}
		e := Event{Event: kindNames[k], Item: f.item}
		if f.session != 0 {
			e.Session = sessionID(f.session)
		}
		if f.message != 0 {
			e.Message = mail.ID(f.message).String()
		}
		at, n := binary.Varint(fields)
		if n <= 0 {
			return list, errDamaged
		}
		e.Time = f.start.Add(micros(at))
		number, ok := e.fields(fields[n:])
		switch {
		case !ok:
			return list, errDamaged
		case k == evPlugin:
			plugins[number] = e
		default:
			if number >= 0 {
				p := plugins[number]
				e.Plugin, e.Generation, e.Module = p.Plugin, p.Generation, p.Module
			}
			list = append(list, e)
		}
	}
	return list, nil
}

// fields reads the fields of an event. plugin is the number of the one that it
// is about; negative: none.
func (e *Event) fields(b []byte) (plugin int64, ok bool) {
	plugin = -1
	for len(b) > 0 {
		k := key(b[0])
		if k >= 128 {
			v, n := binary.Varint(b[1:])
			if n <= 0 {
				return plugin, false
			}
			if b = b[1+n:]; k == keyPlugin {
				plugin = max(v, 0)
			} else {
				e.number(k, v)
			}
			continue
		}
		size, n := binary.Uvarint(b[1:])
		if n <= 0 || size > uint64(len(b)-1-n) {
			return plugin, false
		}
		value := string(b[1+n:][:size])
		b = b[1+n+int(size):]
		if at := e.text(k); at != nil {
			*at = value
		} else if at := e.list(k); at != nil {
			*at = append(*at, value)
		}
	}
	return plugin, true
}

// sessionNumber is a session id as a number; 0: it is none.
func sessionNumber(id string) uint64 {
	var b [8]byte
	if len(id) != 2*len(b) {
		return 0
	}
	if _, err := hex.Decode(b[:], []byte(id)); err != nil {
		return 0
	}
	return binary.BigEndian.Uint64(b[:])
}

func sessionID(n uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return hex.EncodeToString(b[:])
}
