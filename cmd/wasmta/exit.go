package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/wasmta/wasmta/core/admin"
	"github.com/wasmta/wasmta/core/config"
	"github.com/wasmta/wasmta/core/queue"
)

// Exit codes, as in sysexits.h.
const (
	exOK          = 0
	exUsage       = 64 // the command line is wrong
	exDataErr     = 65 // input is wrong
	exNoInput     = 66 // a file or message does not exist
	exNoUser      = 67 // an address cannot be
	exNoHost      = 68 // a host name is unknown
	exUnavailable = 69 // no server answers, or it refuses
	exSoftware    = 70 // our fault
	exCantCreat   = 73 // an output file cannot be made
	exIOErr       = 74
	exTempFail    = 75 // try again later
	exProtocol    = 76 // the other side does not speak SMTP
	exNoPerm      = 77
	exConfig      = 78 // the configuration file is wrong
)

// exit ends a command with a code. err is said on standard error, unless it is
// nil: then everything was said.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e exit) Unwrap() error { return e.err }

func exitf(code int, format string, args ...any) error {
	return exit{code, fmt.Errorf(format, args...)}
}

// exitCode is the code for an error that is not an exit.
func exitCode(err error) int {
	var e exit
	var refused *admin.Error
	var bad *config.Error
	switch {
	case errors.As(err, &e):
		return e.code
	case errors.As(err, &bad):
		return exConfig
	case errors.Is(err, admin.ErrNoServer):
		return exUnavailable
	case errors.Is(err, queue.ErrStorage):
		return exTempFail
	case errors.Is(err, fs.ErrPermission):
		return exNoPerm
	case errors.As(err, &refused):
		switch refused.Status {
		case http.StatusNotFound:
			return exNoInput
		case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
			return exDataErr
		case http.StatusServiceUnavailable:
			return exTempFail
		}
	}
	return exSoftware
}
