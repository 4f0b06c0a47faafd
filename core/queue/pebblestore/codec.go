package pebblestore

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// A value is: version octet, fields, CRC-32C (big-endian) of key, version and
// fields. Numbers are varints, strings and lists are preceded by their length,
// times are 0 or 1 + zigzag of the milliseconds since 1970.
// What an older wasmta did not know stands behind the other fields, and the
// version says that it is there; a value without it keeps the version that the
// older one can read. Of a message these are the SASL mechanism and the name that
// was given (2), and parameters of MAIL (3); of an item those of RCPT, egress pool
// and credential of a pinned next hop, and the next hop of the last attempt (2).
const (
	valueVersion  = 1
	authVersion   = 2
	paramsVersion = 3
	moreVersion   = 2 // of an item
	valueOverhead = 1 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(parts ...[]byte) (sum uint32) {
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return sum
}

// What can be wrong with a value; wrapped into queue.ErrCorrupt by the caller.
var (
	errChecksum = errors.New("its checksum does not match")
	errFields   = errors.New("its fields are malformed")
	errMissing  = errors.New("it is missing")
)

// openValue verifies a value and returns its fields.
func openValue(key, value []byte) ([]byte, error) {
	fields, _, err := openVersion(key, value, valueVersion)
	return fields, err
}

// openVersion is openValue for one that may have a later version.
func openVersion(key, value []byte, last byte) (fields []byte, version byte, err error) {
	if len(value) < valueOverhead {
		return nil, 0, errChecksum
	}
	body, sum := value[:len(value)-4], binary.BigEndian.Uint32(value[len(value)-4:])
	if checksum(key, body) != sum {
		return nil, 0, errChecksum
	}
	if body[0] < valueVersion || body[0] > last {
		return nil, 0, fmt.Errorf("its record version is %d and this wasmta knows only %d", body[0], last)
	}
	return body[1:], body[0], nil
}

// sealValue closes a value that an encoder has filled.
func sealValue(key []byte, e encoder) []byte {
	return binary.BigEndian.AppendUint32(e.b, checksum(key, e.b))
}

// record is the value of an m key.
type record struct {
	queue.Message
	digest uint32 // CRC-32C of the whole body
}

// chunkCount is the number of c keys of a body.
func chunkCount(size int64) uint32 { return uint32((size + chunkSize - 1) / chunkSize) }

func encodeMessage(key []byte, r *record) []byte {
	e := newEncoder(256 + len(r.Header))
	e.path(r.Envelope.ReversePath)
	e.mailParams(r.Envelope.MailParams)
	e.client(r.Envelope.Client)
	e.attrs(r.Envelope.Attrs)
	e.bytes(r.Header)
	e.int(r.BodySize)
	e.uint(uint64(r.digest))
	e.time(r.Arrived)
	c, p := &r.Envelope.Client, &r.Envelope.MailParams
	params := !p.HoldUntil.IsZero() || p.Priority != 0 || p.By != mail.DeliverBy{}
	if params || c.AuthMech != "" || c.AuthUser != "" {
		e.b[0] = authVersion
		e.string(c.AuthMech)
		e.string(c.AuthUser)
	}
	if params {
		e.b[0] = paramsVersion
		e.time(p.HoldUntil)
		e.int(int64(p.Priority))
		e.time(p.By.Time)
		e.bool(p.By.Return)
		e.bool(p.By.Trace)
	}
	return sealValue(key, e)
}

func decodeMessage(key, value []byte) (*record, error) {
	b, version, err := openVersion(key, value, paramsVersion)
	if err != nil {
		return nil, err
	}
	d := decoder{b: b}
	r := new(record)
	r.ID, _ = keyID(key)
	r.Envelope.ReversePath = d.path()
	r.Envelope.MailParams = d.mailParams()
	r.Envelope.Client = d.client()
	r.Envelope.Attrs = d.attrs()
	r.Header = d.bytes()
	r.BodySize = d.int()
	r.digest = d.uint32()
	r.Arrived = d.time()
	if version >= authVersion {
		r.Envelope.Client.AuthMech, r.Envelope.Client.AuthUser = d.string(), d.string()
	}
	if version >= paramsVersion {
		p := &r.Envelope.MailParams
		p.HoldUntil = d.time()
		p.Priority = d.int8()
		p.By = mail.DeliverBy{Time: d.time(), Return: d.bool(), Trace: d.bool()}
	}
	if r.BodySize < 0 || r.BodySize > maxBody {
		d.bad = true
	}
	return r, d.end()
}

// itemRecord is the value of an e key. siblings is how many items the message
// was committed with: when it is one, nobody has to look for others.
type itemRecord struct {
	queue.Item
	siblings uint32
}

func encodeItem(key []byte, r *itemRecord) []byte {
	e := newEncoder(256 + 64*len(r.Recipients))
	e.uint(r.Version)
	e.uint(uint64(r.siblings))
	e.string(r.Domain)
	e.time(r.Due)
	e.time(r.Expire)
	e.time(r.Arrived)
	e.int(int64(r.Attempts))
	e.int(int64(r.Priority))
	e.bool(r.Held)
	e.string(r.Reason)
	e.bool(r.Pinned != nil)
	if r.Pinned != nil {
		e.nextHop(*r.Pinned)
	}
	e.uint(uint64(len(r.Recipients)))
	for i := range r.Recipients {
		e.recipient(&r.Recipients[i])
	}
	e.uint(uint64(len(r.History)))
	for i := range r.History {
		e.time(r.History[i].At)
		e.string(r.History[i].Relay)
		e.result(&r.History[i].Result)
	}
	if r.hasMore() {
		e.b[0] = moreVersion
		e.string(r.LastHop)
		pinned := cmp.Or(r.Pinned, new(mail.NextHop))
		e.string(pinned.Pool)
		e.string(pinned.Credential)
		for i := range r.Recipients {
			e.time(r.Recipients[i].ValidSince)
			e.bool(r.Recipients[i].ValidSinceContinue)
		}
	}
	return sealValue(key, e)
}

// hasMore tells whether there is anything that the first version of the record has no place for.
func (r *itemRecord) hasMore() bool {
	if r.LastHop != "" || r.Pinned != nil && (r.Pinned.Pool != "" || r.Pinned.Credential != "") {
		return true
	}
	return slices.ContainsFunc(r.Recipients, func(t queue.Recipient) bool { return !t.ValidSince.IsZero() || t.ValidSinceContinue })
}

func decodeItem(key, value []byte) (*itemRecord, error) {
	b, version, err := openVersion(key, value, moreVersion)
	if err != nil {
		return nil, err
	}
	d := decoder{b: b}
	r := new(itemRecord)
	r.Ref, _ = keyRef(key)
	r.Version = d.uint()
	r.siblings = d.uint32()
	r.Domain = d.string()
	r.Due = d.time()
	r.Expire = d.time()
	r.Arrived = d.time()
	r.Attempts = int(d.int())
	r.Priority = int(d.int())
	r.Held = d.bool()
	r.Reason = d.string()
	if d.bool() {
		n := d.nextHop()
		r.Pinned = &n
	}
	if n := d.count(); n > 0 {
		r.Recipients = make([]queue.Recipient, 0, min(n, 1024))
		for ; n > 0 && !d.bad; n-- {
			r.Recipients = append(r.Recipients, d.recipient())
		}
	}
	if n := d.count(); n > 0 {
		r.History = make([]mail.Attempt, 0, min(n, queue.MaxHistory))
		for ; n > 0 && !d.bad; n-- {
			r.History = append(r.History, mail.Attempt{At: d.time(), Relay: d.string(), Result: d.result()})
		}
	}
	if version >= moreVersion {
		r.LastHop = d.string()
		pool, credential := d.string(), d.string()
		if r.Pinned != nil {
			r.Pinned.Pool, r.Pinned.Credential = pool, credential
		}
		for i := range r.Recipients {
			r.Recipients[i].ValidSince, r.Recipients[i].ValidSinceContinue = d.time(), d.bool()
		}
	}
	return r, d.end()
}

// encoder appends fields.
type encoder struct{ b []byte }

func newEncoder(size int) encoder {
	return encoder{append(make([]byte, 0, size), valueVersion)}
}

func (e *encoder) uint(v uint64)   { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)     { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) string(v string) { e.uint(uint64(len(v))); e.b = append(e.b, v...) }
func (e *encoder) bytes(v []byte)  { e.uint(uint64(len(v))); e.b = append(e.b, v...) }

// enum writes a value out of its range as zero: what is accepted can be read
// again, whatever the caller made of it.
func (e *encoder) enum(v, limit uint64) {
	if v > limit {
		v = 0
	}
	e.uint(v)
}

func (e *encoder) bool(v bool) {
	if v {
		e.b = append(e.b, 1)
	} else {
		e.b = append(e.b, 0)
	}
}

func (e *encoder) time(t time.Time) {
	if t.IsZero() {
		e.uint(0)
		return
	}
	ms := millis(t)
	e.uint((uint64(ms)<<1 ^ uint64(ms>>63)) + 1)
}

func (e *encoder) path(p mail.Path) { e.string(p.Local); e.string(p.Domain) }

func (e *encoder) mailParams(p mail.MailParams) {
	e.int(p.Size)
	e.enum(uint64(p.Body), uint64(mail.BodyBinaryMIME))
	e.bool(p.SMTPUTF8)
	e.bool(p.RequireTLS)
	e.enum(uint64(p.Return), uint64(mail.ReturnHeaders))
	e.string(p.EnvID)
}

func (e *encoder) client(c mail.Client) {
	e.string(c.Session)
	e.string(c.Listener)
	e.addr(c.Remote)
	e.addr(c.Local)
	e.string(c.PTR)
	e.string(c.Helo)
	e.bool(c.ESMTP)
	e.bool(c.TLS != nil)
	if c.TLS != nil {
		e.uint(uint64(c.TLS.Version))
		e.string(c.TLS.Cipher)
		e.string(c.TLS.ServerName)
		e.string(c.TLS.Fingerprint)
	}
	e.string(c.Auth)
	e.time(c.Arrived)
}

func (e *encoder) addr(a netip.AddrPort) {
	b, _ := a.MarshalBinary() // never fails
	e.bytes(b)
}

func (e *encoder) attrs(a mail.Attrs) {
	e.uint(uint64(len(a)))
	if len(a) == 0 {
		return
	}
	keys := make([]string, 0, len(a))
	for k := range a {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		e.string(k)
		e.bytes(a[k])
	}
}

func (e *encoder) nextHop(n mail.NextHop) {
	e.enum(uint64(n.Transport), uint64(mail.TransportDiscard))
	e.string(n.Host)
	e.uint(uint64(n.Port))
	e.enum(uint64(n.TLS), uint64(mail.TLSVerify))
	e.string(n.Source)
	e.string(n.Helo)
}

func (e *encoder) recipient(r *queue.Recipient) {
	e.path(r.ForwardPath)
	e.uint(uint64(r.Notify))
	e.string(r.OrcptType)
	e.string(r.Orcpt)
	e.path(r.Original)
	e.attrs(r.Attrs)
	e.result(&r.Last)
	e.bool(r.Warned)
}

func (e *encoder) result(r *mail.Result) {
	e.enum(uint64(r.Outcome), uint64(mail.Held))
	e.int(int64(r.Reply.Code))
	for _, n := range r.Reply.Enhanced {
		e.uint(uint64(n))
	}
	e.string(r.Reply.Text)
	e.string(r.RemoteMTA)
	e.string(r.Relay)
	e.bool(r.Relayed)
}

// decoder reads fields. After the first malformed one it is bad and returns
// zero values; it never reads outside its input nor allocates more than a
// multiple of it.
type decoder struct {
	b   []byte
	bad bool
}

// end is the verdict: everything read, nothing left over.
func (d *decoder) end() error {
	if d.bad || len(d.b) != 0 {
		return errFields
	}
	return nil
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

// upTo reads a number that must not exceed limit.
func (d *decoder) upTo(limit uint64) uint64 {
	v := d.uint()
	if v > limit {
		d.bad = true
		return 0
	}
	return v
}

func (d *decoder) uint16() uint16 { return uint16(d.upTo(1<<16 - 1)) }
func (d *decoder) uint32() uint32 { return uint32(d.upTo(1<<32 - 1)) }
func (d *decoder) bool() bool     { return d.upTo(1) == 1 }

func (d *decoder) int8() int8 {
	v := d.int()
	if v < math.MinInt8 || v > math.MaxInt8 {
		d.bad = true
		return 0
	}
	return int8(v)
}

// count reads the length of a list whose elements take at least one octet.
func (d *decoder) count() int { return int(d.upTo(uint64(len(d.b)))) }

func (d *decoder) take() []byte {
	n := d.uint()
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string { return string(d.take()) }
func (d *decoder) bytes() []byte  { return append([]byte{}, d.take()...) }

func (d *decoder) time() time.Time {
	u := d.uint()
	if u == 0 {
		return time.Time{}
	}
	u--
	ms := int64(u>>1) ^ -int64(u&1)
	if ms < minMillis || ms > maxMillis {
		d.bad = true
		return time.Time{}
	}
	return fromMillis(ms)
}

func (d *decoder) path() mail.Path { return mail.Path{Local: d.string(), Domain: d.string()} }

func (d *decoder) mailParams() mail.MailParams {
	return mail.MailParams{
		Size:       d.int(),
		Body:       mail.BodyType(d.upTo(uint64(mail.BodyBinaryMIME))),
		SMTPUTF8:   d.bool(),
		RequireTLS: d.bool(),
		Return:     mail.Return(d.upTo(uint64(mail.ReturnHeaders))),
		EnvID:      d.string(),
	}
}

func (d *decoder) client() mail.Client {
	c := mail.Client{
		Session:  d.string(),
		Listener: d.string(),
		Remote:   d.addr(),
		Local:    d.addr(),
		PTR:      d.string(),
		Helo:     d.string(),
		ESMTP:    d.bool(),
	}
	if d.bool() {
		c.TLS = &mail.TLS{Version: d.uint16(), Cipher: d.string(), ServerName: d.string(), Fingerprint: d.string()}
	}
	c.Auth = d.string()
	c.Arrived = d.time()
	return c
}

func (d *decoder) addr() (a netip.AddrPort) {
	if b := d.take(); !d.bad && a.UnmarshalBinary(b) != nil {
		d.bad = true
	}
	return a
}

func (d *decoder) attrs() mail.Attrs {
	n := d.count()
	if n == 0 {
		return nil
	}
	a := make(mail.Attrs, min(n, 64))
	for ; n > 0 && !d.bad; n-- {
		k := d.string()
		a[k] = d.bytes()
	}
	return a
}

func (d *decoder) nextHop() mail.NextHop {
	return mail.NextHop{
		Transport: mail.Transport(d.upTo(uint64(mail.TransportDiscard))),
		Host:      d.string(),
		Port:      d.uint16(),
		TLS:       mail.TLSPolicy(d.upTo(uint64(mail.TLSVerify))),
		Source:    d.string(),
		Helo:      d.string(),
	}
}

func (d *decoder) recipient() (r queue.Recipient) {
	r.ForwardPath = d.path()
	r.Notify = mail.Notify(d.upTo(1<<8 - 1))
	r.OrcptType = d.string()
	r.Orcpt = d.string()
	r.Original = d.path()
	r.Attrs = d.attrs()
	r.Last = d.result()
	r.Warned = d.bool()
	return r
}

func (d *decoder) result() (r mail.Result) {
	r.Outcome = mail.Outcome(d.upTo(uint64(mail.Held)))
	r.Reply.Code = int(d.int())
	for i := range r.Reply.Enhanced {
		r.Reply.Enhanced[i] = d.uint16()
	}
	r.Reply.Text = d.string()
	r.RemoteMTA = d.string()
	r.Relay = d.string()
	r.Relayed = d.bool()
	return r
}
