package plugintest

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/wasmta/wasmta/hostapi/abi"
)

// host answers the functions of the contract for one call. It checks in the
// server's order: known, granted, possible here, within limits, well-formed.
type host struct {
	p      *Plugin
	s      *Session
	hook   hook
	inHook bool // false: mta1_init

	reply                                   *reply
	calls, lines, edits, rcpts, fields, add int
	body                                    newBody
	used                                    memoryCall
	network
}

type reply struct {
	code           int
	enhanced, text string
}

func (h *host) count() {
	if h.calls++; h.calls > abi.MaxHostCalls {
		panic(fmt.Sprintf("more than %d host calls in one hook", abi.MaxHostCalls))
	}
}

func (h *host) at(set hookSet) bool { return h.inHook && h.hook.in(set) }

func grants(have string, write bool) bool { return have == "write" || have == "read" && !write }

func give(buf []byte, s string) int32 {
	if len(s) <= len(buf) {
		copy(buf, s)
	}
	return int32(len(s))
}

func giveOr(buf []byte, s string) int32 {
	if s == "" {
		return int32(abi.NotFound)
	}
	return give(buf, s)
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Get is the function get.
func (h *host) Get(f abi.Field, buf []byte) int32 {
	h.count()
	s, d := h.s, h.s.delivery
	switch f {
	case abi.Plugin:
		return give(buf, h.p.o.Name)
	case abi.Generation:
		return give(buf, "test")
	case abi.HostVer:
		return give(buf, "plugintest")
	case abi.Script:
		return giveOr(buf, h.p.o.Script)
	}
	set, ok := textFields[f]
	if !ok {
		return int32(abi.Unsupported)
	}
	if (f == abi.RawHeaders || f == abi.MsgID) && !grants(h.p.o.Grant.Headers, false) {
		return int32(abi.Denied)
	}
	if (f == abi.AuthPass || f == abi.AuthScram) && !h.p.o.Grant.AuthPassword {
		return int32(abi.Denied)
	}
	if !h.at(set) {
		return int32(abi.State)
	}
	switch f {
	case abi.RemoteIP:
		return giveOr(buf, s.RemoteIP)
	case abi.LocalIP:
		return giveOr(buf, s.LocalIP)
	case abi.Listener:
		return giveOr(buf, s.Listener)
	case abi.PTRName:
		return giveOr(buf, s.PTR)
	case abi.SessionID:
		return giveOr(buf, s.ID)
	case abi.Banner:
		return give(buf, s.view.banner)
	case abi.Helo:
		return giveOr(buf, s.Helo)
	case abi.Extensions:
		return give(buf, strings.Join(s.view.extensions, "\n"))
	case abi.ProxyIP:
		return giveOr(buf, s.ProxyIP)
	case abi.ClientCertNames:
		return giveOr(buf, strings.Join(s.CertificateNames, "\n"))
	case abi.AuthMech, abi.AuthUser, abi.AuthID, abi.AuthPass, abi.AuthScram:
		return giveOr(buf, h.identity(f))
	case abi.Verb:
		return giveOr(buf, s.verb)
	case abi.Argument:
		return give(buf, s.arg)
	case abi.Reason:
		return give(buf, s.reason)
	case abi.TxID:
		return give(buf, "t"+strconv.Itoa(s.transaction))
	case abi.MailFrom:
		return give(buf, s.view.reversePath)
	case abi.DSNEnvid:
		return int32(abi.NotFound)
	case abi.MTPriority:
		return give(buf, "0")
	case abi.RawHeaders:
		return give(buf, s.view.rawHeader())
	case abi.MsgID:
		return giveOr(buf, s.Header("Message-ID"))
	case abi.QueueID:
		return give(buf, "Q"+strconv.Itoa(s.transaction))
	case abi.Domain:
		return giveOr(buf, d.Domain)
	case abi.LastText:
		return giveOr(buf, d.Text)
	case abi.LastMX:
		return giveOr(buf, d.MX)
	case abi.DSNAction:
		return give(buf, d.action)
	case abi.DSNTo:
		return give(buf, s.view.dsnTo)
	case abi.DSNText:
		return give(buf, s.view.dsnText)
	}
	if len(s.view.nextHops) == 0 {
		return int32(abi.NotFound)
	}
	n := s.view.nextHops[0]
	switch f {
	case abi.EhloName:
		return giveOr(buf, n.helo)
	case abi.SourceIP:
		return giveOr(buf, n.source)
	}
	return give(buf, n.to) // abi.Transport
}

// identity is who the client is: at auth what it says of itself.
func (h *host) identity(f abi.Field) string {
	s, now := h.s, h.hook == auth
	switch {
	case f == abi.AuthScram:
		return s.view.scram
	case f == abi.AuthPass:
		if scram(s.credentials.Mechanism) {
			return ""
		}
		return s.credentials.Password
	case f == abi.AuthMech && now:
		return s.credentials.Mechanism
	case f == abi.AuthMech:
		return s.AuthMechanism
	case f == abi.AuthUser && now:
		return s.credentials.User
	case f == abi.AuthUser:
		return s.AuthUser
	case now && s.view.authID != "":
		return s.view.authID
	case now:
		return s.credentials.AuthzID
	}
	return s.AuthID
}

var textFields = map[abi.Field]hookSet{
	abi.RemoteIP: inAll, abi.LocalIP: inAll, abi.Listener: inAll, abi.PTRName: inAll, abi.SessionID: inAll,
	abi.Banner: hooks(connect), abi.Helo: inAll, abi.Extensions: hooks(ehlo), abi.AuthUser: inAll, abi.AuthID: inAll,
	abi.AuthMech: inAll, abi.AuthPass: hooks(auth), abi.AuthScram: hooks(auth), abi.ClientCertNames: inSession, abi.ProxyIP: inSession,
	abi.Verb: hooks(ehlo, auth, command), abi.Argument: hooks(ehlo, auth, command), abi.Reason: hooks(reset, closing),
	abi.TxID: inTx, abi.MailFrom: inTx, abi.DSNEnvid: inTx, abi.MTPriority: inTx, abi.RawHeaders: inHeader, abi.MsgID: inHeader,
	abi.QueueID: delivering, abi.Domain: delivering, abi.LastText: delivering, abi.LastMX: delivering,
	abi.Transport: delivering, abi.EhloName: delivering, abi.SourceIP: delivering,
	abi.DSNAction: hooks(dsn), abi.DSNTo: hooks(dsn), abi.DSNText: hooks(dsn),
}

var numberFields = map[abi.Field]hookSet{
	abi.RemotePort: inAll, abi.LocalPort: inAll, abi.ESMTP: inAll, abi.TLS: inAll, abi.TLSVersion: inAll, abi.ConnCountIP: inSession,
	abi.MailSize: inTx, abi.MailBody: inTx, abi.SMTPUTF8: inTx, abi.RequireTLS: inTx, abi.DSNRet: inTx,
	abi.HoldUntil: inTx, abi.DeliverBy: inTx, abi.DeliverByMode: inTx,
	abi.RcptCount: inTx, abi.CurRcpt: hooks(rcpt), abi.SizeLimit: transaction,
	abi.MsgSize: inContent, abi.BodySize: inContent, abi.HeaderCount: inHeader, abi.ReceivedCount: inHeader,
	abi.Attempt: delivering, abi.FirstQueued: delivering, abi.LastCode: delivering, abi.NextRetry: delivering,
	abi.Expire: delivering, abi.Priority: delivering, abi.TLSPolicy: delivering, abi.SuspendUntil: hooks(result),
}

// GetNum is the function get_num.
func (h *host) GetNum(f abi.Field) int64 {
	h.count()
	s, d := h.s, h.s.delivery
	switch f {
	case abi.HostMinor:
		return abi.Minor
	case abi.Shadow:
		return 0
	case abi.DNSTTL, abi.DNSAD:
		return h.lastAnswer(f)
	}
	set, ok := numberFields[f]
	if !ok {
		return int64(abi.Unsupported)
	}
	if !h.at(set) {
		return int64(abi.State)
	}
	switch f {
	case abi.RemotePort:
		return int64(s.RemotePort)
	case abi.LocalPort:
		return int64(s.LocalPort)
	case abi.ESMTP:
		return bit(s.ESMTP)
	case abi.TLS:
		return bit(s.TLS)
	case abi.TLSVersion:
		if !s.TLS {
			return int64(abi.NotFound)
		}
		return 0x0304
	case abi.ConnCountIP:
		return int64(s.Connections)
	case abi.MailSize:
		return s.DeclaredSize
	case abi.SMTPUTF8:
		return bit(s.SMTPUTF8)
	case abi.HoldUntil, abi.DeliverBy, abi.DeliverByMode:
		return int64(abi.NotFound)
	case abi.RcptCount:
		return int64(len(s.view.recipients))
	case abi.CurRcpt:
		return int64(s.current)
	case abi.SizeLimit:
		return s.view.sizeLimit
	case abi.MsgSize:
		return int64(len(s.view.rawHeader()) + len(s.body))
	case abi.BodySize:
		return int64(len(s.body))
	case abi.HeaderCount:
		return int64(len(s.view.header))
	case abi.ReceivedCount:
		n := int64(0)
		for i := s.view.findHeader(0, "Received"); i >= 0; i = s.view.findHeader(i+1, "Received") {
			n++
		}
		return n
	case abi.Attempt:
		return int64(d.Attempt)
	case abi.FirstQueued:
		return h.p.o.Now
	case abi.LastCode:
		return int64(d.Code)
	case abi.NextRetry:
		if s.view.retry == 0 {
			return int64(abi.NotFound)
		}
		return s.view.retry
	case abi.SuspendUntil:
		if s.view.suspend == 0 {
			return int64(abi.NotFound)
		}
		return s.view.suspend
	case abi.Expire:
		return s.view.expire
	case abi.Priority:
		return s.view.priority
	case abi.TLSPolicy:
		if len(s.view.nextHops) == 0 {
			return int64(abi.NotFound)
		}
		return s.view.nextHops[0].tls
	}
	return 0
}

// change checks what every change of a field needs.
func (h *host) change(f abi.Field, set hookSet) abi.Code {
	switch {
	case f == abi.AuthScram && !h.p.o.Grant.AuthPassword:
		return abi.Denied
	case f == abi.AuthScram, f == abi.AuthID && h.p.o.Grant.AuthPassword:
	case !grants(h.p.o.Grant.Envelope, true):
		return abi.Denied
	}
	switch {
	case !h.at(set):
		return abi.State
	}
	return h.countEdit()
}

func (h *host) countEdit() abi.Code {
	if h.edits >= abi.MaxEdits {
		return abi.Limit
	}
	h.edits++
	return abi.OK
}

var settable = map[abi.Field]hookSet{
	abi.Banner: hooks(connect), abi.Extensions: hooks(ehlo), abi.MailFrom: transaction,
	abi.DSNTo: hooks(dsn), abi.DSNText: hooks(dsn), abi.Transport: hooks(route, result), abi.EhloName: routing, abi.SourceIP: routing,
	abi.AuthID: hooks(auth), abi.AuthScram: hooks(auth),
}

// scramKeys is roughly what the server takes for keys of SCRAM.
var scramKeys = regexp.MustCompile(`^(SCRAM-SHA-256\$[1-9][0-9]{3,6}:[0-9A-Za-z+/]{11,88}=*\$[0-9A-Za-z+/]{43}=:|` +
	`\{SCRAM-SHA-256\}[1-9][0-9]{3,6},[0-9A-Za-z+/]{11,88}=*,[0-9A-Za-z+/]{43}=,)[0-9A-Za-z+/]{43}=$`)

func scram(mechanism string) bool { return strings.HasPrefix(mechanism, "SCRAM-SHA-256") }

// Set is the function set.
func (h *host) Set(f abi.Field, value string) int32 {
	h.count()
	set, ok := settable[f]
	if !ok {
		return int32(abi.Unsupported)
	}
	if code := h.change(f, set); code < 0 {
		return int32(code)
	}
	v := &h.s.view
	switch f {
	case abi.Banner:
		if value == "" || !printable(value) {
			return int32(abi.Invalid)
		}
		v.banner = value
	case abi.Extensions:
		v.extensions = strings.Split(strings.TrimSuffix(value, "\n"), "\n")
	case abi.AuthID:
		if len(value) > 255 {
			return int32(abi.TooLarge)
		}
		if value == "" || !printable(value) {
			return int32(abi.Invalid)
		}
		v.authID = value
	case abi.AuthScram:
		switch {
		case !scramKeys.MatchString(value):
			return int32(abi.Invalid)
		case !scram(h.s.credentials.Mechanism):
			return int32(abi.State)
		}
		v.scram = value
	case abi.MailFrom:
		if value != "" && !mailbox(value, h.s.SMTPUTF8) {
			return int32(abi.Invalid)
		}
		v.reversePath = value
	case abi.DSNTo:
		if !mailbox(value, h.s.SMTPUTF8) {
			return int32(abi.Invalid)
		}
		v.dsnTo = value
	case abi.DSNText:
		if !printable(strings.ReplaceAll(value, "\n", "")) {
			return int32(abi.Invalid)
		}
		v.dsnText = value
	case abi.Transport:
		if !validNextHop(value) {
			return int32(abi.Invalid)
		}
		v.nextHops = []nextHop{{to: value}}
	default:
		if value == "" || !printable(value) || strings.Contains(value, " ") {
			return int32(abi.Invalid)
		}
		if len(v.nextHops) == 0 {
			return int32(abi.State)
		}
		for i := range v.nextHops {
			if f == abi.EhloName {
				v.nextHops[i].helo = value
			} else {
				v.nextHops[i].source = value
			}
		}
	}
	return 0
}

// validNextHop is a rough check of what the configuration takes as a "to".
func validNextHop(s string) bool {
	kind, arg, more := strings.Cut(s, ":")
	if !printable(s) || slices.Contains(strings.Split(s, "/"), "..") {
		return false
	}
	switch kind {
	case "discard":
		return !more
	case "mx":
		return !strings.Contains(arg, "/")
	case "smtp":
		return arg != "" && !strings.ContainsAny(arg, " /@")
	case "lmtp":
		return arg != ""
	case "maildir":
		return strings.HasPrefix(arg, "/") || strings.HasPrefix(arg, "./")
	}
	return false
}

// SetNum is the function set_num.
func (h *host) SetNum(f abi.Field, value int64) int32 {
	h.count()
	edits := hooks(route, attempt, result)
	set, ok := map[abi.Field]hookSet{
		abi.SizeLimit: hooks(data), abi.NextRetry: edits, abi.Expire: edits, abi.Priority: edits, abi.TLSPolicy: routing, abi.SuspendUntil: hooks(result),
	}[f]
	if !ok {
		return int32(abi.Unsupported)
	}
	if code := h.change(f, set); code < 0 {
		return int32(code)
	}
	v := &h.s.view
	switch f {
	case abi.SizeLimit:
		if value < 0 {
			return int32(abi.Invalid)
		}
		if value > v.sizeLimit {
			return int32(abi.Limit)
		}
		v.sizeLimit = value
	case abi.NextRetry, abi.Expire:
		if value <= 0 {
			return int32(abi.Invalid)
		}
		if f == abi.Expire {
			v.expire = value
		} else {
			v.retry = value
		}
	case abi.SuspendUntil:
		if value <= 0 || value > h.p.Now+24*3600*1000 {
			return int32(abi.Invalid)
		}
		v.suspend = value
	case abi.Priority:
		if value < 0 || value > 1000 {
			return int32(abi.Invalid)
		}
		v.priority = value
	case abi.TLSPolicy:
		if value < 0 || value > 3 {
			return int32(abi.Invalid)
		}
		if len(v.nextHops) == 0 {
			return int32(abi.State)
		}
		for i := range v.nextHops {
			v.nextHops[i].tls = value
		}
	}
	return 0
}

// list checks what every use of a list needs and returns its length.
func (h *host) list(l abi.List, write bool) (int, abi.Code) {
	switch l {
	case abi.ListRcpt:
		if write && !grants(h.p.o.Grant.Envelope, true) {
			return 0, abi.Denied
		}
		if !h.at(inTx) {
			return 0, abi.State
		}
		return len(h.s.view.recipients), abi.OK
	case abi.ListHeader:
		if !grants(h.p.o.Grant.Headers, write) {
			return 0, abi.Denied
		}
		if !h.at(inHeader) || !h.s.hasContent {
			return 0, abi.State
		}
		return len(h.s.view.header), abi.OK
	}
	return 0, abi.Unsupported
}

func (h *host) element(l abi.List, i int32, write bool) abi.Code {
	n, code := h.list(l, write)
	if code == abi.OK && (i < 0 || int(i) >= n) {
		return abi.NotFound
	}
	return code
}

// edit counts a change of a list that adds size octets, and checks the hook.
func (h *host) edit(l abi.List, size int) abi.Code {
	if l == abi.ListRcpt {
		if h.rcpts >= abi.MaxRcptEdits {
			return abi.Limit
		}
		h.rcpts++
		if !h.at(rcptEdits) {
			return abi.State
		}
		return abi.OK
	}
	if h.fields >= abi.MaxHeaderEdits || h.add+size > abi.MaxHeaderBytes {
		return abi.Limit
	}
	h.fields++
	h.add += size
	if !h.at(headerEdits) {
		return abi.State
	}
	return abi.OK
}

// ListLen is the function list_len.
func (h *host) ListLen(l abi.List) int32 {
	h.count()
	n, code := h.list(l, false)
	if code < 0 {
		return int32(code)
	}
	return int32(n)
}

// ListGet is the function list_get.
func (h *host) ListGet(l abi.List, i int32, f abi.ListField, buf []byte) int32 {
	h.count()
	if code := h.element(l, i, false); code < 0 {
		return int32(code)
	}
	if l == abi.ListHeader {
		x := h.s.view.header[i]
		switch f {
		case abi.HeaderName:
			return give(buf, x.name())
		case abi.HeaderValue:
			return give(buf, x.value())
		case abi.HeaderRaw:
			return give(buf, string(x))
		}
		return int32(abi.Unsupported)
	}
	r := h.s.view.recipients[i]
	local, domain := splitPath(r.path)
	switch f {
	case abi.RcptAddr:
		return give(buf, r.path)
	case abi.RcptLocal:
		if q, err := strconv.Unquote(local); err == nil && strings.HasPrefix(local, `"`) {
			local = q
		}
		return give(buf, local)
	case abi.RcptDomain:
		return give(buf, domain)
	case abi.RcptOriginal:
		return giveOr(buf, r.original)
	case abi.RcptOrcpt:
		return int32(abi.NotFound)
	}
	return int32(abi.Unsupported)
}

// ListNum is the function list_num.
func (h *host) ListNum(l abi.List, i int32, f abi.ListField) int64 {
	h.count()
	if l == abi.ListHeader {
		return int64(abi.Unsupported)
	}
	if code := h.element(l, i, false); code < 0 {
		return int64(code)
	}
	switch f {
	case abi.RcptNotify:
		return 0
	case abi.RcptValidSince:
		return int64(abi.NotFound)
	case abi.RcptStatus:
		if !h.at(hooks(result)) {
			return int64(abi.State)
		}
		switch h.s.delivery.Code / 100 {
		case 2:
			return 1
		case 5:
			return 2
		}
		return 0
	}
	return int64(abi.Unsupported)
}

// ListSet is the function list_set.
func (h *host) ListSet(l abi.List, i int32, f abi.ListField, value string) int32 {
	h.count()
	if code := h.element(l, i, true); code < 0 {
		return int32(code)
	}
	if code := h.edit(l, len(value)); code < 0 {
		return int32(code)
	}
	v := &h.s.view
	if l == abi.ListHeader {
		if f != abi.HeaderValue {
			return int32(abi.Unsupported)
		}
		x, code := h.makeField(v.header[i].name(), value)
		if code == abi.OK {
			v.header[i] = x
		}
		return int32(code)
	}
	if f != abi.RcptAddr {
		return int32(abi.Unsupported)
	}
	if !mailbox(value, h.s.SMTPUTF8) {
		return int32(abi.Invalid)
	}
	r := &v.recipients[i]
	if r.original == "" {
		r.original = r.path
	}
	r.path = value
	return 0
}

// ListInsert is the function list_insert.
func (h *host) ListInsert(l abi.List, i int32, value string) int32 {
	h.count()
	n, code := h.list(l, true)
	if code < 0 {
		return int32(code)
	}
	if i == -1 {
		i = int32(n)
	}
	if i < 0 || int(i) > n {
		return int32(abi.NotFound)
	}
	if code := h.edit(l, len(value)); code < 0 {
		return int32(code)
	}
	v := &h.s.view
	if l == abi.ListHeader {
		name, text, ok := strings.Cut(value, ":")
		if !ok {
			return int32(abi.Invalid)
		}
		x, code := h.makeField(name, text)
		if code < 0 {
			return int32(code)
		}
		if strings.Contains(once, " "+strings.ToLower(name)+" ") && v.findHeader(0, name) >= 0 {
			return int32(abi.Conflict)
		}
		v.header = slices.Insert(v.header, int(i), x)
		return 0
	}
	if int(i) != n || !mailbox(value, h.s.SMTPUTF8) {
		return int32(abi.Invalid)
	}
	r := recipient{path: value}
	if h.at(hooks(rcpt)) {
		r.original = v.recipients[h.s.current].path
	}
	v.recipients = append(v.recipients, r)
	return 0
}

// once are the fields that may occur once (RFC 5322 3.6).
const once = " date from sender reply-to to cc bcc message-id in-reply-to references subject "

func (h *host) makeField(name, value string) (field, abi.Code) {
	value = strings.Trim(value, " \t")
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f {
			return "", abi.Invalid
		}
	}
	if name == "" || len(name) > 76 || !printable(strings.ReplaceAll(value, "\t", " ")) {
		return "", abi.Invalid
	}
	for _, c := range []byte(value) {
		if c >= 0x80 && !h.s.SMTPUTF8 {
			return "", abi.Invalid
		}
	}
	return field(name + ": " + value + "\r\n"), abi.OK
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd })
}

