package tracing

import (
	"runtime"
	"strconv"

	"github.com/cilium/ebpf"
)

var capabilityNames = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
	"NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
	"SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
	"AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
	"PERFMON", "BPF", "CHECKPOINT_RESTORE",
}

// CapabilityName is the name in linux/capability.h: "CAP_SYS_ADMIN".
func CapabilityName(n uint32) string {
	if int(n) < len(capabilityNames) {
		return "CAP_" + capabilityNames[n]
	}
	return "CAP_" + strconv.Itoa(int(n))
}

// compat marks calls of 32-bit programs, whose numbers are others (NR_COMPAT in C).
const compat = 0xffff

// The calls that people ask about; others keep their number (asm/unistd.h).
var syscallNames = map[string]map[uint32]string{
	"amd64": {1: "write", 18: "pwrite64", 20: "writev", 41: "socket", 49: "bind", 56: "clone", 59: "execve", 62: "kill", 90: "chmod", 92: "chown",
		101: "ptrace", 103: "syslog", 105: "setuid", 106: "setgid", 117: "setresuid", 119: "setresgid", 116: "setgroups", 126: "capset", 133: "mknod",
		155: "pivot_root", 161: "chroot", 165: "mount", 166: "umount2", 169: "reboot", 175: "init_module", 176: "delete_module", 200: "tkill",
		234: "tgkill", 246: "kexec_load", 257: "openat", 259: "mknodat", 272: "unshare", 298: "perf_event_open", 304: "open_by_handle_at", 308: "setns",
		310: "process_vm_readv", 311: "process_vm_writev", 313: "finit_module", 321: "bpf", 322: "execveat"},
	"arm64": {64: "write", 68: "pwrite64", 66: "writev", 198: "socket", 200: "bind", 220: "clone", 221: "execve", 129: "kill", 117: "ptrace", 116: "syslog",
		146: "setuid", 144: "setgid", 147: "setresuid", 149: "setresgid", 159: "setgroups", 91: "capset", 33: "mknodat", 41: "pivot_root", 51: "chroot",
		40: "mount", 39: "umount2", 142: "reboot", 105: "init_module", 106: "delete_module", 130: "tkill", 131: "tgkill", 104: "kexec_load", 56: "openat",
		97: "unshare", 241: "perf_event_open", 265: "open_by_handle_at", 268: "setns", 270: "process_vm_readv", 271: "process_vm_writev",
		273: "finit_module", 280: "bpf", 281: "execveat"},
}

// The same number on every architecture.
var newSyscallNames = map[uint32]string{
	425: "io_uring_setup", 428: "open_tree", 429: "move_mount", 430: "fsopen", 431: "fsconfig", 432: "fsmount", 433: "fspick", 434: "pidfd_open",
	435: "clone3", 437: "openat2", 438: "pidfd_getfd", 442: "mount_setattr",
}

func syscallName(nr uint32) string {
	if nr == compat {
		return "32-bit call"
	}
	if s := newSyscallNames[nr]; s != "" {
		return s
	}
	if s := syscallNames[runtime.GOARCH][nr]; s != "" {
		return s
	}
	return strconv.Itoa(int(nr))
}

func bpfTypeName(t uint32) string { return ebpf.ProgramType(t).String() }
