// Package config decodes a plugin's configuration into a struct, with
// encoding/json. That makes the module about a megabyte larger; for a few
// values the methods of mta.Config do.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/wasmta/wasmta/sdk/go/mta"
)

// Decode decodes the configuration into v, a pointer to a struct. A key that
// the struct does not have is an error: it is a mistake in the configuration.
func Decode(c *mta.Config, v any) error {
	d := json.NewDecoder(bytes.NewReader([]byte(c.JSON())))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("config: more follows the object")
	}
	return nil
}
