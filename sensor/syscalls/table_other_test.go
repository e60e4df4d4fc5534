//go:build !amd64

package syscalls

const (
	sysSymlink = -1
	sysMkdir   = -1
)
