package mail

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// BodyType is the BODY parameter of MAIL (RFC 6152, RFC 3030).
type BodyType uint8

const (
	BodyUnspecified BodyType = iota
	Body7Bit
	Body8BitMIME
	BodyBinaryMIME
)

// String is the parameter's value, empty for unspecified.
func (b BodyType) String() string {
	return [...]string{"", "7BIT", "8BITMIME", "BINARYMIME"}[b&3]
}

// Return is the RET parameter of MAIL (RFC 3461 4.3): what of the message a
// DSN brings back.
type Return uint8

const (
	ReturnUnspecified Return = iota
	ReturnFull
	ReturnHeaders
)

// String is the parameter's value, empty for unspecified.
func (r Return) String() string { return [...]string{"", "FULL", "HDRS", ""}[r&3] }

// Notify is the NOTIFY parameter of RCPT (RFC 3461 4.1), a set. Zero means
// that the client did not say, which is FAILURE and DELAY by default.
type Notify uint8

const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// String is the parameter's value, empty for unspecified.
func (n Notify) String() string {
	var s []string
	for i, name := range [...]string{"NEVER", "SUCCESS", "FAILURE", "DELAY"} {
		if n&(1<<i) != 0 {
			s = append(s, name)
		}
	}
	return strings.Join(s, ",")
}

// Wants tells whether a notification of kind is wanted; unspecified means
// failure and delay (RFC 3461 4.1, 5.2.4).
func (n Notify) Wants(kind Notify) bool {
	if n == 0 {
		return kind&(NotifyFailure|NotifyDelay) != 0
	}
	return n&kind != 0
}

// MailParams are the ESMTP parameters of MAIL that the message keeps.
type MailParams struct {
	Size       int64 // octets as declared (RFC 1870); 0: not said
	Body       BodyType
	SMTPUTF8   bool   // RFC 6531
	RequireTLS bool   // RFC 8689
	Return     Return // RFC 3461
	EnvID      string // RFC 3461 ENVID, decoded; printable ASCII, <= 100 octets

	HoldUntil time.Time // RFC 4865: not to be delivered before; zero: at once
	Priority  int8      // RFC 6710 MT-PRIORITY, -9 to 9; 0: normal
	By        DeliverBy // RFC 2852
}

// DeliverBy is the deadline that a client gave with BY (RFC 2852).
type DeliverBy struct {
	Time   time.Time // zero: none was given
	Return bool      // by-mode R: what is late is returned; else (N) the sender is told and it is tried on
	Trace  bool      // by-trace: a relayed notification is wanted where BY ends
}

// RcptParams are the ESMTP parameters of RCPT that the recipient keeps.
type RcptParams struct {
	Notify    Notify
	OrcptType string // RFC 3461 ORCPT, address type, e.g. rfc822; empty: none
	Orcpt     string // decoded; printable, <= 500 octets

	ValidSince         time.Time // RFC 7293 RRVS: the mailbox must have had its owner since; zero: not asked
	ValidSinceContinue bool      // RRVS with ;C: relay also where RRVS is not offered; else (;R) return it
}

// Param is one esmtp-param of MAIL or RCPT: KEYWORD or KEYWORD=value.
type Param struct {
	Keyword  string // upper case
	Value    string
	HasValue bool
}

