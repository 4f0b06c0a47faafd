package main

import (
	"context"
	"errors"

	"github.com/wasmta/wasmta/hostapi"
)

func runServe(context.Context, string, string) int { return exSoftware }

func loadPlugin(context.Context, hostapi.Spec) error { return errors.ErrUnsupported }

func inspectModule([]byte) (any, string, error) { return nil, "", errors.ErrUnsupported }
