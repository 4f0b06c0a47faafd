package abi

import "strings"

// The import modules of capabilities. A plugin that imports from one needs the
// grant for it; ModuleCrypto needs none, except for its keys.
const (
	ModuleKV     = "mta1_kv"
	ModuleDNS    = "mta1_dns"
	ModuleHTTP   = "mta1_http"
	ModuleCrypto = "mta1_crypto"
	ModuleTable  = "mta1_table"
	ModuleEvent  = "mta1_event"
	ModuleSubmit = "mta1_submit" // reserved

	// ModuleNone has any function of the contract's types; it answers Denied. A
	// tool that makes modules names it in the place of a capability that is linked
	// and never called: the indices of functions stay as they are.
	ModuleNone = "mta1_none"
)

// Flags of mta1_kv.
const (
	KVIfAbsent  int32 = 1 // set: only if there is no value
	KVIfPresent int32 = 2 // set: only if there is one
	KVSync      int32 = 4 // set: on disk before the call returns
	KVRefresh   int32 = 1 // incr: give an existing counter the TTL anew
)

// Kinds of metrics.
const (
	MetricCounter   int32 = 0
	MetricGauge     int32 = 1
	MetricHistogram int32 = 2
)

// Algorithms of mta1_crypto.
const (
	AlgSHA1      int32 = 1
	AlgSHA256    int32 = 2
	AlgSHA512    int32 = 3
	AlgEd25519   int32 = 16 // PureEdDSA of what is given: for DKIM the SHA-256 (RFC 8463)
	AlgRSA       int32 = 17 // PKCS #1 v1.5 of a SHA-256
	AlgRSAPSS    int32 = 18 // PSS of a SHA-256
	AlgECDSAP256 int32 = 19 // of a SHA-256; the signature is ASN.1
)

// Canonicalisation of digest_body (RFC 6376 3.4).
const (
	CanonRaw     int32 = 0
	CanonSimple  int32 = 1
	CanonRelaxed int32 = 2
)

// Methods of mta1_http.
const (
	HTTPGet    int32 = 1
	HTTPHead   int32 = 2
	HTTPPost   int32 = 3
	HTTPPut    int32 = 4
	HTTPDelete int32 = 5
	HTTPPatch  int32 = 6
)

// What start_msg sends.
const (
	SendMessage int32 = 1
	SendBody    int32 = 2
	SendHeaders int32 = 3
)

// Limits of the capabilities. Those of calls are for one hook call.
const (
	MaxDNSCalls      = 30        // of query, prefetch and dnsbl for different questions
	MaxDNSInFlight   = 8         // of prefetch
	MaxHTTPCalls     = 4         // of start and start_msg
	MaxHTTPOpen      = 2         // handles at a time
	MaxHTTPRate      = 20        // in a second, of one plugin
	MaxHTTPTime      = 10_000    // milliseconds, of one request
	MaxHTTPRequest   = 256 << 10 // octets of a body that is given to start
	MaxHTTPResponse  = 1 << 20   // octets of a body
	MaxDigests       = 8         // handles at a time
	MaxSignCalls     = 16
	MaxPasswordCalls = 4

	MaxKVCalls    = 64
	MaxKVKey      = 512
	MaxKVValue    = 64 << 10
	MaxKVKeys     = 1_000_000 // of one plugin
	MaxEventCalls = 16
	MaxEvent      = 64 << 10
	MaxTopic      = 64
	MaxMetrics    = 64 // of one plugin
	MaxMetricName = 64
)

// Capabilities calls f for each function of the capability modules, with its
// signature and the names of its parameters.
func Capabilities(f func(module, name string, sig Signature, params []string)) {
	for _, m := range capabilities {
		for _, e := range m.functions {
			f(m.name, e.name, e.sig, strings.Split(e.params, ", "))
		}
	}
}

// CapabilityModules calls f for each capability module.
func CapabilityModules(f func(module string)) {
	for _, m := range capabilities {
		f(m.name)
	}
}

type capabilityFunction struct {
	name   string
	sig    Signature
	params string
}

// The third column names the parameters, as in functions.
var capabilities = [...]struct {
	name      string
	functions []capabilityFunction
}{
	{ModuleKV, []capabilityFunction{
		{"get", "iiii>i", "key, klen, buf, cap"},
		{"set", "iiiiIi>i", "key, klen, val, vlen, ttl_ms, flags"},
		{"del", "ii>i", "key, klen"},
		{"incr", "iiIIi>I", "key, klen, delta, ttl_ms, flags"},
		{"take", "iiiiI>I", "key, klen, cost, burst, per_sec_milli"},
		{"cas", "iiiiiiI>i", "key, klen, old, olen, new, nlen, ttl_ms"},
	}},
	{ModuleDNS, []capabilityFunction{
		{"prefetch", "iii>i", "type, name, nlen"},
		{"query", "iiiii>i", "type, name, nlen, buf, cap"},
		{"dnsbl", "iiiii>i", "zone, zlen, ip, iplen, out4"},
	}},
	{ModuleHTTP, []capabilityFunction{
		{"start", "iiiiiiii>i", "method, url, ulen, hdr, hlen, body, blen, timeout_ms"},
		{"start_msg", "iiiiii>i", "url, ulen, hdr, hlen, what, timeout_ms"},
		{"wait", "ii>i", "handle, timeout_ms"},
		{"header", "iiiii>i", "handle, name, nlen, buf, cap"},
		{"read", "iii>i", "handle, buf, cap"},
		{"close", "i>i", "handle"},
	}},
	{ModuleCrypto, []capabilityFunction{
		{"digest", "iiiii>i", "alg, ptr, len, out, cap"},
		{"digest_open", "i>i", "alg"},
		{"digest_update", "iii>i", "h, ptr, len"},
		{"digest_body", "iIIi>i", "h, off, len, canon"},
		{"digest_final", "iii>i", "h, out, cap"},
		{"verify", "iiiiiii>i", "alg, key, klen, sig, slen, dig, dlen"},
		{"sign", "iiiiiii>i", "keyname, nlen, alg, dig, dlen, out, cap"},
		{"hmac", "iiiiiii>i", "keyname, nlen, alg, ptr, len, out, cap"},
		{"password_verify", "iiii>i", "hash, hlen, pw, pwlen"},
	}},
	{ModuleTable, []capabilityFunction{
		{"lookup", "iiiiii>i", "table, tlen, key, klen, buf, cap"},
	}},
	{ModuleEvent, []capabilityFunction{
		{"emit", "iiii>i", "topic, tlen, data, dlen"},
	}},
}
