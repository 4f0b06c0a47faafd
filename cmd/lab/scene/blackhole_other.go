//go:build !unix

package scene

import "errors"

func blackHole(string) (end func(), err error) {
	return nil, errors.New("this system has no way to make a black hole of an address")
}
