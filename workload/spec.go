package workload

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/bollwerk/bollwerk"
)

// MaxSpec is the largest config.json read. Those of real pods have 10 to 100 kB; the
// environment alone may have 2 MB.
const MaxSpec = 4 << 20

// ociSpec is as much of an OCI run-time configuration as is needed
// (opencontainers/runtime-spec, config.md and config-linux.md).
type ociSpec struct {
	Process *struct {
		Args         []string `json:"args"`
		Capabilities *struct {
			Bounding []string `json:"bounding"`
		} `json:"capabilities"`
	} `json:"process"`
	Mounts []struct {
		Destination string   `json:"destination"`
		Type        string   `json:"type"`
		Source      string   `json:"source"`
		Options     []string `json:"options"`
	} `json:"mounts"`
	Annotations map[string]string `json:"annotations"`
	Linux       *struct {
		CgroupsPath string `json:"cgroupsPath"`
		Namespaces  []struct {
			Type string `json:"type"`
			Path string `json:"path"`
		} `json:"namespaces"`
		MaskedPaths   []string `json:"maskedPaths"`
		ReadonlyPaths []string `json:"readonlyPaths"`
		Resources     *struct {
			Devices []struct {
				Allow  bool   `json:"allow"`
				Type   string `json:"type"`
				Major  *int64 `json:"major"`
				Access string `json:"access"`
			} `json:"devices"`
		} `json:"resources"`
	} `json:"linux"`
}

// Spec is what a config.json says.
type Spec struct {
	Found
	// Annotations as they are, for the source that knows their dialect.
	Annotations map[string]string
	// CgroupsPath as written: a path (cgroupfs) or "slice:prefix:name" (systemd).
	CgroupsPath string
}

// ParseSpec reads an OCI config.json. The id is not in it. Annotations of containerd's
// CRI plug-in are understood here, as every shim has them; other dialects are left to
// their source.
func ParseSpec(b []byte) (Spec, error) {
	if len(b) > MaxSpec {
		return Spec{}, fmt.Errorf("config.json: %d bytes, more than %d", len(b), MaxSpec)
	}
	var o ociSpec
	if err := json.Unmarshal(b, &o); err != nil {
		return Spec{}, fmt.Errorf("config.json: %w", err)
	}
	s := Spec{Annotations: o.Annotations}
	c := &s.Container
	if o.Process != nil {
		c.Entrypoint = o.Process.Args
	}
	for _, m := range o.Mounts {
		if m.Source == m.Type && m.Type != "bind" || plainMount(m.Type) {
			continue // proc, sysfs, …: every container has them
		}
		mount := bollwerk.Mount{Source: m.Source, Target: m.Destination, Type: m.Type, Flags: mountFlags(m.Options)}
		if mount.Type == "" || mount.Type == "none" {
			mount.Type = "bind"
		}
		c.Mounts = append(c.Mounts, mount)
		if len(c.Mounts) == maxMounts {
			break
		}
	}
	if l := o.Linux; l != nil {
		s.CgroupsPath = l.CgroupsPath
		s.CgroupPath = expandCgroup(l.CgroupsPath)
		// Without a namespace of its own it has the one it was started in: the host's.
		c.HostPID, c.HostNetwork = true, true
		for _, n := range l.Namespaces {
			switch n.Type {
			case "pid":
				c.HostPID = hostNamespace(n.Path, "pid")
			case "network":
				c.HostNetwork = hostNamespace(n.Path, "net")
			}
		}
		// There is no flag for it: privileged is every device, nothing masked and the
		// capability to use both.
		all := false
		if l.Resources != nil {
			for _, d := range l.Resources.Devices {
				if (d.Type == "" || d.Type == "a") && (d.Major == nil || *d.Major < 0) {
					all = d.Allow
				}
			}
		}
		admin := o.Process != nil && o.Process.Capabilities != nil && slices.Contains(o.Process.Capabilities.Bounding, "CAP_SYS_ADMIN")
		c.Privileged = all && admin && len(l.MaskedPaths) == 0 && len(l.ReadonlyPaths) == 0
	}
	if a := o.Annotations; a != nil {
		criAnnotations(a, &s.Found)
	}
	s.Found.Bound()
	return s, nil
}

// criAnnotations are those of containerd's CRI plug-in (containerd, pkg/cri/annotations).
func criAnnotations(a map[string]string, f *Found) {
	const cri = "io.kubernetes.cri."
	kind := a[cri+"container-type"]
	if kind == "" {
		return
	}
	f.Pod = &bollwerk.Pod{
		Namespace: a[cri+"sandbox-namespace"],
		Name:      a[cri+"sandbox-name"],
		UID:       a[cri+"sandbox-uid"],
		Container: a[cri+"container-name"],
		Sandbox:   kind == "sandbox",
	}
	f.Container.Name = a[cri+"container-name"]
	f.Container.Image = a[cri+"image-name"]
	f.Container.Runtime = "containerd"
	if f.Pod.Sandbox {
		f.Container.Name, f.Pod.Container = "POD", "POD"
	}
}

// plainMount: file systems of the kernel that say nothing about the container.
func plainMount(kind string) bool {
	switch kind {
	case "proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts":
		return true
	}
	return false
}

// mountFlags are the options that matter to a judgement, as MS_* of mount(2).
func mountFlags(options []string) uint64 {
	var f uint64
	for _, o := range options {
		switch o {
		case "ro":
			f |= syscall.MS_RDONLY
		case "nosuid":
			f |= syscall.MS_NOSUID
		case "nodev":
			f |= syscall.MS_NODEV
		case "noexec":
			f |= syscall.MS_NOEXEC
		case "bind":
			f |= syscall.MS_BIND
		case "rbind":
			f |= syscall.MS_BIND | syscall.MS_REC
		case "shared", "rshared":
			f |= syscall.MS_SHARED
		case "slave", "rslave":
			f |= syscall.MS_SLAVE
		}
	}
	return f
}

