package conformance

import (
	"strings"
	"sync"

	"github.com/wasmta/wasmta/hostapi/abi"
)

// verdicts are the words of return.
var verdicts = map[string]int64{
	"CONTINUE": int64(abi.Continue), "ACCEPT": int64(abi.Accept), "REJECT": int64(abi.Reject), "DEFER": int64(abi.Defer),
	"DISCARD": int64(abi.Discard), "HOLD": int64(abi.Hold), "DROP": int64(abi.Drop),
	"DETACH_TX": int64(abi.DetachTransaction) << 8, "DETACH_SESSION": int64(abi.DetachSession) << 8, "NO_REPLY": int64(abi.NoReply) << 8,
}

// codes are the errors.
var codes = map[string]abi.Code{
	"OK": abi.OK, "E_INVAL": abi.Invalid, "E_NOT_FOUND": abi.NotFound, "E_DENIED": abi.Denied, "E_STATE": abi.State, "E_LIMIT": abi.Limit,
	"E_TIMEOUT": abi.Timeout, "E_UNSUPPORTED": abi.Unsupported, "E_UNAVAIL": abi.Unavailable, "E_CONFLICT": abi.Conflict,
	"E_TOO_LARGE": abi.TooLarge, "E_BAD_SIG": abi.BadSig, "E_NXDOMAIN": abi.NXDomain, "E_SERVFAIL": abi.ServFail, "E_BOGUS": abi.Bogus,
}

// lists, their fields, and the scopes.
var (
	lists = map[string]abi.List{
		"RCPT": abi.ListRcpt, "HEADER": abi.ListHeader, "ROUTE": abi.ListRoute, "ATTEMPTS": abi.ListAttempt, "RECEIVED": abi.ListReceived,
	}
	listFields = map[string]abi.ListField{
		"RCPT.ADDR": abi.RcptAddr, "RCPT.ORCPT": abi.RcptOrcpt, "RCPT.NOTIFY": abi.RcptNotify, "RCPT.LOCAL": abi.RcptLocal,
		"RCPT.DOMAIN": abi.RcptDomain, "RCPT.ORIGINAL": abi.RcptOriginal, "RCPT.STATUS": abi.RcptStatus,
		"RCPT.VALID_SINCE": abi.RcptValidSince,
		"HEADER.NAME":      abi.HeaderName, "HEADER.VALUE": abi.HeaderValue, "HEADER.RAW": abi.HeaderRaw,
		"ROUTE.HOST": abi.RouteHost, "ROUTE.PORT": abi.RoutePort, "ROUTE.PREF": abi.RoutePref,
		"ATTEMPT.TIME": abi.AttemptTime, "ATTEMPT.RELAY": abi.AttemptRelay, "ATTEMPT.CODE": abi.AttemptCode, "ATTEMPT.TEXT": abi.AttemptText,
	}
	scopes = map[string]abi.Scope{
		"SESSION": abi.ScopeSession, "TRANSACTION": abi.ScopeTransaction, "MESSAGE": abi.ScopeMessage, "RECIPIENT": abi.ScopeRecipient,
	}
	features = map[string]int32{
		"F_ENVELOPE_WRITE": abi.FeatureEnvelopeWrite, "F_HEADERS_READ": abi.FeatureHeadersRead, "F_HEADERS_WRITE": abi.FeatureHeadersWrite,
		"F_BODY_READ": abi.FeatureBodyRead, "F_BODY_WRITE": abi.FeatureBodyWrite, "F_KV": abi.FeatureKV, "F_DNS": abi.FeatureDNS,
		"F_HTTP": abi.FeatureHTTP, "F_CRYPTO": abi.FeatureCrypto, "F_TABLE": abi.FeatureTable, "F_EVENT": abi.FeatureEvent,
	}
	others = map[string]int32{
		"DEBUG": abi.LogDebug, "INFO": abi.LogInfo, "WARN": abi.LogWarn, "ERROR": abi.LogError,
		"COUNTER": abi.MetricCounter, "GAUGE": abi.MetricGauge, "HISTOGRAM": abi.MetricHistogram,
		"IF_ABSENT": abi.KVIfAbsent, "IF_PRESENT": abi.KVIfPresent, "SYNC": abi.KVSync, "REFRESH": abi.KVRefresh,
		"SHA1": abi.AlgSHA1, "SHA256": abi.AlgSHA256, "SHA512": abi.AlgSHA512, "ED25519": abi.AlgEd25519, "RSA": abi.AlgRSA,
		"RSA_PSS": abi.AlgRSAPSS, "ECDSA_P256": abi.AlgECDSAP256, "RAW": abi.CanonRaw, "SIMPLE": abi.CanonSimple, "RELAXED": abi.CanonRelaxed,
		"GET": abi.HTTPGet, "HEAD": abi.HTTPHead, "POST": abi.HTTPPost, "PUT": abi.HTTPPut, "DELETE": abi.HTTPDelete, "PATCH": abi.HTTPPatch,
		"ALL": abi.SendMessage, "BODY": abi.SendBody, "HEADERS": abi.SendHeaders,
		"A": 1, "NS": 2, "CNAME": 5, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "TLSA": 52, "CAA": 257,
	}
)

// constants are the numbers that a call may name.
var constants = sync.OnceValue(func() map[string]int64 {
	m := map[string]int64{}
	for _, f := range fields {
		m[f.name] = int64(f.id)
	}
	for k, v := range codes {
		m[k] = int64(v)
	}
	for k, v := range lists {
		m[k] = int64(v)
	}
	for k, v := range listFields {
		m[k] = int64(v)
	}
	for k, v := range scopes {
		m[k] = int64(v)
	}
	for k, v := range features {
		m[k] = int64(v)
	}
	for k, v := range others {
		m[k] = int64(v)
	}
	return m
})

// imported is a function of the contract.
type imported struct {
	module, name, sig string
	params            []string
}

// functions are all of them.
var functions = sync.OnceValue(func() (list []imported) {
	names := map[string][]string{}
	abi.Parameters(func(name, params string) { names[name] = strings.Split(params, ", ") })
	abi.Functions(func(name string, sig abi.Signature) {
		list = append(list, imported{abi.Module, name, string(sig), names[name]})
	})
	abi.Capabilities(func(module, name string, sig abi.Signature, params []string) {
		list = append(list, imported{module, name, string(sig), params})
	})
	return list
})

func signature(module, name string) (string, bool) {
	for _, f := range functions() {
		if f.module == module && f.name == name {
			return f.sig, true
		}
	}
	return "", false
}