// ParseMail reads the argument of MAIL FROM:, that is "<path> params", and
// returns a reply of ours if it is not well-formed. allow says whether a
// parameter is offered on this connection: SIZE, BODY, SMTPUTF8, RET, ENVID,
// REQUIRETLS, AUTH, HOLDFOR, HOLDUNTIL, MT-PRIORITY, BY, and BINARYMIME for that
// value of BODY; one that is not offered is refused with 555 5.5.4 (RFC 5321
// 4.1.1.11). Intervals count from now. The limits that a server announces for
// them are the caller's to check.
func ParseMail(arg string, allow func(keyword string) bool) (Path, MailParams, *Reply) {
	var m MailParams
	p, rest, err := ParsePath(arg)
	if err != nil {
		return p, m, NewReply(501, "5.1.7", "Bad reverse-path: "+err.Error())
	}
	if p.Domain == "" && p.Local != "" {
		return p, m, NewReply(501, "5.1.7", "Bad reverse-path: it has no '@' and domain")
	}
	params, err := ParseParams(rest)
	if err != nil {
		return p, m, NewReply(501, "5.5.4", "Bad parameters of MAIL: "+err.Error())
	}
	held := false // by HOLDFOR or HOLDUNTIL, of which there may be one (RFC 4865 4)
	for _, q := range params {
		if !allow(q.Keyword) {
			return p, m, unknownParam()
		}
		ok := true
		switch q.Keyword {
		case "SIZE":
			// Of up to 20 digits; one that is out of our range is the largest in it.
			n, err := strconv.ParseUint(q.Value, 10, 64)
			ok = (err == nil || errors.Is(err, strconv.ErrRange)) && len(q.Value) <= 20
			m.Size = int64(min(n, math.MaxInt64))
		case "BODY":
			switch strings.ToUpper(q.Value) {
			case "7BIT":
				m.Body = Body7Bit
			case "8BITMIME":
				m.Body = Body8BitMIME
			case "BINARYMIME":
				if !allow("BINARYMIME") {
					return p, m, unknownParam()
				}
				m.Body = BodyBinaryMIME
			default:
				ok = false
			}
		case "SMTPUTF8":
			m.SMTPUTF8, ok = true, !q.HasValue
		case "REQUIRETLS":
			m.RequireTLS, ok = true, !q.HasValue
		case "RET":
			switch strings.ToUpper(q.Value) {
			case "FULL":
				m.Return = ReturnFull
			case "HDRS":
				m.Return = ReturnHeaders
			default:
				ok = false
			}
		case "ENVID":
			m.EnvID, ok = DecodeXtext(q.Value)
			ok = ok && m.EnvID != "" && len(m.EnvID) <= 100
		case "AUTH":
			// RFC 4954 5: a server that does not trust the client takes it and
			// forgets it. It must still be well-formed.
			_, ok = DecodeXtext(q.Value)
			ok = ok && q.HasValue
		case "HOLDFOR", "HOLDUNTIL":
			ok = !held
			held = true
			if ok {
				m.HoldUntil, ok = parseHold(q)
			}
		case "MT-PRIORITY":
			m.Priority, ok = parsePriority(q.Value)
		case "BY":
			m.By, ok = parseBy(q.Value)
		default:
			return p, m, unknownParam()
		}
		if !ok {
			return p, m, NewReply(501, "5.5.4", "Bad value of parameter "+q.Keyword)
		}
	}
	if p.NeedsUTF8() && !m.SMTPUTF8 {
		return p, m, NewReply(553, "5.6.7", "The reverse-path needs SMTPUTF8")
	}
	return p, m, nil
}

// ParseRcpt reads the argument of RCPT TO:. See [ParseMail] for allow (NOTIFY,
// ORCPT, RRVS); utf8 says whether the transaction has SMTPUTF8.
func ParseRcpt(arg string, utf8 bool, allow func(keyword string) bool) (Path, RcptParams, *Reply) {
	var r RcptParams
	p, rest, err := ParsePath(arg)
	if err != nil {
		return p, r, NewReply(501, "5.1.3", "Bad forward-path: "+err.Error())
	}
	if p.IsNull() {
		return p, r, NewReply(501, "5.1.3", "Bad forward-path: it is empty")
	}
	params, err := ParseParams(rest)
	if err != nil {
		return p, r, NewReply(501, "5.5.4", "Bad parameters of RCPT: "+err.Error())
	}
	for _, q := range params {
		if !allow(q.Keyword) {
			return p, r, unknownParam()
		}
		ok := true
		switch q.Keyword {
		case "NOTIFY":
			r.Notify, ok = parseNotify(q.Value)
		case "ORCPT":
			var text string
			r.OrcptType, text, ok = strings.Cut(q.Value, ";")
			if ok {
				r.Orcpt, ok = decodeOrcpt(text, utf8)
			}
			ok = ok && isKeyword(r.OrcptType) && r.Orcpt != "" && len(q.Value) <= 500
		case "RRVS":
			// RFC 7293 5.1: date-time [";" ("C" / "R")]
			since, on, has := strings.Cut(q.Value, ";")
			r.ValidSince, ok = parseTime(since)
			r.ValidSinceContinue = strings.EqualFold(on, "C")
			ok = ok && (!has || r.ValidSinceContinue || strings.EqualFold(on, "R"))
		default:
			return p, r, unknownParam()
		}
		if !ok {
			return p, r, NewReply(501, "5.5.4", "Bad value of parameter "+q.Keyword)
		}
	}
	if p.NeedsUTF8() && !utf8 {
		return p, r, NewReply(553, "5.6.7", "The forward-path needs SMTPUTF8")
	}
	return p, r, nil
}

func unknownParam() *Reply {
	return NewReply(555, "5.5.4", "Parameter is not recognized or not offered here")
}

func parseNotify(value string) (Notify, bool) {
	var n Notify
	for word := range strings.SplitSeq(value, ",") {
		var one Notify
		switch strings.ToUpper(word) {
		case "NEVER":
			one = NotifyNever
		case "SUCCESS":
			one = NotifySuccess
		case "FAILURE":
			one = NotifyFailure
		case "DELAY":
			one = NotifyDelay
		default:
			return 0, false
		}
		n |= one
	}
	return n, n&NotifyNever == 0 || n == NotifyNever // NEVER stands alone (RFC 3461 4.1)
}

// parseHold reads HOLDFOR=seconds or HOLDUNTIL=date-time (RFC 4865 5). What is
// over already is not held, and the result is zero.
func parseHold(q Param) (time.Time, bool) {
	until, now := time.Time{}, time.Now()
	ok := false
	if q.Keyword == "HOLDFOR" {
		var n int64
		if n, ok = parseSeconds(q.Value); ok {
			until = now.Add(time.Duration(n) * time.Second)
		}
	} else {
		until, ok = parseTime(q.Value)
	}
	if !until.After(now) {
		return time.Time{}, ok
	}
	return until, ok
}

