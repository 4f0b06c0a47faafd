// Package packaging_test looks at the files that packages are made of.
package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wasmta/wasmta/core/config"
)

// What an installation does before anybody has written a line: it takes mail
// from this machine only.
func TestDefaultConfigurationsAreSafe(t *testing.T) {
	for _, file := range []string{"wasmta.toml", "container.toml"} {
		c, err := config.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range c.Listeners {
			if !l.Local() {
				t.Errorf("%s: the listener %q can be reached from outside", file, l.Name)
			}
		}
		for _, p := range c.RelayNetworks {
			if !p.Addr().IsLoopback() {
				t.Errorf("%s: %s may relay", file, p)
			}
		}
		if !c.IsLocal("localhost") || len(c.LocalDomains) != 2 || c.DataDir != "/var/lib/wasmta" || c.Admin.HTTP != "" {
			t.Errorf("%s: %+v", file, c)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestUnits(t *testing.T) {
	unit := read(t, "wasmta.service")
	for _, line := range []string{"Type=notify", "User=wasmta", "NoNewPrivileges=yes", "ProtectSystem=strict", "AmbientCapabilities=CAP_NET_BIND_SERVICE", "RestartPreventExitStatus=64 78"} {
		if !strings.Contains(unit, "\n"+line+"\n") {
			t.Errorf("wasmta.service lacks %s", line)
		}
	}
	if strings.Contains(unit, "\nMemoryDenyWriteExecute=") {
		t.Error("plugins would run in the interpreter")
	}
	sockets, err := filepath.Glob("*.socket")
	if err != nil || len(sockets) == 0 {
		t.Fatalf("%v, %d socket units", err, len(sockets))
	}
	manual := read(t, "man/wasmta.8")
	for _, file := range sockets {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "wasmta-"), ".socket")
		if text := read(t, file); !strings.Contains(text, "\nFileDescriptorName="+name+"\n") || !strings.Contains(text, "\nService=wasmta.service\n") {
			t.Errorf("%s is not for a listener at systemd:%s", file, name)
		}
		if !strings.Contains(manual, "systemd:"+name) {
			t.Errorf("wasmta(8) does not know %s", file)
		}
	}
}

// The manual has every command, and each table of the configuration.
func TestManuals(t *testing.T) {
	source := read(t, "../main.go")
	manual := read(t, "man/wasmta.8")
	for _, m := range regexp.MustCompile(`(?m)^\t([A-Z][a-z]+) +[a-z]+Cmd +`+"`").FindAllStringSubmatch(source, -1) {
		if !strings.Contains(manual, strings.ToLower(m[1])) {
			t.Errorf("wasmta(8) lacks the command %s", strings.ToLower(m[1]))
		}
	}
	manual = read(t, "man/wasmta.toml.5")
	for _, m := range regexp.MustCompile(`(?m)^(?:# )?(\[\[?[a-z_]+\]\]?)`).FindAllStringSubmatch(read(t, "../../../core/config/sample.toml"), -1) {
		if !strings.Contains(manual, m[1]) {
			t.Errorf("wasmta.toml(5) lacks %s", m[1])
		}
	}
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Skip("needs mandoc to look at the form of the manuals: apt-get install mandoc")
	}
	pages, _ := filepath.Glob("man/*")
	for _, page := range pages {
		if out, err := exec.Command(mandoc, "-T", "lint", "-W", "warning", page).CombinedOutput(); err != nil {
			t.Errorf("%s", out)
		}
	}
}