// ListRemove is the function list_remove.
func (h *host) ListRemove(l abi.List, i int32) int32 {
	h.count()
	if code := h.element(l, i, true); code < 0 {
		return int32(code)
	}
	if code := h.edit(l, 0); code < 0 {
		return int32(code)
	}
	v := &h.s.view
	if l == abi.ListHeader {
		v.header = slices.Delete(v.header, int(i), int(i)+1)
		return 0
	}
	if h.at(hooks(rcpt)) {
		if int(i) == h.s.current {
			return int32(abi.State)
		}
		if int(i) < h.s.current {
			h.s.current--
		}
	}
	v.recipients = slices.Delete(v.recipients, int(i), int(i)+1)
	return 0
}

// ListFind is the function list_find.
func (h *host) ListFind(l abi.List, from int32, key string) int32 {
	h.count()
	n, code := h.list(l, false)
	if code < 0 {
		return int32(code)
	}
	if from < 0 {
		return int32(abi.Invalid)
	}
	for i := int(from); i < n; i++ {
		if l == abi.ListHeader && strings.EqualFold(h.s.view.header[i].name(), key) ||
			l == abi.ListRcpt && strings.EqualFold(h.s.view.recipients[i].path, key) {
			return int32(i)
		}
	}
	return int32(abi.NotFound)
}

