package profile

import (
	"runtime"
	"unsafe"
)

// scratch is room in which texts are built before they are looked up. One belongs to
// a book, under its lock.
type scratch struct {
	text   []byte
	wide   [2][]byte
	hashes []uint64
}

// view is b as a string without a copy. It may be looked up and must not be kept:
// the next text overwrites it. Everything kept goes through keep.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func hostArch() Arch {
	if runtime.GOARCH == string(ARM64) {
		return ARM64
	}
	return AMD64
}
