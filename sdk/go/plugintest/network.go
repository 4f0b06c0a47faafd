package plugintest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"hash"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/wasmta/wasmta/hostapi/abi"
)

// Zone is what the plugin finds in the DNS, by type and name: "MX example.org".
// A name that is missing does not exist.
type Zone map[string]Records

// Records are the records of a name: addresses as text, the others in the form
// of the contract ("10 mx.example.org").
type Records struct {
	Data   []string
	TTL    int // seconds; default 300
	Secure bool
	Err    error // an abi.Code: abi.ServFail, abi.Bogus, abi.Timeout
}

var recordTypes = map[int32]string{1: "A", 2: "NS", 5: "CNAME", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 52: "TLSA", 257: "CAA"}

// network is what a call has asked and opened.
type network struct {
	asked    []string
	answer   *Records
	requests []*httptest.ResponseRecorder // nil: closed
	open     int
	digests  [abi.MaxDigests]hash.Hash
	signed   int
	checked  int
}

func (h *host) ask(typ int32, name string) (string, abi.Code) {
	h.count()
	if h.p.o.DNS == nil {
		return "", abi.Denied
	}
	t := recordTypes[typ]
	if t == "" {
		return "", abi.Unsupported
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !regexp.MustCompile(`^[a-z0-9_][a-z0-9_-]*(\.[a-z0-9_][a-z0-9_-]*)*$`).MatchString(name) || len(name) > 253 {
		return "", abi.Invalid
	}
	q := t + " " + name
	if !slices.Contains(h.asked, q) {
		if len(h.asked) == abi.MaxDNSCalls {
			return "", abi.Limit
		}
		h.asked = append(h.asked, q)
	}
	return q, abi.OK
}

func (h *host) records(q string) ([]string, abi.Code) {
	r, ok := h.p.o.DNS[q]
	if r.TTL == 0 {
		r.TTL = 300
	}
	h.answer = &r
	if !ok {
		return nil, abi.NXDomain
	}
	if r.Err != nil {
		code := abi.Unavailable
		errors.As(r.Err, &code)
		return nil, code
	}
	var list []string
	for _, s := range r.Data {
		if t, _, _ := strings.Cut(q, " "); t == "A" || t == "AAAA" {
			s = string(netip.MustParseAddr(s).AsSlice())
		}
		list = append(list, s)
	}
	return list, abi.OK
}

// DNSPrefetch is the function prefetch of mta1_dns.
func (h *host) DNSPrefetch(typ int32, name string) int32 {
	_, code := h.ask(typ, name)
	return int32(code)
}

// DNSQuery is the function query of mta1_dns.
func (h *host) DNSQuery(typ int32, name string, buf []byte) int32 {
	q, code := h.ask(typ, name)
	if code < 0 {
		return int32(code)
	}
	list, code := h.records(q)
	if code < 0 {
		return int32(code)
	}
	var b []byte
	for _, s := range list {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
	}
	return give(buf, string(b))
}

// DNSBL is the function dnsbl of mta1_dns.
func (h *host) DNSBL(zone, ip string, answer *[4]byte) int32 {
	a, err := netip.ParseAddr(ip)
	if err != nil || a.Zone() != "" {
		return int32(abi.Invalid)
	}
	name := ""
	for _, octet := range a.Unmap().AsSlice() {
		if a.Unmap().Is4() {
			name = strconv.Itoa(int(octet)) + "." + name
		} else {
			name = strconv.FormatInt(int64(octet&15), 16) + "." + strconv.FormatInt(int64(octet>>4), 16) + "." + name
		}
	}
	q, code := h.ask(1, name+zone)
	if code < 0 {
		return int32(code)
	}
	list, code := h.records(q)
	if code == abi.NXDomain || code == abi.OK && len(list) == 0 {
		return 0
	}
	if code < 0 {
		return int32(code)
	}
	for _, s := range list {
		if len(s) != 4 || s[0] != 127 || s[1] == 255 && s[2] == 255 {
			return int32(abi.Unavailable)
		}
	}
	copy(answer[:], slices.Min(list))
	return 1
}

// lastAnswer is DNS_TTL and DNS_AD.
func (h *host) lastAnswer(f abi.Field) int64 {
	switch {
	case h.answer == nil:
		return int64(abi.NotFound)
	case f == abi.DNSTTL:
		return int64(h.answer.TTL)
	}
	return bit(h.answer.Secure)
}

// HTTPStart is the function start of mta1_http.
func (h *host) HTTPStart(method int32, url, header, body string, timeout int32) int32 {
	h.count()
	names := []string{"", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"}
	switch {
	case h.p.o.HTTP == nil:
		return int32(abi.Denied)
	case method < 1 || int(method) >= len(names):
		return int32(abi.Unsupported)
	case len(body) > abi.MaxHTTPRequest:
		return int32(abi.TooLarge)
	case body != "" && method <= abi.HTTPHead:
		return int32(abi.Invalid)
	}
	return h.request(names[method], url, header, body, timeout)
}

func (h *host) request(method, url, header, body string, timeout int32) int32 {
	if !h.inHook {
		return int32(abi.State)
	}
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil || timeout < 0 || r.URL.Host == "" || r.URL.Scheme != "http" && r.URL.Scheme != "https" {
		return int32(abi.Invalid)
	}
	for line := range strings.Lines(header) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		switch name = http.CanonicalHeaderKey(name); {
		case !ok, strings.ContainsAny(value, "\r\x00"), name == "Host", name == "Connection", name == "Content-Length", name == "Transfer-Encoding":
			return int32(abi.Invalid)
		}
		r.Header.Add(name, strings.TrimSpace(value))
	}
	if h.open == abi.MaxHTTPOpen || len(h.requests) == abi.MaxHTTPCalls {
		return int32(abi.Limit)
	}
	w := httptest.NewRecorder()
	h.p.o.HTTP.ServeHTTP(w, r)
	h.requests = append(h.requests, w)
	h.open++
	return int32(len(h.requests))
}

// HTTPStartMsg is the function start_msg of mta1_http.
func (h *host) HTTPStartMsg(url, header string, what, timeout int32) int32 {
	h.count()
	g := &h.p.o.Grant
	switch {
	case what < abi.SendMessage || what > abi.SendHeaders:
		return int32(abi.Unsupported)
	case h.p.o.HTTP == nil, what != abi.SendBody && !grants(g.Headers, false), what != abi.SendHeaders && !grants(g.Body, false):
		return int32(abi.Denied)
	case !h.at(inHeader) || !h.s.hasContent || what != abi.SendHeaders && !h.at(inContent):
		return int32(abi.State)
	}
	content := map[int32]string{abi.SendMessage: h.s.view.rawHeader() + h.s.body, abi.SendBody: h.s.body, abi.SendHeaders: h.s.view.rawHeader()}[what]
	if !strings.Contains(strings.ToLower("\n"+header), "\ncontent-type:") {
		header += map[bool]string{true: "\n"}[header != "" && !strings.HasSuffix(header, "\n")] + "Content-Type: " +
			map[int32]string{abi.SendMessage: "message/rfc822", abi.SendBody: "application/octet-stream", abi.SendHeaders: "text/rfc822-headers"}[what]
	}
	return h.request("POST", url, header, content, timeout)
}

func (h *host) exchange(handle int32) *httptest.ResponseRecorder {
	h.count()
	if handle < 1 || int(handle) > len(h.requests) {
		return nil
	}
	return h.requests[handle-1]
}

// HTTPWait is the function wait of mta1_http.
func (h *host) HTTPWait(handle, timeout int32) int32 {
	w := h.exchange(handle)
	switch {
	case w == nil:
		return int32(abi.NotFound)
	case timeout < -1:
		return int32(abi.Invalid)
	}
	return int32(w.Code)
}

// HTTPHeader is the function header of mta1_http.
func (h *host) HTTPHeader(handle int32, name string, buf []byte) int32 {
	w := h.exchange(handle)
	if w == nil {
		return int32(abi.NotFound)
	}
	return giveOr(buf, strings.Join(w.Result().Header.Values(name), ", "))
}

// HTTPRead is the function read of mta1_http.
func (h *host) HTTPRead(handle int32, buf []byte) int32 {
	w := h.exchange(handle)
	switch {
	case w == nil:
		return int32(abi.NotFound)
	case len(buf) == 0:
		return int32(abi.Invalid)
	}
	n, _ := w.Body.Read(buf) // the end is no octets
	return int32(n)
}

// HTTPClose is the function close of mta1_http.
func (h *host) HTTPClose(handle int32) int32 {
	if h.exchange(handle) == nil {
		return int32(abi.NotFound)
	}
	h.requests[handle-1] = nil
	h.open--
	return 0
}

func newHash(alg int32) hash.Hash {
	switch alg {
	case abi.AlgSHA1:
		return sha1.New()
	case abi.AlgSHA256:
		return sha256.New()
	case abi.AlgSHA512:
		return sha512.New()
	}
	return nil
}

// Digest is the function digest of mta1_crypto.
func (h *host) Digest(alg int32, data, out []byte) int32 {
	h.count()
	d := newHash(alg)
	if d == nil {
		return int32(abi.Unsupported)
	}
	d.Write(data)
	return give(out, string(d.Sum(nil)))
}

// DigestOpen is the function digest_open of mta1_crypto.
func (h *host) DigestOpen(alg int32) int32 {
	h.count()
	d := newHash(alg)
	if d == nil {
		return int32(abi.Unsupported)
	}
	for i := range h.digests {
		if h.digests[i] == nil {
			h.digests[i] = d
			return int32(i + 1)
		}
	}
	return int32(abi.Limit)
}

func (h *host) digest(handle int32) hash.Hash {
	h.count()
	if handle < 1 || int(handle) > len(h.digests) {
		return nil
	}
	return h.digests[handle-1]
}

// DigestUpdate is the function digest_update of mta1_crypto.
func (h *host) DigestUpdate(handle int32, data []byte) int32 {
	d := h.digest(handle)
	if d == nil {
		return int32(abi.NotFound)
	}
	d.Write(data)
	return 0
}

var blanks = regexp.MustCompile(`[ \t]+`)

// canonical is the canonical form of a body (RFC 6376 3.4.3, 3.4.4).
func canonical(body string, canon int32) string {
	if canon == abi.CanonRaw {
		return body
	}
	lines := strings.Split(body, "\r\n")
	if canon == abi.CanonRelaxed {
		for i, l := range lines {
			lines[i] = strings.TrimSuffix(blanks.ReplaceAllString(l, " "), " ")
		}
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 && canon == abi.CanonRelaxed {
		return ""
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// DigestBody is the function digest_body of mta1_crypto.
func (h *host) DigestBody(handle int32, off, n int64, canon int32) int32 {
	d := h.digest(handle)
	switch {
	case d == nil:
		return int32(abi.NotFound)
	case canon < abi.CanonRaw || canon > abi.CanonRelaxed:
		return int32(abi.Unsupported)
	case !grants(h.p.o.Grant.Body, false):
		return int32(abi.Denied)
	case !h.at(inContent) || !h.s.hasContent:
		return int32(abi.State)
	case off < 0 || n < -1:
		return int32(abi.Invalid)
	}
	b := canonical(h.s.body, canon)
	b = b[min(off, int64(len(b))):]
	if n >= 0 {
		b = b[:min(n, int64(len(b)))]
	}
	d.Write([]byte(b))
	return 0
}

// DigestFinal is the function digest_final of mta1_crypto.
func (h *host) DigestFinal(handle int32, out []byte) int32 {
	d := h.digest(handle)
	if d == nil {
		return int32(abi.NotFound)
	}
	if len(out) >= d.Size() {
		h.digests[handle-1] = nil
	}
	return give(out, string(d.Sum(nil)))
}

// suits tells whether a key is one for alg, and dig what it signs.
func suits(alg int32, public any, dig []byte) bool {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return alg == abi.AlgEd25519
	case *rsa.PublicKey:
		return (alg == abi.AlgRSA || alg == abi.AlgRSAPSS) && len(dig) == sha256.Size && k.N.BitLen() >= 1024 && k.N.BitLen() <= 4096
	case *ecdsa.PublicKey:
		return alg == abi.AlgECDSAP256 && len(dig) == sha256.Size && k.Curve == elliptic.P256()
	}
	return false
}

// Verify is the function verify of mta1_crypto.
func (h *host) Verify(alg int32, key, sig, dig []byte) int32 {
	h.count()
	if alg < abi.AlgEd25519 || alg > abi.AlgECDSAP256 {
		return int32(abi.Unsupported)
	}
	public, err := x509.ParsePKIXPublicKey(key)
	if alg == abi.AlgEd25519 && len(key) == ed25519.PublicKeySize {
		public, err = ed25519.PublicKey(bytes.Clone(key)), nil
	}
	if err != nil || !suits(alg, public, dig) {
		return int32(abi.Invalid)
	}
	good := false
	switch k := public.(type) {
	case ed25519.PublicKey:
		good = ed25519.Verify(k, dig, sig)
	case *rsa.PublicKey:
		if alg == abi.AlgRSA {
			good = rsa.VerifyPKCS1v15(k, crypto.SHA256, dig, sig) == nil
		} else {
			good = rsa.VerifyPSS(k, crypto.SHA256, dig, sig, nil) == nil
		}
	case *ecdsa.PublicKey:
		good = ecdsa.VerifyASN1(k, dig, sig)
	}
	if !good {
		return int32(abi.BadSig)
	}
	return 0
}

// key counts a use of a key. A name in neither map is not granted.
func (h *host) key(name string) abi.Code {
	h.count()
	if _, ok := h.p.o.MACKeys[name]; !ok && h.p.o.SignKeys[name] == nil {
		return abi.Denied
	}
	if h.signed++; h.signed > abi.MaxSignCalls {
		return abi.Limit
	}
	return abi.OK
}

// Sign is the function sign of mta1_crypto.
func (h *host) Sign(name string, alg int32, dig, out []byte) int32 {
	if alg < abi.AlgEd25519 || alg > abi.AlgECDSAP256 {
		return int32(abi.Unsupported)
	}
	if code := h.key(name); code < 0 {
		return int32(code)
	}
	k := h.p.o.SignKeys[name]
	if k == nil {
		return int32(abi.NotFound)
	}
	if !suits(alg, k.Public(), dig) {
		return int32(abi.Invalid)
	}
	var opts crypto.SignerOpts = crypto.SHA256
	switch alg {
	case abi.AlgEd25519:
		opts = crypto.Hash(0)
	case abi.AlgRSAPSS:
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	}
	sig, err := k.Sign(rand.Reader, dig, opts)
	if err != nil {
		return int32(abi.Unavailable)
	}
	return give(out, string(sig))
}

// HMAC is the function hmac of mta1_crypto.
func (h *host) HMAC(name string, alg int32, data, out []byte) int32 {
	if newHash(alg) == nil {
		return int32(abi.Unsupported)
	}
	if code := h.key(name); code < 0 {
		return int32(code)
	}
	k, ok := h.p.o.MACKeys[name]
	if !ok {
		return int32(abi.NotFound)
	}
	m := hmac.New(func() hash.Hash { return newHash(alg) }, k)
	m.Write(data)
	return give(out, string(m.Sum(nil)))
}

// PasswordVerify is the function password_verify of mta1_crypto.
func (h *host) PasswordVerify(hash, password string) int32 {
	h.count()
	if h.checked++; h.checked > abi.MaxPasswordCalls {
		return int32(abi.Limit)
	}
	want, ok := h.p.o.Passwords[hash]
	if !ok {
		return int32(abi.Unsupported)
	}
	return int32(bit(want == password))
}