// Reply is the function reply.
func (h *host) Reply(code, enhanced int32, text string) int32 {
	h.count()
	if !h.inHook || h.hook.in(ignored) {
		return int32(abi.State)
	}
	if len(text) > 8<<10 {
		return int32(abi.TooLarge)
	}
	if code != 0 && (code < 200 || code > 599 || code/100 == 3) {
		return int32(abi.Invalid)
	}
	r := &reply{code: int(code)}
	if enhanced != 0 {
		class, subject, detail := abi.SplitEnhanced(enhanced)
		if class != 2 && class != 4 && class != 5 || code != 0 && class != int(code)/100 || subject > 999 || detail > 999 {
			return int32(abi.Invalid)
		}
		r.enhanced = fmt.Sprintf("%d.%d.%d", class, subject, detail)
	}
	r.text = strings.Map(func(c rune) rune {
		if c < ' ' && c != '\n' && c != '\t' || c == 0x7f {
			return -1
		}
		return c
	}, text)
	h.reply = r
	return 0
}

// BodyRead is the function body_read.
func (h *host) BodyRead(off int64, buf []byte) int32 {
	h.count()
	switch {
	case !grants(h.p.o.Grant.Body, false):
		return int32(abi.Denied)
	case !h.at(inContent) || !h.s.hasContent:
		return int32(abi.State)
	case off < 0:
		return int32(abi.Invalid)
	case off >= int64(len(h.s.body)):
		return 0
	}
	return int32(copy(buf, h.s.body[off:]))
}

