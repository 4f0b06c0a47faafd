package gobuild_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/hostapi/gobuild"
)

const plugin = `package main

//go:wasmexport mta1_init
func start() int32 { return 0 }

func main() {}
`

func module(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.test/p\n\ngo 1.24\n", "main.go": source} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBuild(t *testing.T) {
	dir := module(t, plugin)
	wasm, err := gobuild.Build(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(wasm, []byte("\x00asm\x01\x00\x00\x00")) || !bytes.Contains(wasm, []byte("mta1_init")) {
		t.Error("the result is not a module with the export")
	}
	again, err := gobuild.Build(context.Background(), dir)
	if err != nil || !bytes.Equal(wasm, again) {
		t.Errorf("the same source makes another module (%v)", err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 2 {
		t.Errorf("the build left something behind: %v", files)
	}
}

func TestBuildSaysWhatTheCompilerSaid(t *testing.T) {
	_, err := gobuild.Build(context.Background(), module(t, plugin+"\nvar x int = \"text\"\n"))
	if err == nil || !strings.Contains(err.Error(), "main.go:8") || !strings.Contains(err.Error(), "cannot use") {
		t.Errorf("error %v, want file, line and reason", err)
	}
	_, err = gobuild.Build(context.Background(), module(t, "package other\n"))
	if err == nil || !strings.Contains(err.Error(), "main package") {
		t.Errorf("package other: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err = gobuild.Build(ctx, module(t, plugin)); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestWithoutGo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := gobuild.Build(context.Background(), module(t, plugin)); !errors.Is(err, gobuild.ErrNoGo) {
		t.Errorf("error %v, want %v", err, gobuild.ErrNoGo)
	}
}

func TestSources(t *testing.T) {
	dir := module(t, plugin)
	for _, name := range []string{"sub/a.go", "main_test.go", ".hidden/b.go", "testdata/c.go", "notes.txt", ".#main.go"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := gobuild.Sources(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		rel, _ := filepath.Rel(dir, f)
		got = append(got, rel)
	}
	if strings.Join(got, " ") != "go.mod main.go sub/a.go" {
		t.Errorf("sources %v", got)
	}
	if _, err := gobuild.Sources(filepath.Join(dir, "none")); err == nil {
		t.Error("a missing directory is no error")
	}
}
