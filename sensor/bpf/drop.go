package bpf

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Drop gives back the memory that reading the objects took, about two mebibytes: they are
// loaded once. Nobody writes to them, so that the kernel reads what is needed again from
// the program's file.
func Drop() {
	for _, b := range [...][]byte{_LsmBytes, _NetworkBytes, _ProcessBytes, _ReachBytes, _SharedBytes, _SyscallsBytes, _TracingBytes} {
		// Whole pages only: other variables stand beside them.
		page := uintptr(os.Getpagesize())
		at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
		from := min(uintptr(len(b)), -at&(page-1))
		if whole := (uintptr(len(b)) - from) &^ (page - 1); whole > 0 {
			_ = unix.Madvise(b[from:from+whole], unix.MADV_DONTNEED)
		}
	}
}
