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

// RuntimeSyscalls are what runc (1.1 and 1.2) and crun do in the container between
// loading the filter and the first instruction of the program: giving up rights,
// waiting for the start, closing files, exec; and what the C library and the Go
// run-time do at every start and at exit. A sensor that looks at the container's
// cgroup sees most of them, but not on every kernel and not in every version, and a
// container that cannot start is the worst a profile can do. None of them opens
// anything that a process with exec does not have already.
//
// Source: traces of runc init; the container runtimes' own documentation gives no list.
func RuntimeSyscalls() []string {
	return []string{
		"arch_prctl", "brk", "capget", "capset", "chdir", "clone", "clone3", "close", "close_range", "dup2", "dup3", "epoll_create1", "epoll_ctl", "epoll_pwait",
		"eventfd2", "execve", "exit", "exit_group", "faccessat2", "fchdir", "fchown", "fcntl", "fstat", "fstatfs", "futex", "getcwd", "getdents64",
		"getegid", "geteuid", "getgid", "getpid", "getppid", "getrandom", "getrlimit", "gettid", "getuid", "keyctl", "lseek", "madvise",
		"mmap", "mprotect", "munmap", "nanosleep", "newfstatat", "openat", "openat2", "pipe2", "prctl", "pread64", "prlimit64", "read",
		"readlinkat", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity", "sched_yield", "set_robust_list", "set_tid_address",
		"setgid", "setgroups", "setsid", "setuid", "sigaltstack", "statx", "tgkill", "timer_create", "timer_delete", "timer_settime", "umask", "uname", "write",
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
