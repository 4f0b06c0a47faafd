package config

import (
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

type position struct{ line, column int }

// positions maps each key of a TOML document, such as "listener.0.address", to
// its place, so that faults found after decoding can say where. What does not
// parse is left out: decoding has reported it.
func positions(data []byte) map[string]position {
	at := make(map[string]position)
	var p unstable.Parser
	p.Reset(data)
	prefix := ""
	counts := make(map[string]int)
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			var parts []string
			var first *unstable.Node
			for it := e.Key(); it.Next(); {
				if first == nil {
					first = it.Node()
				}
				parts = append(parts, string(it.Node().Data))
				// A table inside the last element of an array of tables.
				joined := strings.Join(parts, ".")
				if n, ok := counts[joined]; ok && !(e.Kind == unstable.ArrayTable && it.IsLast()) {
					parts = append(parts, strconv.Itoa(n-1))
				}
			}
			prefix = strings.Join(parts, ".")
			if e.Kind == unstable.ArrayTable {
				n := counts[prefix]
				counts[prefix] = n + 1
				prefix += "." + strconv.Itoa(n)
			}
			if first != nil {
				at[prefix] = place(&p, first)
			}
		case unstable.KeyValue:
			key := prefix
			var first *unstable.Node
			for it := e.Key(); it.Next(); {
				if first == nil {
					first = it.Node()
				}
				if key != "" {
					key += "."
				}
				key += string(it.Node().Data)
			}
			if first != nil {
				at[key] = place(&p, first)
			}
		}
	}
	return at
}

func place(p *unstable.Parser, n *unstable.Node) position {
	s := p.Shape(n.Raw).Start
	return position{s.Line, s.Column}
}
