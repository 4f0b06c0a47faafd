package hostapi

import (
	"context"
	"crypto"
	"net/http"
	"time"
)

// Services are what the capabilities of one plugin stand on. One that is nil
// is not there: its functions answer E_UNAVAIL. Errors that a guest shall see
// are an abi.Code; any other is E_UNAVAIL.
type Services struct {
	KV       KV
	Resolver Resolver
	HTTP     HTTPClient
	Keys     Keys
	Secrets  Secrets
	Tables   Tables
	Events   Events
	// Pools tells whether the configuration has an egress pool of a name; nil: it
	// has none.
	Pools func(name string) bool
	// Passwords checks password hashes. The engine has one for all plugins.
	Passwords Passwords
}

// Passwords checks a password against a hash: *password.Checker.
type Passwords interface {
	Check(ctx context.Context, hash, password []byte) (bool, error)
}

// KV is the memory of one plugin. It is safe for concurrent use, and every
// method is atomic. Keys and values have been checked against the contract's
// limits. A time to live of 0 is without end.
type KV interface {
	// Get fails with abi.NotFound. The value must not be changed.
	Get(key []byte) ([]byte, error)
	// Set takes the flags abi.KVIfAbsent, which fails with abi.Conflict,
	// abi.KVIfPresent, which fails with abi.NotFound, and abi.KVSync. It fails
	// with abi.Limit when the plugin's quota is used up.
	Set(key, value []byte, ttl time.Duration, flags int32) error
	// Delete fails with abi.NotFound.
	Delete(key []byte) error
	// Incr adds to a counter, which stays between 0 and the largest int64, and
	// returns its new value. A counter that is made gets the time to live; one
	// that is there keeps its own, unless refresh is set. It fails with
	// abi.Invalid when the value is no counter.
	Incr(key []byte, delta int64, ttl time.Duration, refresh bool) (int64, error)
	// Take takes cost tokens from a bucket that holds burst and gains
	// perSecMilli/1000 in a second; or none, and says how long to wait.
	Take(key []byte, cost, burst, perSecMilli int64) (wait time.Duration, err error)
	// CompareAndSwap sets a value that is old; with an empty old one that is
	// not there. It fails with abi.Conflict.
	CompareAndSwap(key, old, new []byte, ttl time.Duration) error
}

// Resolver asks the DNS. The types are the RFC numbers.
type Resolver interface {
	// Lookup gives the records of a name as mta1_dns shows them. No data is an
	// Answer without records. It fails with abi.NXDomain, abi.ServFail,
	// abi.Bogus, abi.Timeout or abi.Invalid.
	Lookup(ctx context.Context, name string, typ uint16) (Answer, error)
}

// Answer is what the DNS knows.
type Answer struct {
	Records [][]byte
	TTL     time.Duration
	Secure  bool // DNSSEC proved it to the resolver
}

// HTTPClient sends requests that the grant allows. It checks the address that
// it connects to, and does not follow redirects.
type HTTPClient interface {
	Do(r *http.Request, private bool) (*http.Response, error)
}

// Keys are the operator's keys by name.
type Keys interface {
	// Signer fails with abi.NotFound.
	Signer(name string) (crypto.Signer, error)
	// Secret is a key of HMAC. It fails with abi.NotFound.
	Secret(name string) ([]byte, error)
}

// Secrets are the operator's secrets by name.
type Secrets interface {
	Secret(name string) (value []byte, ok bool)
}

// Tables are the operator's tables.
type Tables interface {
	// Lookup fails with abi.NotFound when there is no such key, and with
	// abi.Invalid for a key that the table cannot have.
	Lookup(table string, key []byte) ([]byte, error)
}

// Events takes events to the sinks that the operator configured.
type Events interface {
	// Emit does not wait. It fails with abi.Limit when a sink is full.
	Emit(e Event) error
}

// Event is one event of a plugin.
type Event struct {
	Time             time.Time
	Plugin, Topic    string
	Session, Message string // ids; empty: none
	Data             []byte // not kept by Emit
}
