package profile

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxSyscalls is the width of the bitmaps Book.Syscalls takes: numbers beyond it are
// no calls of this kernel (x32 and 32-bit programs have their own tables and are not
// learned; a seccomp profile made here refuses them).
const MaxSyscalls = 512

// Arch names a table of system calls the way Go does: "amd64" or "arm64".
type Arch string

const (
	AMD64 Arch = "amd64"
	ARM64 Arch = "arm64"
)

func (a Arch) table() []string {
	switch a {
	case AMD64:
		return syscallsAmd64[:]
	case ARM64:
		return syscallsArm64[:]
	}
	return nil
}

// ParseArch reads "amd64" or "arm64".
func ParseArch(s string) (Arch, error) {
	if a := Arch(s); a.table() != nil {
		return a, nil
	}
	return "", fmt.Errorf("architecture %q: system calls are known for amd64 and arm64", s)
}

// SyscallName returns the name of a call, "syscall_468" for a number that is in no
// table: a newer kernel's call is still a behaviour. The names are those of
// libseccomp and strace.
func SyscallName(a Arch, number int) string {
	if t := a.table(); number >= 0 && number < len(t) && t[number] != "" {
		return t[number]
	}
	return "syscall_" + strconv.Itoa(number)
}

// SyscallNumber is the opposite of SyscallName.
func SyscallNumber(a Arch, name string) (int, bool) {
	for n, s := range a.table() {
		if s != "" && s == name {
			return n, true
		}
	}
	if d, ok := strings.CutPrefix(name, "syscall_"); ok {
		if n, err := strconv.Atoi(d); err == nil && n >= 0 && n < MaxSyscalls {
			return n, true
		}
	}
	return 0, false
}
