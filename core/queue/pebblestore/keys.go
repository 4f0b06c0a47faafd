package pebblestore

import (
	"encoding/binary"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/wasmta/wasmta/core/mail"
	"github.com/wasmta/wasmta/core/queue"
)

// The first octet of a key is its table; see the list in package queue.
const (
	tableMessage = 'm'
	tableChunk   = 'c'
	tableItem    = 'e'
	tableDue     = 'd'
	tableDomain  = 'n'
	tableState   = 's'
)

const (
	itemKeyLen = 1 + 8 + 4
	dueKeyLen  = 1 + 8 + 8 + 4
)

func messageKey(id mail.ID) []byte { return idKey(tableMessage, id) }

func idKey(table byte, id mail.ID) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, itemKeyLen), table), uint64(id))
}

// idRange are the keys of one id in table m, c or e.
func idRange(table byte, id mail.ID) *pebble.IterOptions {
	upper := []byte{table + 1}
	if id+1 != 0 {
		upper = idKey(table, id+1)
	}
	return &pebble.IterOptions{LowerBound: idKey(table, id), UpperBound: upper}
}

func chunkKey(id mail.ID, chunk uint32) []byte {
	return binary.BigEndian.AppendUint32(idKey(tableChunk, id), chunk)
}

func itemKey(r queue.Ref) []byte {
	return binary.BigEndian.AppendUint32(idKey(tableItem, r.ID), r.Item)
}

func dueKey(due time.Time, r queue.Ref) []byte {
	k := append(make([]byte, 0, dueKeyLen+1), tableDue)
	k = binary.BigEndian.AppendUint64(k, uint64(max(millis(due), 0)))
	return appendRef(k, r)
}

func domainPrefix(domain string) []byte {
	k := append(make([]byte, 0, 1+len(domain)+1+12), tableDomain)
	return append(append(k, domain...), 0)
}

func domainKey(domain string, r queue.Ref) []byte { return appendRef(domainPrefix(domain), r) }

func stateKey(name string) []byte { return append([]byte{tableState}, name...) }

func appendRef(k []byte, r queue.Ref) []byte {
	k = binary.BigEndian.AppendUint64(k, uint64(r.ID))
	return binary.BigEndian.AppendUint32(k, r.Item)
}

// keyID is the id that follows the table octet in m, c and e keys.
func keyID(k []byte) (mail.ID, bool) {
	if len(k) < 9 {
		return 0, false
	}
	return mail.ID(binary.BigEndian.Uint64(k[1:])), true
}

// keyRef is the ref that ends e, d and n keys.
func keyRef(k []byte) (queue.Ref, bool) {
	if len(k) < itemKeyLen {
		return queue.Ref{}, false
	}
	k = k[len(k)-12:]
	return queue.Ref{ID: mail.ID(binary.BigEndian.Uint64(k)), Item: binary.BigEndian.Uint32(k[8:])}, true
}

// keyDue is the time in a d key.
func keyDue(k []byte) (time.Time, bool) {
	if len(k) != dueKeyLen {
		return time.Time{}, false
	}
	return fromMillis(int64(binary.BigEndian.Uint64(k[1:]))), true
}

// Times are stored to the millisecond and between these two, so that no clock
// and no plugin can wrap one round.
const (
	minMillis = -62135596800000 // 0001-01-01
	maxMillis = 253402300799999 // 9999-12-31
)

// millis is t in milliseconds since 1970.
func millis(t time.Time) int64 {
	switch y := t.Year(); {
	case y < 1:
		return minMillis
	case y > 9999:
		return maxMillis
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
