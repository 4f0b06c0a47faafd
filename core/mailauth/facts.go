package mailauth

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/wasmta/wasmta/core/mail"
)

// Facts are the results for one message, each found when it is asked for and then kept. One that was cut short because
// the asker gave up is not kept. Facts belong to one goroutine.
type Facts struct {
	r Resolver
	q SPFQuery

	header mail.Header
	body   io.ReaderAt
	size   int64

	spf   *SPF
	dkim  []DKIM
	asked bool // dkim is known
	dmarc *DMARC
}

// ErrNoContent is what DKIM and DMARC say before there is a message.
var ErrNoContent = errors.New("mailauth: the message has not come yet")

// NewFacts begins with what is known at MAIL. q.Now is the time for DKIM too.
func NewFacts(r Resolver, q SPFQuery) *Facts { return &Facts{r: r, q: q} }

// SetContent gives the message as it came, before anybody changes it. Later changes of h are not seen; the body must stay
// readable.
func (f *Facts) SetContent(h mail.Header, body io.ReaderAt, size int64) {
	f.header, f.body, f.size = h.Clone(), body, size
	f.dkim, f.asked, f.dmarc = nil, false, nil
}

// SPF is about the reverse-path, or HELO if that is null.
func (f *Facts) SPF(ctx context.Context) SPF {
	if f.spf != nil {
		return *f.spf
	}
	out := CheckSPF(ctx, f.r, f.q)
	if ctx.Err() == nil {
		f.spf = &out
	}
	return out
}

// DKIM is one result for each signature. The error is ErrNoContent, or that of reading the body.
func (f *Facts) DKIM(ctx context.Context) ([]DKIM, error) {
	if f.asked {
		return f.dkim, nil
	}
	if f.body == nil {
		return nil, ErrNoContent
	}
	out, err := VerifyDKIM(ctx, f.r, f.header, io.NewSectionReader(f.body, 0, f.size), f.q.Now)
	if err == nil && ctx.Err() == nil {
		f.dkim, f.asked = out, true
	}
	return out, err
}

// DMARC rests on both. The error is that of DKIM.
func (f *Facts) DMARC(ctx context.Context) (DMARC, error) {
	if f.dmarc != nil {
		return *f.dmarc, nil
	}
	dkim, err := f.DKIM(ctx)
	if err != nil {
		return DMARC{}, fmt.Errorf("DMARC: %w", err)
	}
	out := CheckDMARC(ctx, f.r, f.header, f.SPF(ctx), dkim)
	if ctx.Err() == nil {
		f.dmarc = &out
	}
	return out, nil
}
