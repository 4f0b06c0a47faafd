package mailauth

import "strings"

// foldAt is where a field is folded, in octets of a line.
const foldAt = 76

// folder writes a field in pieces that may be folded before each. The first piece is the name.
type folder struct {
	b    strings.Builder
	line int // octets of the current line
}

// add appends a piece. If it would not fit the line ends before it; a blank at its start becomes the fold. A piece too
// long for a line stands on one of its own.
func (f *folder) add(piece string) {
	if f.line > 1 && f.line+len(piece) > foldAt {
		f.b.WriteString("\r\n\t")
		f.line = 1
		piece = strings.TrimPrefix(piece, " ")
	}
	f.b.WriteString(piece)
	f.line += len(piece)
}

// newLine folds before the next piece.
func (f *folder) newLine() {
	f.b.WriteString("\r\n\t")
	f.line = 1
}

// room is how much fits in the line, or in the next if nothing does.
func (f *folder) room() int {
	if f.line >= foldAt {
		return foldAt - 1
	}
	return foldAt - f.line
}

func (f *folder) String() string { return f.b.String() }
