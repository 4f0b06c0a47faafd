//go:build !wasip1

package guest

// Network is the part of a Host for mta1_dns and mta1_http.
type Network interface {
	DNSPrefetch(typ int32, name string) int32
	DNSQuery(typ int32, name string, buf []byte) int32
	DNSBL(zone, ip string, answer *[4]byte) int32
	HTTPStart(method int32, url, header, body string, timeout int32) int32
	HTTPStartMsg(url, header string, what, timeout int32) int32
	HTTPWait(handle, timeout int32) int32
	HTTPHeader(handle int32, name string, buf []byte) int32
	HTTPRead(handle int32, buf []byte) int32
	HTTPClose(handle int32) int32
}

// Cryptography is the part of a Host for mta1_crypto.
type Cryptography interface {
	Digest(alg int32, data, out []byte) int32
	DigestOpen(alg int32) int32
	DigestUpdate(handle int32, data []byte) int32
	DigestBody(handle int32, off, n int64, canon int32) int32
	DigestFinal(handle int32, out []byte) int32
	Verify(alg int32, key, sig, dig []byte) int32
	Sign(key string, alg int32, dig, out []byte) int32
	HMAC(key string, alg int32, data, out []byte) int32
	PasswordVerify(hash, password string) int32
}

func DNSPrefetch(typ int32, name string) int32 { return host().DNSPrefetch(typ, name) }
func DNSQuery(typ int32, name string, buf []byte) int32 {
	return host().DNSQuery(typ, name, buf)
}
func DNSBL(zone, ip string, answer *[4]byte) int32 { return host().DNSBL(zone, ip, answer) }
func HTTPStart(method int32, url, header, body string, timeout int32) int32 {
	return host().HTTPStart(method, url, header, body, timeout)
}
func HTTPStartMsg(url, header string, what, timeout int32) int32 {
	return host().HTTPStartMsg(url, header, what, timeout)
}
func HTTPWait(handle, timeout int32) int32 { return host().HTTPWait(handle, timeout) }
func HTTPHeader(handle int32, name string, buf []byte) int32 {
	return host().HTTPHeader(handle, name, buf)
}
func HTTPRead(handle int32, buf []byte) int32      { return host().HTTPRead(handle, buf) }
func HTTPClose(handle int32) int32                 { return host().HTTPClose(handle) }
func Digest(alg int32, data, out []byte) int32     { return host().Digest(alg, data, out) }
func DigestOpen(alg int32) int32                   { return host().DigestOpen(alg) }
func DigestUpdate(handle int32, data []byte) int32 { return host().DigestUpdate(handle, data) }
func DigestBody(handle int32, off, n int64, canon int32) int32 {
	return host().DigestBody(handle, off, n, canon)
}
func DigestFinal(handle int32, out []byte) int32   { return host().DigestFinal(handle, out) }
func Verify(alg int32, key, sig, dig []byte) int32 { return host().Verify(alg, key, sig, dig) }
func Sign(key string, alg int32, dig, out []byte) int32 {
	return host().Sign(key, alg, dig, out)
}
func HMAC(key string, alg int32, data, out []byte) int32 {
	return host().HMAC(key, alg, data, out)
}
func PasswordVerify(hash, password string) int32 { return host().PasswordVerify(hash, password) }