// newBody is a body that the plugin writes.
type newBody struct {
	text           strings.Builder
	begun, givenUp bool
	edits          int
}

// BodyWrite is the function body_write.
func (h *host) BodyWrite(data string) int32 { return h.append(data, abi.OK) }

// BodySplice is the function body_splice.
func (h *host) BodySplice(off, n int64) int32 {
	size := int64(len(h.s.body))
	if n == -1 && off >= 0 && off <= size {
		n = size - off
	}
	if off < 0 || n < 0 || off > size || n > size-off {
		return h.append("", abi.Invalid)
	}
	return h.append(h.s.body[off:off+n], abi.OK)
}

// append adds to the new body, unless fault says what is wrong with the
// arguments.
func (h *host) append(data string, fault abi.Code) int32 {
	h.count()
	b := &h.body
	switch {
	case !grants(h.p.o.Grant.Body, true):
		return int32(abi.Denied)
	case !h.at(hooks(message)) || !h.s.hasContent || b.givenUp:
		return int32(abi.State)
	}
	b.begun = true
	text := b.text.String() + data
	switch b.edits++; {
	case b.edits > abi.MaxBodyEdits:
		fault = abi.Limit
	case fault != abi.OK:
	case !lines(strings.TrimSuffix(text, "\r")):
		fault = abi.Invalid
	case int64(len(h.s.view.rawHeader())+len(text)) > h.s.view.sizeLimit:
		fault = abi.TooLarge
	default:
		b.text.WriteString(data)
	}
	b.givenUp = fault != abi.OK
	return int32(fault)
}

