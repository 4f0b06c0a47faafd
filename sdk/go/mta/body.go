package mta

import (
	"github.com/wasmta/wasmta/hostapi/abi"
	"github.com/wasmta/wasmta/sdk/go/internal/guest"
)

// The changes of a body: hook message, with the grant body = "write". A hook
// makes one new body, so use one of these methods once, or several calls of one
// [NewBody]. Until the verdict the body reads as it was. An error leaves it as
// it was for good: abi.TooLarge, the server takes no content of this size;
// abi.Invalid, a range that there is not, or a text with NUL, with CR without LF
// or LF without CR. What describes the body, such as Content-Type or a
// signature, is the plugin's matter.

// Replace makes text the body. A final CRLF is added where there is none.
func (*Body) Replace(text string) error {
	_, err := new(NewBody).WriteString(text)
	return err
}

// Append adds text at the end.
func (b *Body) Append(text string) error { return b.Edit(Edit{Off: b.Size(), Text: text}) }

// Prepend puts text at the beginning.
func (b *Body) Prepend(text string) error { return b.Edit(Edit{Text: text}) }

// Edit is a change of a body: Text takes the place of Len octets from Off.
type Edit struct {
	Off, Len int64
	Text     string
}

// Edit makes changes, in the order of their places. What is not changed is not
// shown to the plugin, however long it is. abi.Invalid if they overlap.
func (*Body) Edit(edits ...Edit) error {
	var b NewBody
	at := int64(0)
	for _, e := range edits {
		if e.Off < at || e.Len < 0 {
			return b.fail()
		}
		if err := b.Copy(at, e.Off-at); err != nil {
			return err
		}
		if _, err := b.WriteString(e.Text); err != nil {
			return err
		}
		at = e.Off + e.Len
	}
	return b.Copy(at, -1)
}

// NewBody writes a new body from its beginning. The zero value is ready; there
// is one in a hook.
type NewBody struct{}

// Write appends p.
func (*NewBody) Write(p []byte) (int, error) {
	if err := check(guest.BodyWrite(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteString appends text.
func (*NewBody) WriteString(text string) (int, error) {
	if err := check(guest.BodyWriteString(text)); err != nil {
		return 0, err
	}
	return len(text), nil
}

// Copy appends n octets of the body as it is from off; -1: all that follow.
// Copy(0, 0) makes an empty body.
func (*NewBody) Copy(off, n int64) error { return check(guest.BodySplice(off, n)) }

// fail gives the new body up, as an error of the host does.
func (b *NewBody) fail() error {
	if err := b.Copy(-1, 0); err != nil {
		return err
	}
	return abi.Invalid
}
