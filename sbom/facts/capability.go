package facts

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// capabilities names what an extended attribute security.capability grants, as
// getcap does: "cap_net_raw,cap_sys_admin". The attribute is struct vfs_cap_data of
// linux/capability.h, little endian: a word with the revision in its highest byte,
// then permitted and inheritable, once in revision 1 and twice from revision 2 on;
// revision 3 ends with a user id. What is not of that shape is said to be so: the
// kernel refuses to run such a file, and nobody puts one there by chance.
func capabilities(attribute string) string {
	b := []byte(attribute)
	words := 0
	if len(b) >= 4 {
		switch b[3] {
		case 1:
			words = 1
		case 2, 3:
			words = 2
		}
	}
	if words == 0 || len(b) < 4+8*words {
		return "unknown form"
	}
	var names []string
	for w := range words {
		at := 4 + 8*w
		set := binary.LittleEndian.Uint32(b[at:]) | binary.LittleEndian.Uint32(b[at+4:])
		for i := range 32 {
			if set&(1<<i) != 0 {
				names = append(names, capabilityName(32*w+i))
			}
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ",")
}

func capabilityName(n int) string {
	if n < len(capabilityNames) {
		return "cap_" + capabilityNames[n]
	}
	return "cap_" + strconv.Itoa(n)
}

// capabilityNames are in the order of linux/capability.h.
var capabilityNames = [...]string{
	"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
	"linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
	"sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
	"sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
	"mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
	"checkpoint_restore",
}
