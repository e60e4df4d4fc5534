package process

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func inode(fi os.FileInfo) (ino, dev uint64) {
	st := fi.Sys().(*syscall.Stat_t)
	return st.Ino, st.Dev
}

// dup makes a descriptor that a child inherits under the same number.
func dup(t *testing.T, f *os.File) int {
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	return fd
}

func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func pid() string { return strconv.Itoa(os.Getpid()) }

func field(status, name string) string {
	for line := range strings.Lines(status) {
		if strings.HasPrefix(line, name) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
