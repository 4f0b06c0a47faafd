package wat

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// natural reads digits, with _ between them, of a number of so many bits. The
// text is what is wrong with it; empty: nothing.
func natural(s string, base, bits int) (uint64, string) {
	if s == "" || s[0] == '_' || s[len(s)-1] == '_' || strings.Contains(s, "__") || s[0] == '+' || s[0] == '-' {
		return 0, "is not a number"
	}
	v, err := strconv.ParseUint(strings.ReplaceAll(s, "_", ""), base, bits)
	if errors.Is(err, strconv.ErrRange) {
		return 0, "is too large: it has " + strconv.Itoa(bits) + " bits"
	}
	if err != nil {
		return 0, "is not a number"
	}
	return v, ""
}

// unsigned reads a decimal or hexadecimal number without sign.
func unsigned(s string, bits int) (uint64, string) {
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		return natural(hex, 16, bits)
	}
	return natural(s, 10, bits)
}

// integer reads a number that may be signed or not: i32 is -2^31 to 2^32-1.
func integer(s string, bits int) (int64, string) {
	digits, negative := strings.CutPrefix(s, "-")
	if !negative {
		digits = strings.TrimPrefix(s, "+")
	}
	v, wrong := unsigned(digits, bits)
	if wrong != "" {
		return 0, wrong
	}
	limit := uint64(1) << (bits - 1)
	if negative {
		if v > limit {
			return 0, "is too small: it has " + strconv.Itoa(bits) + " bits"
		}
		return -int64(v), ""
	}
	if bits == 32 {
		return int64(int32(uint32(v))), ""
	}
	return int64(v), ""
}

// float reads a number as the bits of an f32 or f64.
func float(s string, bits int) (uint64, string) {
	digits, negative := strings.CutPrefix(s, "-")
	if !negative {
		digits = strings.TrimPrefix(s, "+")
	}
	fraction, exponent := 52, uint64(0x7ff)
	if bits == 32 {
		fraction, exponent = 23, 0xff
	}
	sign := uint64(0)
	if negative {
		sign = 1 << (bits - 1)
	}
	payload, isNaN := strings.CutPrefix(digits, "nan:0x")
	switch {
	case digits == "inf":
		return sign | exponent<<fraction, ""
	case digits == "nan":
		return sign | exponent<<fraction | 1<<(fraction-1), ""
	case isNaN:
		v, wrong := natural(payload, 16, 64)
		if wrong != "" || v == 0 || v >= 1<<fraction {
			return 0, "is not a NaN of this size"
		}
		return sign | exponent<<fraction | v, ""
	}
	plain, ok := plainFloat(digits)
	if !ok {
		return 0, "is not a number"
	}
	v, err := strconv.ParseFloat(plain, bits)
	if errors.Is(err, strconv.ErrRange) {
		return 0, "is too large for " + strconv.Itoa(bits) + " bits"
	}
	if err != nil {
		return 0, "is not a number"
	}
	if bits == 32 {
		return sign | uint64(math.Float32bits(float32(v))), ""
	}
	return sign | math.Float64bits(v), ""
}

// plainFloat makes what strconv reads of a number without sign, if it is one:
// without _, and with the exponent that a hexadecimal one needs.
func plainFloat(s string) (string, bool) {
	digits, isHex := strings.CutPrefix(s, "0x")
	base, marks := 10, "eE"
	if isHex {
		base, marks = 16, "pP"
	}
	mantissa, exponent := digits, ""
	if i := strings.IndexAny(digits, marks); i >= 0 {
		mantissa, exponent = digits[:i], digits[i+1:]
		plain := strings.TrimLeft(exponent, "+-")
		if len(exponent)-len(plain) > 1 || !allDigits(plain, 10) {
			return "", false
		}
	}
	whole, part, dot := strings.Cut(mantissa, ".")
	if !allDigits(whole, base) || dot && part != "" && !allDigits(part, base) {
		return "", false
	}
	out := strings.ReplaceAll(mantissa, "_", "")
	if isHex {
		out = "0x" + out
		if exponent == "" {
			exponent = "0"
		}
	}
	if exponent != "" {
		out += marks[:1] + strings.ReplaceAll(exponent, "_", "")
	}
	return out, true
}

// allDigits tells whether s is digits with single _ between them.
func allDigits(s string, base int) bool {
	digit := false
	for _, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9', base == 16 && (c|0x20 >= 'a' && c|0x20 <= 'f'):
			digit = true
		case c == '_' && digit:
			digit = false
		default:
			return false
		}
	}
	return digit
}