// hostNamespace reports whether a namespace given by its path is that of process 1.
// A path that cannot be followed is another container's: those of the host do not end.
func hostNamespace(path, name string) bool {
	if path == "" {
		return false
	}
	if path == "/proc/1/ns/"+name {
		return true
	}
	var a, b syscall.Stat_t
	if !strings.HasPrefix(path, "/") || syscall.Stat(path, &a) != nil {
		return false
	}
	if syscall.Stat("/proc/1/ns/"+name, &b) != nil {
		// Some kernels keep process 1 from being looked at; the agent shares its namespaces.
		if syscall.Stat("/proc/self/ns/"+name, &b) != nil {
			return false
		}
	}
	return a.Ino == b.Ino && a.Dev == b.Dev
}

// expandCgroup turns cgroupsPath into the path that the kernel will show. Relative
// paths depend on where the runtime was started: "" then.
//
//	/docker/<id>                              itself
//	kubepods-burstable.slice:cri-containerd:x /kubepods.slice/kubepods-burstable.slice/cri-containerd-x.scope
//	:runc:x                                   /system.slice/runc-x.scope
func expandCgroup(s string) string {
	if strings.HasPrefix(s, "/") {
		return filepath.Clean(s)
	}
	slice, rest, ok := strings.Cut(s, ":")
	prefix, name, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 || strings.ContainsAny(s, "/\x00") || name == "" {
		return ""
	}
	if slice == "" {
		slice = "system.slice"
	}
	unit := name
	if !strings.HasSuffix(name, ".slice") {
		if prefix != "" {
			unit = prefix + "-" + name
		}
		unit += ".scope"
	}
	return expandSlice(slice) + "/" + unit
}

// expandSlice: each "-" of a slice's name is a folder above (systemd.slice(5)).
func expandSlice(slice string) string {
	base, ok := strings.CutSuffix(slice, ".slice")
	if !ok || base == "" {
		return "/" + slice
	}
	if base == "-" {
		return ""
	}
	var b strings.Builder
	for i := range base {
		if base[i] == '-' && i > 0 {
			b.WriteString("/" + base[:i] + ".slice")
		}
		if b.Len() > maxPath {
			return ""
		}
	}
	b.WriteString("/" + slice)
	return b.String()
}

// ReadBundle reads dir/config.json and dir/init.pid, the files of an OCI bundle.
func ReadBundle(dir string) (Spec, error) {
	b, err := ReadFile(filepath.Join(dir, "config.json"), MaxSpec)
	if err != nil {
		if os.IsNotExist(err) {
			err = ErrUnknown
		}
		return Spec{}, err
	}
	s, err := ParseSpec(b)
	if err != nil {
		return Spec{}, fmt.Errorf("%s: %w", dir, err)
	}
	s.Container.PID = ReadPID(filepath.Join(dir, "init.pid"))
	return s, nil
}

// ReadPID reads a process number from a file, 0 when there is none.
func ReadPID(path string) uint32 {
	b, err := ReadFile(path, 64)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 31)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// What is kept of one container; memory on every node matters, and labels are
// written by whoever makes the image.
const (
	maxMounts     = 64
	maxLabels     = 64
	maxLabelBytes = 512
	maxName       = 512
	maxArgs       = 32
	maxArgBytes   = 1024
	maxPorts      = 64
)

// Bound cuts what a source found to what is kept of one container: at most some
// 100 kB in the worst case, usually 2.
func (f *Found) Bound() {
	c := &f.Container
	for _, s := range [...]*string{&c.ID, &c.Name, &c.Runtime, &c.Image} {
		*s = cut(*s, maxName)
	}
	if len(c.Digest) > 256 {
		c.Digest = ""
	}
	c.Labels = boundLabels(c.Labels)
	if len(c.Entrypoint) > maxArgs {
		c.Entrypoint = c.Entrypoint[:maxArgs:maxArgs]
	}
	for i, a := range c.Entrypoint {
		c.Entrypoint[i] = cut(a, maxArgBytes)
	}
	if len(c.Ports) > maxPorts {
		c.Ports = c.Ports[:maxPorts:maxPorts]
	}
	if len(c.Mounts) > maxMounts {
		c.Mounts = c.Mounts[:maxMounts:maxMounts]
	}
	for i := range c.Mounts {
		m := &c.Mounts[i]
		for _, s := range [...]*string{&m.Source, &m.Target, &m.Type, &m.Root} {
			*s = cut(*s, maxPath)
		}
	}
	if p := f.Pod; p != nil {
		for _, s := range [...]*string{&p.Namespace, &p.Name, &p.UID, &p.Container, &p.OwnerKind, &p.OwnerName, &p.ServiceAccount} {
			*s = cut(*s, maxName)
		}
		p.Labels = boundLabels(p.Labels)
	}
	f.CgroupPath = cut(f.CgroupPath, maxPath)
}

// cut copies what it keeps, so that a long text is not held for its beginning.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.Clone(s[:n])
}

// boundLabels keeps the first labels in order of their keys: always the same ones.
func boundLabels(m map[string]string) map[string]string {
	long := len(m) > maxLabels
	for k, v := range m {
		long = long || len(k)+len(v) > maxLabelBytes
	}
	if !long {
		return m
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		if len(k) <= maxLabelBytes {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	if len(keys) > maxLabels {
		keys = keys[:maxLabels]
	}
	out := make(map[string]string, len(keys))
	for _, k := range keys {
		out[k] = cut(m[k], maxLabelBytes-len(k))
	}
	return out
}
