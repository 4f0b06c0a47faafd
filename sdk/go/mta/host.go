package mta

import (
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/internal/guest"
)

// scratch receives what the host gives; only what is longer costs a second
// call. A guest is asked one thing at a time.
var scratch [4096]byte

// read calls get with a buffer that is large enough.
func read(get func(buf []byte) int32) (string, error) {
	buf := scratch[:]
	n := get(buf)
	if int(n) > len(buf) {
		buf = make([]byte, n)
		n = get(buf)
	}
	if n < 0 {
		return "", abi.Code(n)
	}
	if int(n) > len(buf) {
		return "", abi.Conflict // it grew meanwhile, which a call's view does not
	}
	return string(buf[:n]), nil
}

func check(code int32) error {
	if code < 0 {
		return abi.Code(code)
	}
	return nil
}

func textOrError(f abi.Field) (string, error) {
	return read(func(b []byte) int32 { return guest.Get(f, b) })
}

func text(f abi.Field) string {
	s, _ := textOrError(f)
	return s
}

func number(f abi.Field) int { return int(number64(f)) }

func number64(f abi.Field) int64 { return max(guest.GetNum(f), 0) }

func flag(f abi.Field) bool { return guest.GetNum(f) > 0 }

func setText(f abi.Field, value string) error { return check(guest.Set(f, value)) }

func setNumber(f abi.Field, value int64) error { return check(guest.SetNum(f, value)) }

func answer(a abi.Action, code int, enhanced, text string) Verdict {
	if enhanced != "" || text != "" || a == abi.Accept {
		// The host judges code and text with the verdict; a refusal shows there.
		guest.Reply(int32(code), packEnhanced(enhanced), text)
	}
	if a == abi.Accept {
		code = 0 // the contract has codes in verdicts that refuse; an acceptance gets its code by reply
	}
	return Verdict(abi.Verdict(a, 0, code))
}

// packEnhanced reads "5.7.1"; anything else is 0, the server's choice.
func packEnhanced(s string) int32 {
	var part [3]int
	i, digits := 0, 0
	for _, c := range []byte(s) {
		switch {
		case '0' <= c && c <= '9' && digits < 3:
			part[i] = part[i]*10 + int(c-'0')
			digits++
		case c == '.' && digits > 0 && i < 2:
			i, digits = i+1, 0
		default:
			return 0
		}
	}
	if i != 2 || digits == 0 {
		return 0
	}
	return abi.Enhanced(part[0], part[1], part[2])
}
