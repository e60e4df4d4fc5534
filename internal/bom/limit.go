package bom

import (
	"fmt"
	"io"
)

// LimitReader reads at most n bytes of r and fails, rather than ends, when there
// are more: a document cut short must not look like a small one.
func LimitReader(r io.Reader, n int64) io.Reader { return &limited{r: r, left: n, max: n} }

type limited struct {
	r         io.Reader
	left, max int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		var one [1]byte
		if n, err := l.r.Read(one[:]); n == 0 {
			return 0, err
		}
		return 0, fmt.Errorf("larger than %d MiB", l.max>>20)
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	return n, err
}
