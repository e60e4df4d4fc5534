package profile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// capabilityNames in the order of their numbers (include/uapi/linux/capability.h of
// Linux 6.18; CAP_CHECKPOINT_RESTORE is the last since 5.9).
var capabilityNames = [...]string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
	"CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
	"CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
	"CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP",
	"CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// Capabilities returns the names of the capabilities that were used (or allowed by a
// person), sorted: what the workload must keep. Names the kernel does not have are
// left out.
func (p *Profile) Capabilities() []string {
	return slices.DeleteFunc(p.Restriction().Capabilities, func(n string) bool { return !slices.Contains(capabilityNames[:], n) })
}

// OCICapabilities returns the "capabilities" object of an OCI runtime configuration:
// all five sets, ambient empty, as a program must not inherit rights by accident.
func (p *Profile) OCICapabilities() ([]byte, error) {
	if p.saturated[Capability] {
		return nil, fmt.Errorf("%s: category capability is saturated", clean(p.key))
	}
	c := p.Capabilities()
	if c == nil {
		c = []string{}
	}
	b, err := json.MarshalIndent(map[string][]string{"bounding": c, "effective": c, "permitted": c, "inheritable": {}, "ambient": {}}, "", "  ")
	return append(b, '\n'), err
}

// SecurityContext returns the securityContext of the workload's container for a
// Kubernetes manifest (YAML, to be indented), with a comment on every line about what
// it rests on. seccomp is the path of a Localhost profile, "" for the runtime's default.
func (p *Profile) SecurityContext(seccomp string) (string, error) {
	if seccomp != "" && (validText(seccomp) != nil || strings.ContainsAny(seccomp, "\"\\")) {
		return "", fmt.Errorf("seccomp profile %q: want a plain path", clean(seccomp))
	}
	r := p.Restriction()
	has := func(behaviour string) bool {
		k := key{cat: Behaviour, value: behaviour}
		if e := p.edits[k]; e != nil {
			return !e.Remove
		}
		return p.entries[k] != nil
	}
	var b strings.Builder
	b.WriteString("securityContext:\n")
	c := p.Completeness()
	fmt.Fprintf(&b, "  # From a profile of %s in %s; what was not seen is not in it.\n", hours(c.Observed), plural(uint64(c.Replicas), "replica"))
	if p.saturated[Capability] {
		b.WriteString("  # capabilities: the category is saturated\n")
	} else {
		b.WriteString("  capabilities:\n    drop: [\"ALL\"]\n")
		if caps := p.Capabilities(); len(caps) > 0 {
			for i := range caps {
				caps[i] = strings.TrimPrefix(caps[i], "CAP_")
			}
			fmt.Fprintf(&b, "    add: [%s]  # used\n", strings.Join(caps, ", "))
		}
	}
	privileged := has(MakesSetID) || has(ChangesUser)
	if !privileged {
		b.WriteString("  allowPrivilegeEscalation: false  # no process changed its user\n")
	} else {
		b.WriteString("  # allowPrivilegeEscalation: false would break it: processes change their user\n")
	}
	switch users := r.Users; {
	case len(users) > 0 && !slices.Contains(users, 0):
		b.WriteString("  runAsNonRoot: true\n")
		if len(users) == 1 {
			fmt.Fprintf(&b, "  runAsUser: %d  # the only one seen\n", users[0])
		}
	case len(users) > 0:
		b.WriteString("  # runAsNonRoot: true would break it: it runs as root\n")
	}
	switch {
	case p.saturated[Write]:
		b.WriteString("  # readOnlyRootFilesystem: category write is saturated\n")
	case has(WritesRoot):
		b.WriteString("  # readOnlyRootFilesystem: true needs volumes for what it writes:\n")
		for i, w := range r.Writes {
			if i == 16 {
				fmt.Fprintf(&b, "  #   and %d more\n", len(r.Writes)-i)
				break
			}
			if w.Deny {
				continue
			}
			fmt.Fprintf(&b, "  #   %s\n", clean(w.Path))
		}
	default:
		b.WriteString("  readOnlyRootFilesystem: true  # it changed files in volumes only\n")
	}
	if seccomp == "" {
		b.WriteString("  seccompProfile:\n    type: RuntimeDefault\n")
	} else {
		fmt.Fprintf(&b, "  seccompProfile:\n    type: Localhost\n    localhostProfile: \"%s\"\n", seccomp)
	}
	return b.String(), nil
}
