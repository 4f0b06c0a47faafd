package meter

import "fmt"

// Shell is a metered module whose instances begin empty: what WebAssembly does
// when a module is instantiated, copying data and calling the start function,
// is left to the host. It can do so once, let the guest initialise itself, take
// an image of memory and globals, and give each further instance the image.
type Shell struct {
	Code    []byte    // the module; no active data segments, no start function
	Data    []Segment // what the host copies into memory, in this order
	Globals []string  // exports of all mutable globals that a guest has: with the memory, its state
	Start   string    // export of the start function; empty: there is none
	// Image tells whether memory and globals are all the state that a guest can
	// have. It is false if the code changes tables or drops segments, or has
	// mutable globals of references or vectors, which a host cannot set.
	Image bool
}

// Segment is an active data segment.
type Segment struct {
	Offset uint32
	Bytes  []byte
}

// The exports of a Shell beside those of a metered module.
const (
	startExport  = ExportPrefix + "start"
	globalExport = ExportPrefix + "global."
)

// Split rewrites wasm as [Rewrite] does, into a Shell.
func Split(wasm []byte, limits Limits) (*Shell, error) {
	s := &Shell{Image: true}
	code, err := rewrite(wasm, limits, s)
	if err != nil {
		return nil, err
	}
	s.Code = code
	return s, nil
}

// mutable notes a mutable global of the guest.
func (s *Shell) mutable(index int, t ValueType) {
	switch t {
	case I32, I64, F32, F64:
		s.Globals = append(s.Globals, fmt.Sprintf("%s%d", globalExport, index))
	default:
		s.Image = false
	}
}

// exports appends the additional exports, and counts them.
func (s *Shell) exports(b []byte, w *rewriter) ([]byte, int) {
	n := len(s.Globals)
	for i, name := range s.Globals {
		b = appendU32(append(appendName(b, name), byte(KindGlobal)), uint32(w.mutables[i]))
	}
	if w.m.start >= 0 {
		s.Start = startExport
		b = appendU32(append(appendName(b, startExport), byte(KindFunc)), w.moved(uint32(w.m.start)))
		n++
	}
	return b, n
}

// segment takes an active segment over; the offset is a constant expression
// that was checked.
func (s *Shell) segment(offset, content []byte) error {
	if offset[0] != opI32Const {
		return &Error{Unsupported, -1, "a data segment whose offset is not a number; build without position independent code"}
	}
	r := &reader{b: offset[1:]}
	s.Data = append(s.Data, Segment{uint32(r.signed(32)), content})
	return nil
}

// emptySegments is a data section of n passive segments without content: what
// an active segment is after it was copied.
func emptySegments(kinds []bool, passive [][]byte) []byte {
	b := appendU32(nil, uint32(len(kinds)))
	for i, active := range kinds {
		b = append(b, 1)
		if active {
			b = append(b, 0)
		} else {
			b = appendVec(b, passive[i])
		}
	}
	return b
}