// lines tells whether a text is one of SMTP: no NUL, and CR and LF only
// together.
func lines(text string) bool {
	return !strings.ContainsAny(strings.ReplaceAll(text, "\r\n", ""), "\r\n\x00")
}

// keep makes the new body, if there is one, that of the message.
func (b *newBody) keep(s *Session) error {
	if !b.begun || b.givenUp {
		return nil
	}
	text := b.text.String()
	if !lines(text) {
		return fmt.Errorf("the body that it wrote ends in the middle of a line end")
	}
	if text != "" && !strings.HasSuffix(text, "\r\n") {
		text += "\r\n"
	}
	s.body = text
	return nil
}

// attrs is where the attributes of a scope are; nil: not here.
func (s *Session) attrs(scope abi.Scope) *map[string]string {
	switch {
	case scope == abi.ScopeSession && s.delivery == nil && !s.ticking:
		return &s.view.attrs[scope]
	case (scope == abi.ScopeTransaction || scope == abi.ScopeMessage) && s.inTx:
		return &s.view.attrs[scope]
	case scope == abi.ScopeRecipient && s.inTx && s.current < len(s.view.recipients):
		return &s.view.recipients[s.current].attrs
	}
	return nil
}

// attr checks a use of an attribute and returns where it is.
func (h *host) attr(scope abi.Scope, key string, write bool) (m *map[string]string, name string, code abi.Code) {
	if scope < abi.ScopeSession || scope > abi.ScopeRecipient {
		return nil, "", abi.Unsupported
	}
	owner, _, foreign := strings.Cut(key, "/")
	if key == "" || len(key) > abi.MaxKey || !printable(key) || foreign && write {
		return nil, "", abi.Invalid
	}
	name = key
	if !foreign {
		name = h.p.o.Name + "/" + key
	} else if owner != h.p.o.Name && !slices.Contains(h.p.o.Grant.AttrsRead, key) && !slices.Contains(h.p.o.Grant.AttrsRead, owner+"/*") {
		return nil, "", abi.Denied
	}
	if !h.inHook || scope == abi.ScopeRecipient && !h.at(hooks(rcpt)) {
		return nil, "", abi.State
	}
	if m = h.s.attrs(scope); m == nil {
		return nil, "", abi.State
	}
	return m, name, abi.OK
}

