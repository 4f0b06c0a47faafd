//go:build wasip1

package guest

import "unsafe"

// What a plugin does not call is not linked, so that it needs no grant for it.

//go:wasmimport mta1_dns prefetch
//go:noescape
func dnsPrefetch(typ int32, name string) int32

//go:wasmimport mta1_dns query
//go:noescape
func dnsQuery(typ int32, name string, buf unsafe.Pointer, n int32) int32

//go:wasmimport mta1_dns dnsbl
//go:noescape
func dnsbl(zone, ip string, out unsafe.Pointer) int32

//go:wasmimport mta1_http start
//go:noescape
func httpStart(method int32, url, header, body string, timeout int32) int32

//go:wasmimport mta1_http start_msg
//go:noescape
func httpStartMsg(url, header string, what, timeout int32) int32

//go:wasmimport mta1_http wait
func httpWait(handle, timeout int32) int32

//go:wasmimport mta1_http header
//go:noescape
func httpHeader(handle int32, name string, buf unsafe.Pointer, n int32) int32

//go:wasmimport mta1_http read
//go:noescape
func httpRead(handle int32, buf unsafe.Pointer, n int32) int32

//go:wasmimport mta1_http close
func httpClose(handle int32) int32

//go:wasmimport mta1_crypto digest
//go:noescape
func digest(alg int32, data unsafe.Pointer, n int32, out unsafe.Pointer, room int32) int32

//go:wasmimport mta1_crypto digest_open
func digestOpen(alg int32) int32

//go:wasmimport mta1_crypto digest_update
//go:noescape
func digestUpdate(handle int32, data unsafe.Pointer, n int32) int32

//go:wasmimport mta1_crypto digest_body
func digestBody(handle int32, off, n int64, canon int32) int32

//go:wasmimport mta1_crypto digest_final
//go:noescape
func digestFinal(handle int32, out unsafe.Pointer, room int32) int32

//go:wasmimport mta1_crypto verify
//go:noescape
func verify(alg int32, key unsafe.Pointer, keyLen int32, sig unsafe.Pointer, sigLen int32, dig unsafe.Pointer, digLen int32) int32

//go:wasmimport mta1_crypto sign
//go:noescape
func sign(key string, alg int32, dig unsafe.Pointer, n int32, out unsafe.Pointer, room int32) int32

//go:wasmimport mta1_crypto hmac
//go:noescape
func mac(key string, alg int32, data unsafe.Pointer, n int32, out unsafe.Pointer, room int32) int32

//go:wasmimport mta1_crypto password_verify
//go:noescape
func passwordVerify(hash, password string) int32

// DNSPrefetch starts a query.
func DNSPrefetch(typ int32, name string) int32 { return dnsPrefetch(typ, name) }

// DNSQuery reads the records of a name into buf.
func DNSQuery(typ int32, name string, buf []byte) int32 {
	p, n := ptr(buf)
	return dnsQuery(typ, name, p, n)
}

// DNSBL asks a DNS list for an address.
func DNSBL(zone, ip string, answer *[4]byte) int32 { return dnsbl(zone, ip, unsafe.Pointer(answer)) }

// HTTPStart starts a request.
func HTTPStart(method int32, url, header, body string, timeout int32) int32 {
	return httpStart(method, url, header, body, timeout)
}

// HTTPStartMsg starts sending the message.
func HTTPStartMsg(url, header string, what, timeout int32) int32 {
	return httpStartMsg(url, header, what, timeout)
}

// HTTPWait waits for the status.
func HTTPWait(handle, timeout int32) int32 { return httpWait(handle, timeout) }

// HTTPHeader reads a header field of the response into buf.
func HTTPHeader(handle int32, name string, buf []byte) int32 {
	p, n := ptr(buf)
	return httpHeader(handle, name, p, n)
}

// HTTPRead reads the response into buf; 0 at its end.
func HTTPRead(handle int32, buf []byte) int32 { p, n := ptr(buf); return httpRead(handle, p, n) }

// HTTPClose ends a request.
func HTTPClose(handle int32) int32 { return httpClose(handle) }

// Digest hashes data into out.
func Digest(alg int32, data, out []byte) int32 {
	d, n := ptr(data)
	p, room := ptr(out)
	return digest(alg, d, n, p, room)
}

// DigestOpen begins a digest.
func DigestOpen(alg int32) int32 { return digestOpen(alg) }

// DigestUpdate hashes data.
func DigestUpdate(handle int32, data []byte) int32 {
	d, n := ptr(data)
	return digestUpdate(handle, d, n)
}

// DigestBody hashes the body.
func DigestBody(handle int32, off, n int64, canon int32) int32 {
	return digestBody(handle, off, n, canon)
}

// DigestFinal ends a digest into out.
func DigestFinal(handle int32, out []byte) int32 { p, n := ptr(out); return digestFinal(handle, p, n) }

// Verify checks a signature.
func Verify(alg int32, key, sig, dig []byte) int32 {
	k, kn := ptr(key)
	s, sn := ptr(sig)
	d, dn := ptr(dig)
	return verify(alg, k, kn, s, sn, d, dn)
}

// Sign signs with a key of the operator, into out.
func Sign(key string, alg int32, dig, out []byte) int32 {
	d, n := ptr(dig)
	p, room := ptr(out)
	return sign(key, alg, d, n, p, room)
}

// HMAC makes a MAC with a key of the operator, into out.
func HMAC(key string, alg int32, data, out []byte) int32 {
	d, n := ptr(data)
	p, room := ptr(out)
	return mac(key, alg, d, n, p, room)
}

// PasswordVerify is 1 if it is the password.
func PasswordVerify(hash, password string) int32 { return passwordVerify(hash, password) }
