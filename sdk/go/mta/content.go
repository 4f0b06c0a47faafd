package mta

import (
	"io"
	"iter"

	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/internal/guest"
)

// MessageSize is the length of the content in octets.
func (s *Session) MessageSize() int64 { return number64(abi.MsgSize) }

// MessageID is the value of the field Message-ID.
func (s *Session) MessageID() string { return text(abi.MsgID) }

// ReceivedCount is the number of Received fields: how many servers the message
// has passed.
func (s *Session) ReceivedCount() int { return number(abi.ReceivedCount) }

// Header is the message's header section. Hooks headers, message, route,
// attempt, result; needs the grant headers = "read", for changes "write".
// Changes are possible at headers, message and attempt.
func (s *Session) Header() Header { return Header{} }

// Header reads and changes header fields. Names are compared without regard to
// case; values are unfolded when read and folded when written.
type Header struct{}

// Len is the number of fields.
func (Header) Len() int { return int(max(guest.ListLen(abi.ListHeader), 0)) }

// Get is the value of the first field called name; empty: there is none.
func (Header) Get(name string) string {
	if i := guest.ListFind(abi.ListHeader, 0, name); i >= 0 {
		return headerText(i, abi.HeaderValue)
	}
	return ""
}

// Has tells whether there is a field called name.
func (Header) Has(name string) bool { return guest.ListFind(abi.ListHeader, 0, name) >= 0 }

// Values are the values of the fields called name, from the top.
func (Header) Values(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := guest.ListFind(abi.ListHeader, 0, name); i >= 0; i = guest.ListFind(abi.ListHeader, i+1, name) {
			if !yield(headerText(i, abi.HeaderValue)) {
				return
			}
		}
	}
}

// All are the fields from the top, name and value.
func (h Header) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := range int32(h.Len()) {
			if !yield(headerText(i, abi.HeaderName), headerText(i, abi.HeaderValue)) {
				return
			}
		}
	}
}

// Raw is the header section as it stands, with folds and the empty line.
func (Header) Raw() (string, error) { return textOrError(abi.RawHeaders) }

// Add appends a field. abi.Conflict: the field may occur once, and is there.
func (Header) Add(name, value string) error { return insert(-1, name, value) }

// Prepend puts a field on top, where trace fields belong.
func (Header) Prepend(name, value string) error { return insert(0, name, value) }

// Set gives name this one value: it changes the first field, removes further
// ones, and appends a field if there is none.
func (h Header) Set(name, value string) error {
	i := guest.ListFind(abi.ListHeader, 0, name)
	if i < 0 {
		return h.Add(name, value)
	}
	if err := check(guest.ListSet(abi.ListHeader, i, abi.HeaderValue, value)); err != nil {
		return err
	}
	return deleteFrom(i+1, name)
}

// Del removes all fields called name.
func (Header) Del(name string) error { return deleteFrom(0, name) }

func deleteFrom(i int32, name string) error {
	for {
		i = guest.ListFind(abi.ListHeader, i, name)
		if abi.Code(i) == abi.NotFound {
			return nil
		}
		if i < 0 {
			return abi.Code(i)
		}
		if err := check(guest.ListRemove(abi.ListHeader, i)); err != nil {
			return err
		}
	}
}

func insert(i int32, name, value string) error {
	return check(guest.ListInsert(abi.ListHeader, i, name+": "+value))
}

func headerText(i int32, f abi.ListField) string {
	t, _ := read(func(b []byte) int32 { return guest.ListGet(abi.ListHeader, i, f, b) })
	return t
}

// Body is the message's body. Hooks message, route, attempt, result; needs the
// grant body = "read". The body stays in the server until it is read.
func (s *Session) Body() *Body { return new(Body) }

// Body reads a body: from the beginning as an io.Reader, anywhere as an
// io.ReaderAt.
type Body struct{ off int64 }

// Size is the length in octets.
func (*Body) Size() int64 { return number64(abi.BodySize) }

// Read reads on.
func (b *Body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n := guest.BodyRead(b.off, p)
	if n < 0 {
		return 0, abi.Code(n)
	}
	if n == 0 {
		return 0, io.EOF
	}
	b.off += int64(n)
	return int(n), nil
}

// ReadAt reads at off.
func (*Body) ReadAt(p []byte, off int64) (int, error) {
	read := 0
	for read < len(p) {
		n := guest.BodyRead(off+int64(read), p[read:])
		if n < 0 {
			return read, abi.Code(n)
		}
		if n == 0 {
			return read, io.EOF
		}
		read += int(n)
	}
	return read, nil
}
