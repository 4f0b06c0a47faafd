package trace

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// entry says where a frame is that has an id.
type entry struct {
	id     uint64
	offset uint32
}

// segment is one file of the trace. The one in use has its entries in memory,
// in the order of the frames.
type segment struct {
	dir     string
	number  uint64
	size    int64 // octets that are whole frames
	index   int64 // octets of the index
	first   time.Time
	last    time.Time // of the last write
	entries []entry
}

func (g *segment) path() string { return filepath.Join(g.dir, fmt.Sprintf("%016x.trace", g.number)) }
func (g *segment) indexPath() string {
	return filepath.Join(g.dir, fmt.Sprintf("%016x.index", g.number))
}

// note adds the frames of b, which stand at the segment's end.
func (g *segment) note(b []byte, at time.Time) {
	for len(b) > 0 {
		f, err := readFrame(b)
		if err != nil {
			return // we made it: this does not happen
		}
		g.add(&f, g.size)
		g.size += int64(f.complete)
		b = b[f.complete:]
	}
	g.last = at
}

func (g *segment) add(f *frame, offset int64) {
	if f.session != 0 {
		g.entries = append(g.entries, entry{f.session, uint32(offset)})
	}
	if f.message != 0 {
		g.entries = append(g.entries, entry{f.message, uint32(offset)})
	}
}

// scan reads a segment from its beginning: entries and size. damaged is how many
// octets in the middle are no frames; what is behind the last frame is not part
// of the segment.
func (g *segment) scan() (damaged int64, err error) {
	b, err := os.ReadFile(g.path())
	if err != nil {
		return 0, err
	}
	g.size, g.entries = 0, nil
	for at := 0; at < len(b); {
		f, err := readFrame(b[at:])
		if err != nil {
			next := bytes.Index(b[at+1:], []byte(magic))
			if next < 0 {
				break
			}
			at += 1 + next
			continue
		}
		damaged += int64(at) - g.size
		if len(g.entries) == 0 {
			g.first = f.start
		}
		if f.start.After(g.last) {
			g.last = f.start
		}
		g.add(&f, int64(at))
		at += f.complete
		g.size = int64(at)
	}
	return damaged, nil
}

// Layout of an index: magic, number of entries (4), time of the first and of
// the last write (8 each), entries, CRC-32C of all that (4).
const (
	indexMagic = "wti1"
	indexHead  = len(indexMagic) + 4 + 8 + 8
	entrySize  = 8 + 4
)

// seal writes the index and forgets the entries.
func (g *segment) seal() error {
	list := slices.Clone(g.entries)
	slices.SortFunc(list, func(a, b entry) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.offset, b.offset)) })
	b := make([]byte, 0, indexHead+len(list)*entrySize+4)
	b = append(b, indexMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(list)))
	b = binary.LittleEndian.AppendUint64(b, uint64(g.first.UnixNano()))
	b = binary.LittleEndian.AppendUint64(b, uint64(g.last.UnixNano()))
	for _, e := range list {
		b = binary.LittleEndian.AppendUint64(b, e.id)
		b = binary.LittleEndian.AppendUint32(b, e.offset)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	temp := g.indexPath() + ".new"
	if err := os.WriteFile(temp, b, 0o600); err != nil {
		return errors.Join(err, ignoreAbsent(os.Remove(temp)))
	}
	if err := os.Rename(temp, g.indexPath()); err != nil {
		return err
	}
	g.index, g.entries = int64(len(b)), nil
	return nil
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// readIndex checks the index and takes what it says of the segment.
func (g *segment) readIndex() error {
	b, err := os.ReadFile(g.indexPath())
	if err != nil {
		return err
	}
	if len(b) < indexHead+4 || string(b[:len(indexMagic)]) != indexMagic ||
		len(b) != indexHead+4+entrySize*int(binary.LittleEndian.Uint32(b[len(indexMagic):])) ||
		crc32.Checksum(b[:len(b)-4], castagnoli) != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return errDamaged
	}
	g.index = int64(len(b))
	g.first = time.Unix(0, int64(binary.LittleEndian.Uint64(b[len(indexMagic)+4:])))
	g.last = time.Unix(0, int64(binary.LittleEndian.Uint64(b[len(indexMagic)+12:])))
	return nil
}

// offsets are those of the frames with an id, in their order.
func (g *segment) offsets(id uint64) (list []uint32, err error) {
	if g.index == 0 {
		for _, e := range g.entries {
			if e.id == id && !slices.Contains(list, e.offset) {
				list = append(list, e.offset)
			}
		}
		return list, nil
	}
	f, err := os.Open(g.indexPath())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b [entrySize]byte
	at := func(i int) (entry, error) {
		_, err := f.ReadAt(b[:], int64(indexHead+i*entrySize))
		return entry{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint32(b[8:])}, err
	}
	n := (int(g.index) - indexHead - 4) / entrySize
	low, high := 0, n
	for low < high {
		middle := int(uint(low+high) / 2)
		e, err := at(middle)
		if err != nil {
			return nil, err
		}
		if e.id < id {
			low = middle + 1
		} else {
			high = middle
		}
	}
	for ; low < n; low++ {
		e, err := at(low)
		if err != nil {
			return list, err
		}
		if e.id != id {
			break
		}
		if len(list) == 0 || list[len(list)-1] != e.offset {
			list = append(list, e.offset)
		}
	}
	return list, nil
}

// frameAt reads one frame; b is used for it if it is large enough.
func frameAt(f io.ReaderAt, offset int64) (frame, error) {
	var head [frameHead]byte
	if _, err := f.ReadAt(head[:], offset); err != nil {
		return frame{}, err
	}
	size := binary.LittleEndian.Uint32(head[len(magic):])
	if size > maxPayload {
		return frame{}, errDamaged
	}
	b := make([]byte, frameHead+int(size))
	if _, err := f.ReadAt(b, offset); err != nil {
		return frame{}, err
	}
	return readFrame(b)
}

// listSegments finds what is in a directory, oldest first.
func listSegments(dir string) ([]*segment, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []*segment
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), ".trace")
		n, err := strconv.ParseUint(name, 16, 64)
		if !ok || err != nil || len(name) != 16 {
			continue
		}
		info, err := f.Info()
		if err != nil {
			continue // removed meanwhile
		}
		list = append(list, &segment{dir: dir, number: n, size: info.Size(), first: info.ModTime(), last: info.ModTime()})
	}
	return list, nil // ReadDir sorts
}
