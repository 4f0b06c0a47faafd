//go:build !linux

package engine

import "errors"

// pager is for Linux; elsewhere each instance has a copy of the whole image.
type pager struct{}

type frozen struct {
	pager   *pager
	content []byte
}

var errNoPager = errors.New("instances share the pages of an image on Linux only")

func newPager() (*pager, error)                     { return nil, errNoPager }
func (*pager) close() error                         { return nil }
func (*pager) freeze([]byte) (*frozen, error)       { return nil, errNoPager }
func (*pager) extend([]byte, int64) ([]byte, error) { return nil, errNoPager }
func (*pager) restore(_, _ []byte) (int, error)     { return 0, errNoPager }
func (*frozen) attach() ([]byte, error)             { return nil, errNoPager }
func (*frozen) close()                              {}
func discard([]byte) error                          { return errNoPager }
func (*pager) detach([]byte, int64)                 {}
