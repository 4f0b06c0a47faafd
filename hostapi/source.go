package hostapi

import (
	"embed"
	"io/fs"
)

//go:embed abi/*.go
var abiSource embed.FS

// ABISource is the Go source of package abi, in the directory "abi": the SDK for
// Go stands on it, so that a plugin's directory needs both.
func ABISource() fs.FS { return abiSource }
