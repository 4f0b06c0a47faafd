// Package abi is the contract between the server and a plugin: names, numbers
// and limits of ABI version 1. README.md beside it says what they mean, clause
// by clause. The host stands on it in hostapi, the guest in sdk; it imports
// nothing, so that it compiles for both sides.
//
// A released number never changes its meaning. New ones are added at the end
// of their range.
package abi

// Version of the contract: the major is the prefix of every name, the minor
// grows with additions.
const (
	Major = 1
	Minor = 0
)

// Module is the import module of the core functions, Memory the export that
// every plugin must have.
const (
	Module = "mta1"
	Memory = "memory"
)

// Exports that are not hooks. ExportPrefix is reserved: an export that begins
// with it and is not in this package is a load error.
const (
	ExportPrefix     = "mta1_"
	ExportInit       = "mta1_init"        // () -> i32, required; 0 is success
	ExportSelftest   = "mta1_on_selftest" // () -> i32, optional; at load
	ExportInitialize = "_initialize"      // () -> (), optional; WASI reactor
)

// HookPrefix and a stage's name make the export of a hook: mta1_on_rcpt.
// Every hook is () -> i32, a verdict.
const HookPrefix = "mta1_on_"

// Hooks are the stages' names in the order of a message's life.
var hooks = [...]string{
	"connect", "tls", "ehlo", "auth", "command", "mail", "rcpt", "data", "headers", "message", "reset", "close",
	"route", "attempt", "result", "dsn", "tick",
}

// Hooks calls f with the name of each hook.
func Hooks(f func(name string)) {
	for _, h := range hooks {
		f(h)
	}
}

// ManifestSection is the custom section that may hold a manifest (JSON).
const ManifestSection = "mta1.manifest"

// ScriptSection is the custom section that may hold what an interpreter runs,
// at most MaxScript octets.
const ScriptSection = "mta1.script"

// Code is the result of a host function; 0 and above is success.
type Code int32

const (
	OK          Code = 0
	Invalid     Code = -1  // an argument is malformed
	NotFound    Code = -2  // there is no such thing
	Denied      Code = -3  // not granted
	State       Code = -4  // not in this hook
	Limit       Code = -5  // a quota is used up
	Timeout     Code = -6  // the host could not answer in time
	Unsupported Code = -7  // unknown field, list, scope, algorithm
	Unavailable Code = -8  // a temporary fault on the host's side
	Conflict    Code = -9  // compare-and-swap: changed meanwhile; or the field may occur once
	TooLarge    Code = -10 // more than the host takes
	BadSig      Code = -11 // the signature does not verify
	NXDomain    Code = -20
	ServFail    Code = -21
	Bogus       Code = -22 // DNSSEC
)

// Error makes a Code an error for Go guests.
func (c Code) Error() string {
	switch c {
	case Invalid:
		return "invalid argument"
	case NotFound:
		return "not found"
	case Denied:
		return "not granted"
	case State:
		return "not possible in this hook"
	case Limit:
		return "limit reached"
	case Timeout:
		return "timed out"
	case Unsupported:
		return "not supported by this host"
	case Unavailable:
		return "temporarily unavailable"
	case Conflict:
		return "conflict"
	case TooLarge:
		return "too large"
	case BadSig:
		return "bad signature"
	case NXDomain:
		return "no such domain"
	case ServFail:
		return "name server failure"
	case Bogus:
		return "DNSSEC validation failed"
	}
	return "other error"
}

// Action is the low octet of a verdict.
type Action uint8

const (
	Continue Action = 0
	Accept   Action = 1
	Reject   Action = 2
	Defer    Action = 3
	Discard  Action = 4
	Hold     Action = 5
	Drop     Action = 6
)

// Flag is the second octet of a verdict.
type Flag uint8

const (
	DetachTransaction Flag = 1
	DetachSession     Flag = 2
	NoReply           Flag = 4 // with Drop
)

// Verdict is what a hook returns: code<<16 | flags<<8 | action.
func Verdict(a Action, f Flag, code int) int32 {
	return int32(uint32(a) | uint32(f)<<8 | uint32(code)<<16)
}

// SplitVerdict is the reverse of [Verdict].
func SplitVerdict(v int32) (a Action, f Flag, code int) {
	return Action(v), Flag(v >> 8), int(uint32(v) >> 16)
}

// Enhanced packs an enhanced status code for reply: class<<20 | subject<<10 | detail.
func Enhanced(class, subject, detail int) int32 {
	return int32(class<<20 | subject<<10 | detail)
}

