package mail

import (
	"errors"
	"time"
)

// ID is a queue id: it names a message in the 250 reply, the Received field,
// the log, DSNs and the control commands. The upper 42 bits are milliseconds
// since 2020, the lower 22 a sequence, so ids sort by time and never repeat.
// Zero means no id.
type ID uint64

const (
	idAlphabet = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz" // no vowels: no words; in ASCII order: strings sort as ids
	idLength   = 12                                                     // 52^12 > 2^64
	idSeqBits  = 22
)

var idEpoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// FirstID is the smallest id of the millisecond of t.
func FirstID(t time.Time) ID {
	ms := max(t.Sub(idEpoch).Milliseconds(), 0)
	return ID(uint64(ms) << idSeqBits)
}

// Time is when the id was made, to the millisecond.
func (id ID) Time() time.Time {
	return idEpoch.Add(time.Duration(id>>idSeqBits) * time.Millisecond)
}

// String is the id in twelve characters; strings sort as their ids do.
func (id ID) String() string {
	var b [idLength]byte
	n := uint64(id)
	for i := idLength - 1; i >= 0; i-- {
		b[i] = idAlphabet[n%uint64(len(idAlphabet))]
		n /= uint64(len(idAlphabet))
	}
	return string(b[:])
}

// ParseID is the reverse of [ID.String].
func ParseID(s string) (ID, error) {
	if len(s) != idLength {
		return 0, errors.New("a queue id has 12 characters")
	}
	var n uint64
	for i := 0; i < len(s); i++ {
		d := -1
		for j := 0; j < len(idAlphabet); j++ {
			if idAlphabet[j] == s[i] {
				d = j
				break
			}
		}
		base := uint64(len(idAlphabet))
		if d < 0 || n > (1<<64-1-uint64(d))/base {
			return 0, errors.New("not a queue id: a character or the whole is out of range")
		}
		n = n*base + uint64(d)
	}
	return ID(n), nil
}
