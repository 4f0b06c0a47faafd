//go:build !linux

package main

import (
	"context"
	"errors"
	"io"
)

const insideNamespace = "WASMTA_LAB_NAMESPACE"

func enterNamespace(context.Context, flags, []string, io.Writer, io.Writer) (int, error) {
	return 2, errors.New("-netns needs the network namespaces of Linux")
}