// parseBy reads by-time ";" by-mode [by-trace] (RFC 2852 4). What is to be
// returned when it is late must have time.
func parseBy(value string) (by DeliverBy, ok bool) {
	seconds, mode, ok := strings.Cut(strings.ToUpper(value), ";")
	if !ok {
		return by, false
	}
	digits := strings.TrimPrefix(seconds, "-")
	if len(digits) == len(seconds) {
		digits = strings.TrimPrefix(seconds, "+")
	}
	n, ok := parseSeconds(digits)
	if strings.HasPrefix(seconds, "-") {
		n = -n
	}
	mode, by.Trace = strings.CutSuffix(mode, "T")
	by.Return = mode == "R"
	if !ok || mode != "R" && mode != "N" || by.Return && n <= 0 {
		return DeliverBy{}, false
	}
	by.Time = time.Now().Add(time.Duration(n) * time.Second)
	return by, true
}

// parseSeconds reads one to nine digits.
func parseSeconds(s string) (int64, bool) {
	if s == "" || len(s) > 9 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// parsePriority reads -9 to 9 as RFC 6710 3 writes it: no "+", no "-0", no
// leading zero.
func parsePriority(s string) (int8, bool) {
	digit, minus := strings.CutPrefix(s, "-")
	if len(digit) != 1 || digit[0] < '0' || digit[0] > '9' || minus && digit == "0" {
		return 0, false
	}
	n := int8(digit[0] - '0')
	if minus {
		n = -n
	}
	return n, true
}

// parseTime reads a date-time of RFC 3339, from 1970 to 9999.
func parseTime(s string) (time.Time, bool) {
	if len(s) > 40 || strings.Contains(s, ",") {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(s))
	t = t.UTC() // whose year may be another
	if err != nil || t.Unix() < 0 || t.Year() > 9999 {
		return time.Time{}, false
	}
	return t, true
}

// maxParams is more than all known extensions have together.
const maxParams = 64

// ParseParams reads what follows the path: blank-separated parameters, each
// keyword at most once (RFC 5321 4.1.2, esmtp-param).
func ParseParams(s string) ([]Param, error) {
	if s == "" {
		return nil, nil
	}
	if s[0] != ' ' {
		return nil, errors.New("a blank must follow the path")
	}
	var params []Param
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ' ' }) {
		key, value, has := strings.Cut(word, "=")
		if len(params) == maxParams {
			return nil, errors.New("there are too many")
		}
		if !isKeyword(key) {
			return nil, errors.New("a keyword has a character other than letters, digits and '-'")
		}
		if has && value == "" {
			return nil, errors.New("a value is empty")
		}
		for i := 0; i < len(value); i++ {
			if c := value[i]; c <= ' ' || c == 0x7f || c == '=' {
				return nil, errors.New("a value has a control character or '='")
			}
		}
		key = strings.ToUpper(key)
		for _, q := range params {
			if q.Keyword == key {
				return nil, errors.New("a keyword is given twice")
			}
		}
		params = append(params, Param{key, value, has})
	}
	return params, nil
}

func isKeyword(s string) bool {
	if s == "" || s[0] == '-' || len(s) > 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '-' && !isAlnum(s[i]) {
			return false
		}
	}
	return true
}

// DecodeXtext decodes xtext (RFC 3461 4). Only printable ASCII and blank may
// come out: CR and LF hidden as +0D+0A have forged queue files elsewhere.
func DecodeXtext(s string) (string, bool) { return decodeXtext(s, false) }

// decodeXtext decodes; with eight, what the escapes stand for may have octets
// above 127.
func decodeXtext(s string, eight bool) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			c = byte(hi<<4 | lo)
			i += 2
			if c < ' ' || c == 0x7f || c > 0x7f && !eight {
				return "", false
			}
		case c < '!' || c > '~' || c == '=':
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

// EncodeXtext encodes s as xtext.
func EncodeXtext(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			b.WriteByte('+')
			b.WriteByte("0123456789ABCDEF"[c>>4])
			b.WriteByte("0123456789ABCDEF"[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// decodeOrcpt takes xtext, and with SMTPUTF8 also plain UTF-8 (RFC 6533 3,
// utf-8-addr-xtext and utf-8-addr-unitext without their \x{} escapes resolved).
// With SMTPUTF8 the octets of UTF-8 may be xtext too: Postfix sends them so.
func decodeOrcpt(s string, utf8 bool) (string, bool) {
	if !utf8 {
		return DecodeXtext(s)
	}
	if isASCII(s) {
		text, ok := decodeXtext(s, true)
		return text, ok && Printable(text) == text
	}
	return s, Printable(s) == s && !strings.ContainsAny(s, " \t")
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F': // lower case is not xtext (RFC 3461 4)
		return int(c-'A') + 10
	}
	return -1
}
