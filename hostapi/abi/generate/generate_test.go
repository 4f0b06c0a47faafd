package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/hostapi/abi"
)

const root = "../../.."

func TestGeneratedFilesAreUpToDate(t *testing.T) {
	c, err := read("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range targets {
		old, err := os.ReadFile(filepath.Join(root, target.path))
		if err != nil {
			t.Error(err)
			continue
		}
		now, err := target.content(c, old)
		if err != nil || !bytes.Equal(old, now) {
			t.Errorf("%s is not what hostapi/abi says (%v): go run ./hostapi/abi/generate", target.path, err)
		}
	}
}

// The names in all languages are those that the contract gives the numbers.
func TestNamesAreThoseOfTheContract(t *testing.T) {
	c, err := read("..")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	row := func(pattern string, args ...string) bool {
		for i, a := range args {
			args[i] = regexp.QuoteMeta(a)
		}
		return regexp.MustCompile("(?m)^" + regexp.MustCompile(`%`).ReplaceAllStringFunc(pattern, func(string) string {
			a := args[0]
			args = args[1:]
			return a
		})).Match(readme)
	}
	for _, g := range c.groups {
		for _, n := range g.list {
			value := strconv.FormatInt(n.value, 10)
			found := false
			switch g.name {
			case "code", "list", "scope", "feature":
				found = row(`\| % \| % \|`, value, n.name)
			case "field":
				found = row(`\| % \| % \|`, g.literal(n), n.name)
			case "action", "flag":
				found = row(`\| % \| % \|`, n.name, value)
			case "element":
				list, field, _ := strings.Cut(n.name, "_")
				found = row(`\| % \| % \| % \|`, list, field, value)
			default: // limits and levels have no names there; the tests of hostapi compare the numbers
				found = true
			}
			if !found {
				t.Errorf("README.md has no %s %s with the number %s", g.name, n.name, value)
			}
		}
	}
	for _, f := range c.functions {
		var names []string
		for _, p := range f.params {
			names = append(names, p.name)
		}
		if !row("\\| `%` \\| `[iI]*>[iI]` \\| % \\|", f.name, strings.Join(names, ", ")) {
			t.Errorf("README.md does not give %s the parameters %q", f.name, names)
		}
	}
}

// What the source says is what the package says.
func TestSourceIsThePackage(t *testing.T) {
	c, err := read("..")
	if err != nil {
		t.Fatal(err)
	}
	if c.module != abi.Module || c.version != [2]int64{abi.Major, abi.Minor} {
		t.Errorf("module %q version %v", c.module, c.version)
	}
	n := 0
	abi.Hooks(func(name string) {
		if n >= len(c.hooks) || c.hooks[n] != name {
			t.Errorf("hook %d is not %s", n, name)
		}
		n++
	})
	n = 0
	abi.Parameters(func(name, params string) {
		if n >= len(c.functions) || c.functions[n].name != name || strings.Count(params, ", ") != max(len(c.functions[n].params)-1, 0) {
			t.Errorf("function %d is not %s(%s)", n, name, params)
		}
		n++
	})
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"RemoteIP": "REMOTE_IP", "PTRName": "PTR_NAME", "SMTPUTF8": "SMTPUTF8", "DSNRet": "DSN_RET", "Helo": "HELO", "ClientCertFP": "CLIENT_CERT_FP",
	} {
		if got := contractName("Field", name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if got := contractName("Code", "NotFound"); got != "E_NOT_FOUND" {
		t.Errorf("NotFound is %s", got)
	}
	if _, err := parseFunction("get", "iii>i", "field"); err == nil {
		t.Error("parameters without names pass")
	}
	if _, err := (target{part: true, render: renderC}).content(&contract{}, []byte("no marks")); err == nil {
		t.Error("a file without marks is overwritten")
	}
}
