package lsm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestMain is also the program that runs inside containers: it makes one system call
// and prints how the kernel answered.
func TestMain(m *testing.M) {
	if what := os.Getenv("LSM_HELPER"); what != "" {
		runtime.LockOSThread()
		fmt.Println(what, help(what))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func help(what string) error {
	what, arg, _ := strings.Cut(what, ":")
	switch what {
	case "memfd": // runs /bin/busybox from memory
		fd, err := unix.MemfdCreate("payload", 0)
		if err != nil {
			return err
		}
		b, err := os.ReadFile("/bin/busybox")
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, b); err != nil {
			return err
		}
		return syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), []string{"echo", "ran from memory"}, nil)
	case "bpf": // return 0, as a socket filter
		insns := []byte{0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0}
		license := []byte("GPL\x00")
		attr := struct {
			typ, count     uint32
			insns, license uint64
			rest           [96]byte
		}{typ: 1, count: 2, insns: uint64(uintptr(unsafe.Pointer(&insns[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0])))}
		copy(attr.rest[24:], "guest")
		_, _, e := unix.Syscall(unix.SYS_BPF, 5, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		runtime.KeepAlive(insns)
		return e
	case "module":
		return unix.InitModule(make([]byte, 4096), "")
	case "module-file":
		f, err := os.Open("/bin/busybox")
		if err != nil {
			return err
		}
		return unix.FinitModule(int(f.Fd()), "", 0)
	case "packet":
		_, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		return err
	case "setuid":
		_, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 1000, 1000, 0)
		return e
	case "unshare":
		return unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS)
	case "mmap":
		f, err := os.Open(arg)
		if err != nil {
			return err
		}
		_, err = unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
		return err
	case "time": // answers each line "flags file" with what an open and close costs
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			var flags int
			n, file, _ := strings.Cut(in.Text(), " ")
			fmt.Sscan(n, &flags)
			if flags < 0 {
				fmt.Printf("%.1f\n", median(5000, func() { unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0) }))
			} else {
				fmt.Printf("%.1f\n", median(200, opening(flags, file)))
			}
		}
		return nil
	case "bind": // a socket with a name
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrUnix{Name: arg})
	case "traceme":
		_, _, e := unix.RawSyscall(unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0)
		return e
	case "userfaultfd":
		_, _, e := unix.RawSyscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|1 /* UFFD_USER_MODE_ONLY */, 0, 0)
		return e
	case "shell": // its descriptors named by letters (s the connection, n none), its peer, what it runs
		f := strings.SplitN(arg, ":", 4)
		c, err := net.Dial("tcp", f[1]+":"+f[2])
		if err != nil {
			return err
		}
		s, err := c.(*net.TCPConn).File()
		if err != nil {
			return err
		}
		say, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 10)
		if err != nil {
			return err
		}
		for i, from := range f[0] {
			if from != 's' {
				continue
			}
			if err := unix.Dup3(int(s.Fd()), i, 0); err != nil {
				return err
			}
		}
		args := strings.Fields(f[3])
		err = syscall.Exec(args[0], args, os.Environ())
		fmt.Fprintln(os.NewFile(uintptr(say), "say"), what, err)
		os.Exit(1)
	case "open-tree": // a copy of a folder that is mounted nowhere, and what is read in it
		fd, err := unix.OpenTree(unix.AT_FDCWD, arg, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return err
		}
		f, err := unix.Openat(fd, "shadow", unix.O_RDONLY, 0)
		unix.Close(f)
		return err
	case "fsmount": // a file system that is mounted nowhere
		fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
		if err != nil {
			return err
		}
		if err := errors.Join(unix.FsconfigSetString(fs, "source", arg), unix.FsconfigCreate(fs)); err != nil {
			return err
		}
		_, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
		return err
	case "attach":
		var pid int
		fmt.Sscan(arg, &pid)
		return unix.PtraceAttach(pid)
	}
	return fmt.Errorf("%s: no such help", bytes.ToUpper([]byte(what)))
}
