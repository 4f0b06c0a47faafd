package manager

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// Watch looks at the sources of the plugins with Dev until ctx ends, and loads
// a plugin again when they have changed and then rested for Debounce. What
// cannot be built or loaded leaves the old one in force, says why in the log,
// and is tried again when the sources change again.
//
// It compares modification times and sizes, and contents where these differ:
// polling works on every file system, and a save that changes nothing is not a
// change.
func (m *Manager) Watch(ctx context.Context) {
	ctx = By(ctx, "dev watch")
	ticker := time.NewTicker(m.o.Poll)
	defer ticker.Stop()
	seen := make(map[string]sighting) // by plugin
	for {
		for _, e := range m.snapshot() {
			if e.spec.Dev && ctx.Err() == nil {
				seen[e.spec.Name] = m.look(ctx, e, seen[e.spec.Name])
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// sighting is what Watch last saw of a plugin's sources.
type sighting struct {
	stamp   string    // their names, times and sizes
	since   time.Time // when they began to look like this
	handled bool      // their content was compared
}

func (m *Manager) look(ctx context.Context, e entry, s sighting) sighting {
	if stamp := m.stamp(e.spec.Module); stamp != s.stamp {
		return sighting{stamp: stamp, since: time.Now()}
	}
	if s.handled || time.Since(s.since) < m.o.Debounce {
		return s
	}
	s.handled = true
	if m.fingerprint(e.spec.Module) != e.tried {
		_ = m.Reload(ctx, e.spec.Name) // a failure is logged and listed there
	}
	return s
}

func (m *Manager) stamp(path string) string {
	files, err := m.sources(path)
	if err != nil {
		return path + ": " + err.Error()
	}
	var b strings.Builder
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			fmt.Fprintf(&b, "%q: %v\n", file, err)
			continue
		}
		fmt.Fprintf(&b, "%q: %d %d\n", file, info.ModTime().UnixNano(), info.Size())
	}
	return path + "\n" + b.String()
}
