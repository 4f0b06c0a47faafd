package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// target is a generated file, or the part of one between two marks.
type target struct {
	path   string // from the root of the repository
	part   bool
	render func(*contract) []byte
}

var targets = []target{
	{"sdk/c/mta1.h", true, renderC},
	{"sdk/rust/src/abi.rs", false, renderRust},
	{"sdk/assemblyscript/assembly/abi.ts", false, renderAssemblyScript},
	{"sdk/zig/src/abi.zig", false, renderZig},
}

// The marks of a generated part, in files that also hold written code.
const (
	begin = "/* The rest up to the end mark is generated from hostapi/abi: go run ./hostapi/abi/generate */\n"
	end   = "/* End of what is generated. */\n"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// run writes all files below root.
func run(root string) error {
	c, err := read(filepath.Join(root, "hostapi", "abi"))
	if err != nil {
		return err
	}
	for _, t := range targets {
		path := filepath.Join(root, filepath.FromSlash(t.path))
		old, _ := os.ReadFile(path)
		now, err := t.content(c, old)
		if err != nil {
			return fmt.Errorf("%s: %w", t.path, err)
		}
		if bytes.Equal(old, now) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, now, 0o644); err != nil {
			return err
		}
		fmt.Println(t.path)
	}
	return nil
}

// content is what the file must hold that now holds old.
func (t target) content(c *contract, old []byte) ([]byte, error) {
	text := t.render(c)
	if !t.part {
		return text, nil
	}
	head, rest, ok1 := bytes.Cut(old, []byte(begin))
	_, tail, ok2 := bytes.Cut(rest, []byte(end))
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("it lacks the marks of the generated part:\n%s%s", begin, end)
	}
	return bytes.Join([][]byte{head, []byte(begin), text, []byte(end), tail}, nil), nil
}
