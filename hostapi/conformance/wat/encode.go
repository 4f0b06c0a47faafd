package wat

// uleb appends an unsigned number (5.2.2).
func uleb(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// sleb appends a signed one.
func sleb(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// vec appends octets with their number in front.
func vec(b []byte, s string) []byte { return append(uleb(b, uint64(len(s))), s...) }

// entries is a section's content as it grows: a number of entries.
type entries struct {
	n    int
	body []byte
}

// section appends a section, unless it is empty.
func section(b []byte, id byte, e entries) []byte {
	if e.n == 0 {
		return b
	}
	body := append(uleb(nil, uint64(e.n)), e.body...)
	return append(uleb(append(b, id), uint64(len(body))), body...)
}
