package bom

import (
	"fmt"
	"io"
)

// maxElement bounds one element of a document: a package with all that belongs to it.
// The largest in real documents (a program with everything it was linked from nested
// below it) take a few megabytes. A decoder holds an element whole, several times over.
const maxElement = 32 << 20

// Elements reads a document of many elements and fails when one of them is too large
// to be held.
type Elements struct {
	r    io.Reader
	left int64
}

// NewElements reads r.
func NewElements(r io.Reader) *Elements { return &Elements{r: r, left: maxElement} }

// Begin says that an element begins. What the decoder has read ahead is not counted.
func (e *Elements) Begin() { e.left = maxElement }

func (e *Elements) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, fmt.Errorf("one element is larger than %d MiB", maxElement>>20)
	}
	if int64(len(p)) > e.left {
		p = p[:e.left]
	}
	n, err := e.r.Read(p)
	e.left -= int64(n)
	return n, err
}