// SplitEnhanced is the reverse of [Enhanced].
func SplitEnhanced(e int32) (class, subject, detail int) {
	return int(uint32(e) >> 20), int(e>>10) & 0x3ff, int(e) & 0x3ff
}

// Field is a field id for get, get_num, set and set_num.
type Field int32

// The fields. b: octets (get), n: number (get_num), set: may be set. The hooks
// where each exists stand in README.md.
const (
	// connection
	RemoteIP    Field = 0x0101 // b
	RemotePort  Field = 0x0102 // n
	LocalIP     Field = 0x0103 // b
	LocalPort   Field = 0x0104 // n
	Listener    Field = 0x0105 // b, its name in the configuration
	PTRName     Field = 0x0106 // b, forward-confirmed; NotFound: none
	SessionID   Field = 0x0107 // b
	ConnCountIP Field = 0x0108 // n, open connections from this address, or its IPv6 /64
	ProxyIP     Field = 0x0109 // b, the proxy's address if one spoke for the client
	Banner      Field = 0x010a // b set, at connect: the text of the 220 reply

	// HELO and TLS
	Helo            Field = 0x0201 // b
	ESMTP           Field = 0x0202 // n, 1: EHLO or LHLO
	TLS             Field = 0x0203 // n, 1: the connection is encrypted
	TLSVersion      Field = 0x0204 // n, 0x0303 or 0x0304
	TLSCipher       Field = 0x0205 // b
	TLSSNI          Field = 0x0206 // b
	ClientCertFP    Field = 0x0207 // b, SHA-256 in hex
	Extensions      Field = 0x0208 // b set, at ehlo: EHLO keywords, one a line
	ClientCertNames Field = 0x0209 // b, names in the client's certificate if it was verified, one a line

	// authentication
	AuthMech Field = 0x0301 // b, the SASL mechanism
	AuthUser Field = 0x0302 // b, the name that the client gives, or gave when it was authenticated
	AuthPass Field = 0x0303 // b, at auth: the password or token; needs the grant auth_password
	AuthID   Field = 0x0304 // b set, the authenticated identity; at auth: the one asked for

	AuthScram Field = 0x0305 // b set, at auth by SCRAM: the keys of AUTH_USER; needs the grant auth_password

	// transaction
	TxID       Field = 0x0401 // b
	MailFrom   Field = 0x0402 // b set, the reverse-path without brackets; empty: null
	MailSize   Field = 0x0403 // n, SIZE as declared
	MailBody   Field = 0x0404 // n, 0 unspecified 1 7BIT 2 8BITMIME 3 BINARYMIME
	SMTPUTF8   Field = 0x0405 // n
	RequireTLS Field = 0x0406 // n
	DSNRet     Field = 0x0407 // n, 0 unspecified 1 FULL 2 HDRS
	DSNEnvid   Field = 0x0408 // b
	RcptCount  Field = 0x0409 // n
	CurRcpt    Field = 0x040a // n, index into list RCPT
	SizeLimit  Field = 0x040b // n set, at data: octets, may be lowered
	Verb       Field = 0x040c // b, at command
	Argument   Field = 0x040d // b, at command
	Reason     Field = 0x040e // b, at reset and close

	HoldUntil     Field = 0x040f // n, of FUTURERELEASE: ms since 1970; NotFound: at once
	DeliverBy     Field = 0x0410 // n, of BY: ms since 1970; NotFound: no deadline
	DeliverByMode Field = 0x0411 // n, 1 N 2 R; NotFound: no deadline
	MTPriority    Field = 0x0412 // b, of MT-PRIORITY: -9 to 9 in decimal

	// message
	MsgSize       Field = 0x0501 // n, octets of the content
	BodySize      Field = 0x0502 // n
	RawHeaders    Field = 0x0503 // b, the header block
	HeaderCount   Field = 0x0504 // n
	ReceivedCount Field = 0x0505 // n
	MsgID         Field = 0x0506 // b, the Message-ID field's value
	Tenant        Field = 0x0507 // b
	SPFResult     Field = 0x0508 // b
	DKIMResult    Field = 0x0509 // b
	DMARCResult   Field = 0x050a // b
	ARCResult     Field = 0x050b // b

	// queue
	QueueID     Field = 0x0601 // b
	Domain      Field = 0x0602 // b, of the recipients
	Attempt     Field = 0x0603 // n, 1 for the first
	FirstQueued Field = 0x0604 // n, ms since 1970
	LastCode    Field = 0x0605 // n, of the last remote reply; 0 none
	LastText    Field = 0x0606 // b
	LastMX      Field = 0x0607 // b
	NextRetry   Field = 0x0608 // n set, ms since 1970
	Expire      Field = 0x0609 // n set, ms since 1970
	Priority    Field = 0x060a // n set, higher first; 0 normal
	Pool        Field = 0x060b // b set
	TLSPolicy   Field = 0x060c // n set, 0 opportunistic 1 none 2 encrypt 3 verify
	Transport   Field = 0x060d // b set, a next hop as the configuration writes it: smtp:HOST:PORT, lmtp:..., maildir:..., mx, discard
	EhloName    Field = 0x060e // b set
	SourceIP    Field = 0x060f // b set, local address to connect from

	SuspendUntil Field = 0x0610 // n set, at result: ms since 1970, until when nothing is sent to the next hop
	DSNAction    Field = 0x0611 // b, of the notification: failed, delayed, delivered
	DSNTo        Field = 0x0612 // b set, whom the notification is for
	DSNText      Field = 0x0613 // b set, its text for people

	// plugin
	Plugin     Field = 0x0701 // b
	Generation Field = 0x0702 // b
	HostVer    Field = 0x0703 // b
	HostMinor  Field = 0x0704 // n
	FuelLeft   Field = 0x0705 // n
	WallLeft   Field = 0x0706 // n, ms
	MemLimit   Field = 0x0707 // n, octets
	Shadow     Field = 0x0708 // n
	DNSTTL     Field = 0x0709 // n
	DNSAD      Field = 0x070a // n
	Script     Field = 0x070b // b, the section ScriptSection of the module
)