// AttrGet is the function attr_get.
func (h *host) AttrGet(scope abi.Scope, key string, buf []byte) int32 {
	h.count()
	m, name, code := h.attr(scope, key, false)
	if code < 0 {
		return int32(code)
	}
	v, ok := (*m)[name]
	if !ok {
		return int32(abi.NotFound)
	}
	return give(buf, v)
}

// AttrSet is the function attr_set.
func (h *host) AttrSet(scope abi.Scope, key, value string) int32 {
	h.count()
	if len(value) > abi.MaxAttrValue {
		return int32(abi.TooLarge)
	}
	m, name, code := h.attr(scope, key, true)
	if code == abi.OK {
		code = h.countEdit()
	}
	if code < 0 {
		return int32(code)
	}
	if *m == nil {
		*m = make(map[string]string)
	}
	(*m)[name] = value
	return 0
}

// AttrDel is the function attr_del.
func (h *host) AttrDel(scope abi.Scope, key string) int32 {
	h.count()
	m, name, code := h.attr(scope, key, true)
	if code < 0 {
		return int32(code)
	}
	if _, ok := (*m)[name]; !ok {
		return int32(abi.NotFound)
	}
	if code := h.countEdit(); code < 0 {
		return int32(code)
	}
	delete(*m, name)
	return 0
}

