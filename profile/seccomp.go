package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// SeccompOptions of a seccomp profile.
type SeccompOptions struct {
	// Default is what happens to a call that is not listed: "errno" (it fails with
	// EPERM, the default), "log" (it is allowed and logged by the kernel: a rehearsal),
	// "kill" (the process dies).
	Default string
	// Docker writes archMap, which Docker and Podman choose from by themselves;
	// otherwise architectures, as in an OCI runtime configuration.
	Docker bool
	// Arch lists the architectures; the profile's own when empty.
	Arch []Arch
	// Bare leaves out what the runtime itself needs (RuntimeSyscalls).
	Bare bool
}

type seccompDocument struct {
	DefaultAction   string           `json:"defaultAction"`
	DefaultErrnoRet *uint            `json:"defaultErrnoRet,omitempty"`
	Architectures   []string         `json:"architectures,omitempty"`
	ArchMap         []seccompArchMap `json:"archMap,omitempty"`
	Syscalls        []seccompRule    `json:"syscalls"`
}

type seccompArchMap struct {
	Architecture     string   `json:"architecture"`
	SubArchitectures []string `json:"subArchitectures"`
}

type seccompRule struct {
	Names  []string `json:"names"`
	Action string   `json:"action"`
}

// RuntimeSyscalls are what a runtime does in the container between loading the filter
// and the first instruction of the program, and what the C library does at every
// start. A sensor sees most of them in the container's cgroup, but not on every
// kernel and not of every version, and a container that cannot start is the worst a
// profile can do. None of them gives a process anything that exec does not.
//
// Source: traces of runc 1.1.5 (Debian 12). With no_new_privs it loads the filter last
// and needs nine (close, epoll_ctl, execve, fstatfs, getdents64, getpid, nanosleep,
// openat, write); without, it gives up its rights afterwards and needs sixteen more.
// Then, as it is a Go program of several threads, what the Go run-time may do at any
// moment, and what newer versions use instead (close_range, openat2, statx).
func RuntimeSyscalls() []string {
	return []string{
		// runc, measured
		"capget", "capset", "chdir", "close", "epoll_ctl", "epoll_pwait", "execve", "faccessat2", "fcntl", "fstat", "fstatfs", "futex", "getcwd",
		"getdents64", "getpid", "getppid", "nanosleep", "newfstatat", "openat", "prctl", "read", "setgid", "setgroups", "setuid", "write",
		// runc, other versions and users than root
		"close_range", "fchdir", "fchown", "getegid", "geteuid", "getgid", "getuid", "lseek", "openat2", "readlinkat", "statx",
		// the Go run-time
		"clone", "clone3", "epoll_create1", "eventfd2", "exit", "gettid", "madvise", "mmap", "munmap", "pipe2", "rt_sigaction", "rt_sigprocmask",
		"rt_sigreturn", "sched_yield", "sigaltstack", "tgkill",
		// the C library of the program
		"arch_prctl", "brk", "exit_group", "getrandom", "mprotect", "pread64", "prlimit64", "rseq", "set_robust_list", "set_tid_address",
	}
}

var seccompArch = map[Arch]string{AMD64: "SCMP_ARCH_X86_64", ARM64: "SCMP_ARCH_AARCH64"}

// Seccomp turns the profile into a seccomp profile for Docker, Podman, containerd and
// Kubernetes (type Localhost): the calls that were used are allowed, everything else
// is refused. Programs of other instruction sets (32-bit, x32) are refused as well.
// notes say what could not be expressed.
//
// Format: runtime-spec config-linux.md, "Seccomp"; Docker adds archMap.
func (p *Profile) Seccomp(o SeccompOptions) (data []byte, notes []string, err error) {
	d := seccompDocument{}
	switch o.Default {
	case "", "errno":
		eperm := uint(1)
		d.DefaultAction, d.DefaultErrnoRet = "SCMP_ACT_ERRNO", &eperm
	case "log":
		d.DefaultAction = "SCMP_ACT_LOG"
	case "kill":
		d.DefaultAction = "SCMP_ACT_KILL_PROCESS"
	default:
		return nil, nil, fmt.Errorf("default action %q: want errno, log or kill", o.Default)
	}
	if p.saturated[Syscall] {
		return nil, nil, fmt.Errorf("%s: the system calls are not completely known (category saturated): reset the category and learn again", clean(p.key))
	}
	archs := o.Arch
	if len(archs) == 0 {
		archs = []Arch{p.arch}
	}
	for _, a := range archs {
		name, ok := seccompArch[a]
		if !ok {
			return nil, nil, fmt.Errorf("architecture %q: want amd64 or arm64", a)
		}
		if o.Docker {
			d.ArchMap = append(d.ArchMap, seccompArchMap{name, []string{}})
		} else {
			d.Architectures = append(d.Architectures, name)
		}
	}
	names := p.Restriction().Syscalls
	if len(names) == 0 {
		return nil, nil, fmt.Errorf("%s: %w: no system calls are known of it; the sensor must collect them first", clean(p.key), errNoSyscalls)
	}
	names = slices.DeleteFunc(names, func(n string) bool {
		if !strings.HasPrefix(n, "syscall_") {
			return false
		}
		notes = append(notes, fmt.Sprintf("%s has no name this version knows and cannot be listed; it will be refused", n))
		return true
	})
	if !o.Bare {
		names = append(names, RuntimeSyscalls()...)
	}
	names = slices.DeleteFunc(names, func(n string) bool {
		return !slices.ContainsFunc(archs, func(a Arch) bool { _, ok := SyscallNumber(a, n); return ok })
	})
	slices.Sort(names)
	d.Syscalls = []seccompRule{{slices.Compact(names), "SCMP_ACT_ALLOW"}}
	data, err = json.MarshalIndent(d, "", "  ")
	return append(data, '\n'), notes, err
}

var errNoSyscalls = errors.New("nothing to make a seccomp profile from")