// List is a list id for the list functions.
type List int32

const (
	ListRcpt     List = 1 // recipients
	ListHeader   List = 2 // header fields
	ListRoute    List = 3 // next hops
	ListAttempt  List = 4 // past attempts, oldest first
	ListReceived List = 5 // the Received fields
)

// ListField is the field of a list element.
type ListField int32

const (
	RcptAddr     ListField = 1 // b set
	RcptOrcpt    ListField = 2 // b
	RcptNotify   ListField = 3 // n, 1 NEVER 2 SUCCESS 4 FAILURE 8 DELAY, a sum; 0 not said
	RcptLocal    ListField = 4 // b, unquoted local part
	RcptDomain   ListField = 5 // b, lower case, A-labels
	RcptOriginal ListField = 6 // b, before a rewrite
	RcptStatus   ListField = 7 // n, at result and dsn: 0 deferred 1 delivered 2 failed

	RcptValidSince ListField = 8 // n, of RRVS: ms since 1970; NotFound: not asked

	HeaderName  ListField = 1 // b
	HeaderValue ListField = 2 // b set, unfolded
	HeaderRaw   ListField = 3 // b, with folds and CRLF

	RouteHost ListField = 1 // b
	RoutePort ListField = 2 // n
	RoutePref ListField = 3 // n

	AttemptTime  ListField = 1 // n, ms since 1970
	AttemptRelay ListField = 2 // b
	AttemptCode  ListField = 3 // n
	AttemptText  ListField = 4 // b
)

// Scope is an attribute's lifetime.
type Scope int32

const (
	ScopeSession     Scope = 0
	ScopeTransaction Scope = 1
	ScopeMessage     Scope = 2
	ScopeRecipient   Scope = 3
)

// Log levels.
const (
	LogDebug int32 = 0
	LogInfo  int32 = 1
	LogWarn  int32 = 2
	LogError int32 = 3
)

// Features for the function feature: 1 if supported and granted.
const (
	FeatureEnvelopeWrite int32 = 1
	FeatureHeadersRead   int32 = 2
	FeatureHeadersWrite  int32 = 3
	FeatureBodyRead      int32 = 4
	FeatureBodyWrite     int32 = 5
	FeatureKV            int32 = 16
	FeatureDNS           int32 = 17
	FeatureHTTP          int32 = 18
	FeatureCrypto        int32 = 19
	FeatureTable         int32 = 20
	FeatureEvent         int32 = 21
)

// Limits of one hook call.
const (
	MaxHostCalls   = 10_000
	MaxHeaderEdits = 64
	MaxHeaderBytes = 256 << 10 // added by edits
	MaxLogLine     = 4 << 10
	MaxLogLines    = 32
	MaxKey         = 512
	MaxAttrValue   = 16 << 10
	MaxConfig      = 1 << 20
	MaxScript      = 1 << 20
	MaxEdits       = 256   // changes of fields, attributes and next hops
	MaxRcptEdits   = 1_000 // changes of recipients
	MaxBodyEdits   = 8_192 // calls of body_write and body_splice
	MaxAttrs       = 1_000 // attributes in one scope, of all plugins
)
