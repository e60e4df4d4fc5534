package vuln

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"
)

// errDamaged is what every accessor returns when bytes of the file do not mean
// what they should. It is wrapped with the place and, at the edge, with the command
// that repairs the file.
var errDamaged = errors.New("damaged")

// encoder appends values to a buffer.
type encoder struct{ b []byte }

func (e *encoder) uint(v uint64)   { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int)       { e.b = binary.AppendUvarint(e.b, uint64(v)) }
func (e *encoder) byte(v byte)     { e.b = append(e.b, v) }
func (e *encoder) string(s string) { e.int(len(s)); e.b = append(e.b, s...) }
func (e *encoder) strings(s []string) {
	e.int(len(s))
	for _, x := range s {
		e.string(x)
	}
}

// time keeps seconds; the zero time is 0.
func (e *encoder) time(t time.Time) {
	if t.IsZero() || t.Unix() <= 0 {
		e.uint(0)
		return
	}
	e.uint(uint64(t.Unix()))
}

// decoder reads what encoder wrote. After the first error every read returns zero
// values, so that callers check once. No count is trusted: a list of n strings
// needs at least n bytes, which bounds every allocation by the input's size.
//
// Strings alias the input. They live as long as the mapping and must be cloned
// before they leave the package.
type decoder struct {
	b   []byte
	off int
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%s at byte %d: %w", what, d.off, errDamaged)
	}
	d.off = len(d.b)
}

func (d *decoder) rest() int { return len(d.b) - d.off }

func (d *decoder) uint() uint64 {
	if d.off < len(d.b) && d.b[d.off] < 0x80 { // one byte: the common case
		v := d.b[d.off]
		d.off++
		return uint64(v)
	}
	v, n := binary.Uvarint(d.b[d.off:])
	if n <= 0 {
		d.fail("number")
		return 0
	}
	d.off += n
	return v
}

func (d *decoder) byte() byte {
	if d.off >= len(d.b) {
		d.fail("byte")
		return 0
	}
	v := d.b[d.off]
	d.off++
	return v
}

// count reads the length of a list whose elements take at least one byte each.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(d.rest()) {
		d.fail("count")
		return 0
	}
	return int(n)
}

func (d *decoder) string() string {
	n := d.count()
	if n == 0 {
		return ""
	}
	s := unsafe.String(&d.b[d.off], n)
	d.off += n
	return s
}

func (d *decoder) bytes() []byte {
	n := d.count()
	b := d.b[d.off : d.off+n]
	d.off += n
	return b
}

func (d *decoder) strings() []string {
	n := d.count()
	if n == 0 {
		return nil
	}
	out := make([]string, 0, min(n, 64))
	for i := 0; i < n && d.err == nil; i++ {
		out = append(out, d.string())
	}
	return out
}

func (d *decoder) time() time.Time {
	v := d.uint()
	if v == 0 {
		return time.Time{}
	}
	if v > 1<<40 {
		d.fail("time")
		return time.Time{}
	}
	return time.Unix(int64(v), 0).UTC()
}
