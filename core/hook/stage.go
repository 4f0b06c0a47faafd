package hook

import "strings"

// Stage is a point in the life of a session or message at which plugins are
// asked.
type Stage uint8

const (
	Connect Stage = iota // TCP accepted, before the banner
	TLS                  // after a handshake
	Ehlo                 // every HELO, EHLO, LHLO
	Auth                 // SASL exchange complete
	Command              // VRFY, EXPN, ETRN, HELP, NOOP and unknown verbs
	Mail                 // MAIL FROM
	Rcpt                 // each RCPT TO
	Data                 // DATA or first BDAT, before 354
	Headers              // header section complete, body still arriving
	Message              // content complete, before the final reply
	Reset                // RSET, or a transaction was aborted; verdict ignored
	Close                // end of session; verdict ignored
	Route                // a queue item needs a next hop
	Attempt              // just before a delivery attempt
	Result               // after an attempt
	DSN                  // a notification is about to be made
	Tick                 // timer; verdict ignored

	numStages
)

// stages is the one table of names and allowed verdicts; the ABI's table is
// checked against it.
var stages = [numStages]struct {
	name    string
	allowed actions
}{
	Connect: {"connect", set(Accept, Reject, Defer, Drop)},
	TLS:     {"tls", set(Reject, Drop)},
	Ehlo:    {"ehlo", set(Reject, Defer, Drop)},
	Auth:    {"auth", set(Accept, Reject, Defer)},
	Command: {"command", set(Accept, Reject, Drop)},
	Mail:    {"mail", set(Accept, Reject, Defer, Discard, Hold, Drop)},
	Rcpt:    {"rcpt", set(Accept, Reject, Defer, Discard, Hold, Drop)},
	Data:    {"data", set(Reject, Defer, Drop)},
	Headers: {"headers", set(Accept, Reject, Defer)},
	Message: {"message", set(Accept, Reject, Defer, Discard, Hold)},
	Reset:   {"reset", ignored},
	Close:   {"close", ignored},
	Route:   {"route", set(Accept, Reject, Defer, Discard, Hold)},
	Attempt: {"attempt", set(Accept, Reject, Defer, Hold)},
	Result:  {"result", set(Reject, Defer)},
	DSN:     {"dsn", set(Discard)},
	Tick:    {"tick", ignored},
}

// String is the stage's name, as in the ABI's export mta1_on_NAME.
func (s Stage) String() string {
	if s < numStages {
		return stages[s].name
	}
	return "unknown"
}

// ParseStage is the reverse of [Stage.String].
func ParseStage(name string) (Stage, bool) {
	for s := range numStages {
		if stages[s].name == name {
			return s, true
		}
	}
	return 0, false
}

// AllStages calls f for each stage in order.
func AllStages(f func(Stage)) {
	for s := range numStages {
		f(s)
	}
}

// Allows tells whether a is a verdict of this stage.
func (s Stage) Allows(a Action) bool {
	return s < numStages && a < numActions && stages[s].allowed&(1<<a) != 0
}

// Ignored tells whether the verdict of this stage is disregarded: it reports
// an end, which no answer can change.
func (s Stage) Ignored() bool { return s < numStages && stages[s].allowed == ignored }

// Accepted tells whether the message is already ours at this stage, so that
// nothing may be lost or bounced because a plugin failed.
func (s Stage) Accepted() bool { return s >= Route && s <= DSN }

// StageSet is a set of stages.
type StageSet uint32

// Stages makes a set.
func Stages(list ...Stage) StageSet {
	var t StageSet
	for _, s := range list {
		t |= 1 << s
	}
	return t
}

// Has tells whether s is in the set.
func (t StageSet) Has(s Stage) bool { return t&(1<<s) != 0 }

// String is the names, blank-separated.
func (t StageSet) String() string {
	var names []string
	AllStages(func(s Stage) {
		if t.Has(s) {
			names = append(names, s.String())
		}
	})
	return strings.Join(names, " ")
}

type actions uint16

// ignored allows every action and heeds none.
const ignored actions = 1<<numActions - 1 | 1<<15

func set(list ...Action) actions {
	t := actions(1 << Continue)
	for _, a := range list {
		t |= 1 << a
	}
	return t
}
