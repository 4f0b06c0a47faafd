package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// visible writes what came from elsewhere so that it cannot steer a terminal
// or pretend to be something else: control and format characters and what is
// not UTF-8 become \xNN or \uNNNN. Tabs stay.
func visible(s string) string {
	clean := true
	for _, r := range s {
		if clean = r != utf8.RuneError && !hidden(r); !clean {
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n <= 1, hidden(r) && r < 0x80:
			fmt.Fprintf(&b, `\x%02X`, s[0])
		case hidden(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

func hidden(r rune) bool {
	return r != '\t' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// printLines writes text line by line, each behind prefix, without what could
// harm. A CR that ends a line is not shown.
func printLines(w io.Writer, prefix, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(w, "%s%s\n", prefix, visible(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")))
	}
}

// printJSON writes one object on one line.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// count is "1 item", "2 items".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
