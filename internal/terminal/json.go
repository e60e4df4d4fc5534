package terminal

import (
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON returns a writer for a terminal that takes JSON and writes the same JSON, in which
// what could act on the terminal is escaped: encoders leave DEL, the control characters
// above it and the invisible ones as they are. Such characters stand in strings only.
func JSON(w io.Writer) io.Writer { return &jsonWriter{w: w} }

type jsonWriter struct {
	w    io.Writer
	rest []byte // the beginning of a character
	out  []byte
}

// Write implements io.Writer. The beginning of a character waits for the rest of it.
func (j *jsonWriter) Write(b []byte) (int, error) {
	in := append(j.rest, b...)
	j.out = j.out[:0]
	for len(in) > 0 && (utf8.FullRune(in) || len(in) >= utf8.UTFMax) {
		r, n := utf8.DecodeRune(in)
		switch {
		case r == utf8.RuneError && n == 1:
			j.out = append(j.out, `\ufffd`...)
		case r > 0xffff && hidden(r):
			a, b := utf16.EncodeRune(r)
			j.out = fmt.Appendf(j.out, `\u%04x\u%04x`, a, b)
		case r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || hidden(r):
			j.out = fmt.Appendf(j.out, `\u%04x`, r)
		default:
			j.out = append(j.out, in[:n]...)
		}
		in = in[n:]
	}
	j.rest = append(j.rest[:0:0], in...)
	if _, err := j.w.Write(j.out); err != nil {
		return 0, err
	}
	return len(b), nil
}
