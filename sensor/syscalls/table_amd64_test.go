package syscalls

import "golang.org/x/sys/unix"

const (
	sysSymlink = unix.SYS_SYMLINK
	sysMkdir   = unix.SYS_MKDIR
)
