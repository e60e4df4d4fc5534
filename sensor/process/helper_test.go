package process

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk/sensor"
)

// The test program is also what the tests run, in containers too: it is static.
func TestMain(m *testing.M) {
	if mode := os.Getenv("PROCESS_TEST_HELPER"); mode != "" {
		if err := help(mode, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "helper:", err)
			os.Exit(9)
		}
		os.Exit(0)
	}
	code := m.Run()
	if os.Geteuid() == 0 {
		if l, err := common(); err == nil {
			if err := l.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}
	os.Exit(code)
}

func helper(mode string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), "PROCESS_TEST_HELPER="+mode)
	return cmd
}

func help(mode string, args []string) error {
	switch mode {
	case "exit":
		return nil
	case "echo":
		fmt.Println(args[0])
		return nil
	case "run":
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdin, os.Stdout, os.Stderr, []string{}
		return cmd.Run()
	case "memfd": // runs the program args[0] out of memory
		b, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		fd, err := unix.MemfdCreate("hidden", 0)
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, b); err != nil {
			return err
		}
		return syscall.Exec("/proc/self/fd/"+strconv.Itoa(fd), args[1:], nil)
	case "thread": // a thread that does not lead starts a program
		errs := make(chan error)
		go func() {
			runtime.LockOSThread()
			if unix.Gettid() == os.Getpid() {
				go func() {
					runtime.LockOSThread()
					errs <- syscall.Exec(args[0], args, nil)
				}()
				select {}
			}
			errs <- syscall.Exec(args[0], args, nil)
		}()
		return <-errs
	case "connect": // a shell on a connection
		c, err := net.Dial("tcp", args[0])
		if err != nil {
			return err
		}
		f, err := c.(*net.TCPConn).File()
		if err != nil {
			return err
		}
		for fd := range 3 {
			if err := unix.Dup3(int(f.Fd()), fd, 0); err != nil {
				return err
			}
		}
		return syscall.Exec(args[1], args[1:], []string{"PATH=/bin"})
	case "deep": // makes a child that makes a child …
		n, _ := strconv.Atoi(args[0])
		if n == 0 {
			return exec.Command("/bin/true", args[1]).Run()
		}
		return helper("deep", strconv.Itoa(n-1), args[1]).Run()
	case "uid": // becomes another user without a new program, then makes a child
		runtime.LockOSThread()
		if err := syscall.Setuid(12345); err != nil {
			return err
		}
		return syscall.Exec("/bin/true", []string{"true", args[0]}, nil)
	case "reuse": // a process with the PID args[0], twice
		pid, _ := strconv.Atoi(args[0])
		for range 2 {
			if err := withPID(pid, args[1]); err != nil {
				return err
			}
		}
		return nil
	case "burst":
		n, _ := strconv.Atoi(args[0])
		return helpBurst(n, args[1])
	case "agent":
		var p []*sensor.Policy
		if err := json.Unmarshal([]byte(args[1]), &p); err != nil {
			return err
		}
		return agent(args[0], p)
	case "kill":
		pid, _ := strconv.Atoi(args[0])
		return syscall.Kill(pid, syscall.SIGTERM)
	}
	return fmt.Errorf("no mode %q", mode)
}

// withPID starts /bin/true as a process with a chosen PID and waits for its end.
func withPID(pid int, arg string) error {
	tid := int32(pid)
	args := struct {
		flags, pidfd, childTid, parentTid, exitSignal, stack, stackSize, tls, setTid, setTidSize, cgroup uint64
	}{exitSignal: uint64(syscall.SIGCHLD), setTid: uint64(uintptr(unsafe.Pointer(&tid))), setTidSize: 1}
	path, _ := syscall.BytePtrFromString("/bin/true")
	argv, err := syscall.SlicePtrFromStrings([]string{"true", arg})
	if err != nil {
		return err
	}
	// Between clone and exec the child may do nothing but system calls.
	r, _, errno := syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
	if errno != 0 {
		return fmt.Errorf("clone3: %w", errno)
	}
	if r == 0 {
		syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&argv[0])), 0)
		syscall.RawSyscall(unix.SYS_EXIT, 1, 0, 0)
	}
	runtime.KeepAlive(&tid)
	_, err = syscall.Wait4(int(r), nil, 0, nil)
	return err
}
