package main

import (
	"slices"
	"testing"

	"github.com/wasmta/wasmta/sdk/go/plugintest"
)

func TestHello(t *testing.T) {
	p := plugintest.New(t, plugintest.Options{})
	p.Session().Ehlo("client.example").Want("continue")
	if !slices.Equal(p.Log, []string{"info: hello, client.example"}) {
		t.Errorf("log %q", p.Log)
	}
}