// Config is the function config.
func (h *host) Config(key string, buf []byte) int32 {
	h.count()
	v, ok := h.p.config[key]
	if !ok {
		return int32(abi.NotFound)
	}
	return give(buf, v)
}

// Log is the function log.
func (h *host) Log(level int32, text string) int32 {
	h.count()
	if level < abi.LogDebug || level > abi.LogError {
		return int32(abi.Invalid)
	}
	if h.lines++; h.lines > abi.MaxLogLines {
		return int32(abi.Limit)
	}
	h.p.Log = append(h.p.Log, [...]string{"debug: ", "info: ", "warn: ", "error: "}[level]+text)
	return 0
}

// LogLevel is the function log_level.
func (h *host) LogLevel() int32 { h.count(); return abi.LogDebug }

// NowMS is the function now_ms.
func (h *host) NowMS() int64 { h.count(); return h.p.Now }

// MonoNS is the function mono_ns.
func (h *host) MonoNS() int64 { h.count(); return (h.p.Now - h.p.o.Now) * 1e6 }

// Random is the function random.
func (h *host) Random(buf []byte) int32 {
	h.count()
	if len(buf) > 64<<10 {
		return int32(abi.TooLarge)
	}
	_, _ = rand.Read(buf) // never fails
	return 0
}

// Feature is the function feature.
func (h *host) Feature(id int32) int32 {
	h.count()
	g := &h.p.o.Grant
	ok := false
	switch id {
	case abi.FeatureEnvelopeWrite:
		ok = grants(g.Envelope, true)
	case abi.FeatureHeadersRead:
		ok = grants(g.Headers, false)
	case abi.FeatureHeadersWrite:
		ok = grants(g.Headers, true)
	case abi.FeatureBodyRead:
		ok = grants(g.Body, false)
	case abi.FeatureBodyWrite:
		ok = grants(g.Body, true)
	case abi.FeatureDNS:
		ok = h.p.o.DNS != nil
	case abi.FeatureHTTP:
		ok = h.p.o.HTTP != nil
	case abi.FeatureCrypto:
		ok = true
	case abi.FeatureKV:
		ok = h.p.o.KV
	case abi.FeatureTable:
		ok = len(h.p.o.Tables) > 0
	case abi.FeatureEvent:
		ok = len(h.p.o.Topics) > 0
	}
	return int32(bit(ok))
}
