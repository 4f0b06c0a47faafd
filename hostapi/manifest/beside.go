package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Files are the names that a manifest of the module at path may have: FILE.toml
// and FILE.json for FILE.wasm, and if path is a directory of source manifest.toml
// and manifest.json in it.
func Files(path string, dir bool) []string {
	base := strings.TrimSuffix(path, filepath.Ext(path))
	if dir {
		base = filepath.Join(path, "manifest")
	}
	return []string{base + ".toml", base + ".json"}
}

// Beside reads the first manifest of [Files] that there is, and returns it as
// JSON; nil: there is none.
func Beside(path string, dir bool) (json.RawMessage, string, error) {
	for _, file := range Files(path, dir) {
		if file == path {
			continue // the module has an odd name
		}
		data, err := read(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var m *Manifest
		if err == nil {
			if strings.HasSuffix(file, ".toml") {
				m, err = ParseTOML(data)
			} else {
				m, err = Parse(data)
			}
		}
		if err == nil {
			data, err = json.Marshal(m)
		}
		if err != nil {
			return nil, file, fmt.Errorf("manifest %q: %w", file, err)
		}
		return data, file, nil
	}
	return nil, "", nil
}

func read(file string) ([]byte, error) {
	info, err := os.Stat(file) // before Open, which would wait for the writer of a pipe
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxSize+1))
}

// Pin writes the hash of the module into a manifest: one that lies among the
// sources of a module is for whatever they build.
func Pin(data json.RawMessage, hash string) (json.RawMessage, error) {
	m, err := Parse(data)
	if err != nil {
		return nil, err
	}
	m.SHA256 = hash
	return json.Marshal(m)
}
