// Package tracing owns what the sensor sees and refuses without LSM hooks: the kernel's
// checks of capabilities, the program that is asked before a sysctl is written, the side
// band of perf, and fanotify. Each means is a Source of its own, so that one that a
// kernel refuses takes no other with it.
//
// It does not follow processes or the network; what netlink and /proc tell without any
// right to load programs stands in sensor/procfs.
package tracing

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// Areas of the doctor's table, shared by the sources here.
const (
	AreaCapability = "capability"
	AreaMount      = "mount"
	AreaSetting    = "setting"
	AreaModule     = "module"
	AreaBPF        = "bpf load"
	AreaDevice     = "disk"
	AreaNamespace  = "namespace"
	AreaPacket     = "raw socket"
	AreaFile       = "file"
	AreaFileDeny   = "deny file"
	AreaExecDeny   = "deny exec"
	AreaMmap       = "executable mapping"
	AreaMemfd      = "memfd"
	AreaMemory     = "ptrace" // here: memory of others by process_vm_readv and process_vm_writev
)

// Checks sees mounts, settings, module and BPF loads and first uses of capabilities
// through the checks that the kernel makes before it allows them.
type Checks struct {
	// Covered reports whether a better source already tells about an area; it may be nil.
	Covered func(area string) bool
	// Settings are the names below /proc/sys that a contained process may not write
	// where GuardSetting is enforced; nil: GuardedSettings.
	Settings []string

	k        *sensor.Kernel
	restorer *restorer
	options  uint64
	means    string // how checks are seen
	memory   string // how the memory of others is, "" not at all
	wrote    writes
	// What is attached.
	checks, sysctl, modules, devices bool
}

// GuardedSettings are the ones with which a container reaches the host: programs that
// the kernel starts outside of any container, and protections of the whole machine.
func GuardedSettings() []string {
	return []string{
		"kernel/core_pattern", "kernel/core_pipe_limit", "kernel/modprobe", "kernel/hotplug", "kernel/poweroff_cmd",
		"kernel/usermodehelper/bset", "kernel/usermodehelper/inheritable", "kernel/kexec_load_disabled",
		"kernel/randomize_va_space", "kernel/kptr_restrict", "kernel/dmesg_restrict", "kernel/perf_event_paranoid",
		"kernel/unprivileged_bpf_disabled", "kernel/yama/ptrace_scope", "kernel/modules_disabled", "kernel/sysrq",
		"kernel/panic", "kernel/panic_on_oops", "vm/mmap_min_addr", "vm/panic_on_oom", "fs/suid_dumpable",
		"fs/protected_hardlinks", "fs/protected_symlinks", "fs/protected_fifos", "fs/protected_regular", "fs/binfmt_misc/status",
	}
}

// Name of the source.
func (c *Checks) Name() string { return "tracing" }

// Run has nothing to do: records come through the ring.
func (c *Checks) Run(context.Context) error { return nil }

// Close has nothing to do: links and programs are in the kernel's care.
func (c *Checks) Close() error { return nil }

func (c *Checks) covered(area string) bool { return c.Covered != nil && c.Covered(area) }

// Options of the object, as in bpf/tracing.h.
const (
	noMount = 1 << iota
	noCapability
	noSetting
	noObject
	noNamespace
	noPacket
	noDevice
	noMemory
	noneWanted = 1<<iota - 1
)

// Open loads the programs and attaches those that this kernel takes.
func (c *Checks) Open(_ context.Context, k *sensor.Kernel) ([]sensor.Capability, error) {
	c.k = k
	var options uint64
	for _, o := range []struct {
		area string
		bit  uint64
	}{{AreaMount, noMount}, {AreaCapability, noCapability}, {AreaSetting, noSetting}, {AreaModule, noObject}, {AreaNamespace, noNamespace}, {AreaPacket, noPacket}, {AreaDevice, noDevice}, {AreaMemory, noMemory}} {
		if c.covered(o.area) {
			options |= o.bit
		}
	}
	if options == noneWanted {
		return nil, nil
	}
	spec, err := bpf.LoadTracing()
	if err != nil {
		return nil, err
	}
	var skip []string
	if k.Before(6, 13) || options&noMemory != 0 {
		skip = append(skip, "bw_mmap_lock")
	}
	if options&noMemory != 0 {
		skip = append(skip, "bw_mm_access")
	}
	l, err := k.Load(spec, options, skip...)
	if err != nil {
		c.means = "tp_btf cap_capable"
		return c.rows(options, err, err, err, err, err), nil
	}
	c.options = options
	attach := func(program string, how func() (link.Link, error)) error {
		p := l.Programs[program]
		if p == nil {
			if err := l.Refusal(program); err != nil {
				return err
			}
			return errors.New("not loaded")
		}
		held, err := how()
		return k.KeepEnforcing("tracing_"+program, held, err)
	}
	checks := attach("bw_cap_capable", func() (link.Link, error) {
		return link.AttachTracing(link.TracingOptions{Program: l.Programs["bw_cap_capable"]})
	})
	means := "tp_btf cap_capable"
	if checks != nil {
		err := attach("bw_cap_capable_exit", func() (link.Link, error) {
			return link.AttachTracing(link.TracingOptions{Program: l.Programs["bw_cap_capable_exit"]})
		})
		if err == nil {
			checks, means = nil, "fexit cap_capable"
		} else {
			checks = fmt.Errorf("tp_btf cap_capable: %w; fexit cap_capable: %w", checks, err)
		}
	}
	c.means = means
	modules := attach("bw_module_load", func() (link.Link, error) {
		return link.AttachTracing(link.TracingOptions{Program: l.Programs["bw_module_load"]})
	})
	memory := errors.New("not wanted")
	if options&noMemory == 0 {
		memory = c.openMemory(attach, l)
	}
	tree, noTree := k.Tree()
	sysctl, device := noTree, noTree
	if noTree == nil && options&noSetting == 0 {
		for _, name := range c.settings() {
			var key bpf.TracingBwSettingKey
			if !fill(key.Name[:], name) {
				continue
			}
			if err := l.Maps["settings"].Put(key, uint32(1)); err != nil {
				return nil, fmt.Errorf("settings: %w", err)
			}
		}
		sysctl = attach("bw_sysctl", func() (link.Link, error) {
			return link.AttachCgroup(link.CgroupOptions{Path: tree, Attach: ebpf.AttachCGroupSysctl, Program: l.Programs["bw_sysctl"]})
		})
	}
	if noTree == nil && options&noDevice == 0 {
		device = attach("bw_device_open", func() (link.Link, error) {
			return link.AttachCgroup(link.CgroupOptions{Path: tree, Attach: ebpf.AttachCGroupDevice, Program: l.Programs["bw_device_open"]})
		})
	}
	c.restorer = newRestorer(settingFiles("/proc/self/mountinfo"))
	k.DecodeFrom(fromTracing, c.decode)
	k.DecodeFrom(fromTracingModule, c.decode)
	c.checks, c.sysctl, c.modules, c.devices = checks == nil, sysctl == nil, modules == nil, device == nil
	return c.rows(options, checks, sysctl, modules, device, memory), nil
}

// openMemory attaches what tells of memory that is read or written by system calls of its own:
// to the function that finds it, else to the lock on it.
func (c *Checks) openMemory(attach func(string, func() (link.Link, error)) error, l *sensor.Loaded) error {
	var errs []error
	for _, p := range []struct{ program, means string }{{"bw_mm_access", "fexit mm_access"}, {"bw_mmap_lock", "tp_btf mmap_lock"}} {
		err := attach(p.program, func() (link.Link, error) {
			return link.AttachTracing(link.TracingOptions{Program: l.Programs[p.program]})
		})
		if err == nil {
			c.memory = p.means
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", p.means, err))
	}
	return errors.Join(errs...)
}

// Sees reports whether an area is seen as it happens. It knows after Open.
func (c *Checks) Sees(area string) bool {
	switch area {
	case AreaCapability, AreaMount, AreaNamespace, AreaPacket, AreaBPF:
		return c.checks
	case AreaSetting:
		return c.checks && c.sysctl
	case AreaModule:
		return c.checks || c.modules
	case AreaDevice:
		return c.devices
	}
	return false
}

// Means says how far each guard is held.
func (c *Checks) Means() []sensor.Means {
	var out []sensor.Means
	add := func(ok bool, skip uint64, m sensor.Means) {
		if ok && c.options&skip == 0 {
			out = append(out, m)
		}
	}
	add(c.checks && !c.sysctl, noSetting, sensor.Means{Guard: sensor.GuardSetting, Outcome: bollwerk.Killed, Means: "sigkill at cap_capable",
		Cause: "only release_agent and its like; settings below /proc/sys pass"})
	add(c.sysctl, noSetting, sensor.Means{Guard: sensor.GuardSetting, Outcome: bollwerk.Denied, Means: "cgroup/sysctl",
		Cause: "release_agent is not below /proc/sys: its writer is killed after the write, and the old value put back"})
	add(c.checks, noMount, sensor.Means{Guard: sensor.GuardMount, Outcome: bollwerk.Killed, Means: "sigkill at cap_capable",
		Cause: "the mount may stand when the process ends; disks and /dev/mem cannot even be opened where cgroup/dev works"})
	add(c.checks || c.modules, noObject, sensor.Means{Guard: sensor.GuardModule, Outcome: bollwerk.Killed, Means: "sigkill at cap_capable or module_load",
		Cause: "the module may be loaded when the process ends"})
	add(c.checks, noObject, sensor.Means{Guard: sensor.GuardBPF, Outcome: bollwerk.Killed, Means: "sigkill at cap_capable",
		Cause: "the program is gone with the process, unless it was pinned by another"})
	add(c.memory != "", noMemory, sensor.Means{Guard: sensor.GuardPtrace, Outcome: bollwerk.Killed, Means: "sigkill at " + c.memory,
		Cause: "process_vm_readv and process_vm_writev end before a byte is copied; attaching is told after it happened, and not stopped"})
	return out
}

func (c *Checks) settings() []string {
	if c.Settings != nil {
		return c.Settings
	}
	return GuardedSettings()
}

// fill copies a name that fits with its final zero.
func fill(dst []int8, s string) bool {
	if len(s) >= len(dst) {
		return false
	}
	for i := range len(s) {
		dst[i] = int8(s[i])
	}
	return true
}

func (c *Checks) rows(options uint64, checks, sysctl, modules, device, memory error) []sensor.Capability {
	const newer = "run kernel 6.13 or newer, or one of 5.15 or newer that lets BPF programs be attached to functions, or boot with lsm=…,bpf"
	row := func(area, means string, err error, outcome bollwerk.Outcome, cause string) sensor.Capability {
		r := sensor.Capability{Area: area, Means: means, Verdict: bollwerk.Degraded, Outcome: outcome, Cause: cause}
		if err != nil {
			r.Verdict, r.Outcome, r.Cause, r.Remedy = bollwerk.NotEvaluated, bollwerk.Seen, err.Error(), newer
		}
		if r.Cause == "" {
			r.Verdict = bollwerk.Pass
		}
		return r
	}
	var out []sensor.Capability
	if options&noCapability == 0 {
		out = append(out, row(AreaCapability, c.means, checks, bollwerk.Seen, ""))
	}
	if options&noMount == 0 {
		r := row(AreaMount, c.means, checks, bollwerk.Killed,
			"the mount is seen when it is asked for; how the call ended is not told, and a refused one ends the process after the call")
		r.Remedy = "boot with lsm=…,bpf to refuse mounts before they happen"
		out = append(out, r)
	}
	if options&noDevice == 0 {
		r := row(AreaDevice, "cgroup/dev", device, bollwerk.Denied, "")
		if device != nil {
			r.Remedy = "mount a cgroup version 2 tree"
		}
		out = append(out, r)
	}
	if options&noNamespace == 0 {
		r := row(AreaNamespace, c.means, checks, bollwerk.Seen,
			"the call is seen when it is asked for; a new user namespace alone needs no capability and is seen when its process next starts a program")
		r.Remedy = "boot with lsm=…,bpf"
		out = append(out, r)
	}
	if options&noPacket == 0 {
		out = append(out, row(AreaPacket, c.means, checks, bollwerk.Seen, ""))
	}
	if options&noSetting == 0 {
		r := row(AreaSetting, "cgroup/sysctl", sysctl, bollwerk.Denied, "")
		switch {
		case sysctl == nil && checks != nil:
			r.Verdict, r.Cause, r.Remedy = bollwerk.Degraded, "writes to release_agent are not seen when they happen: "+checks.Error(), newer
		case sysctl != nil && checks == nil:
			r.Verdict, r.Outcome, r.Cause = bollwerk.Degraded, bollwerk.Killed, "settings below /proc/sys are not seen: "+sysctl.Error()
			r.Remedy = "mount a cgroup version 2 tree"
		case sysctl == nil:
			r.Means += " and " + c.means
			r.Verdict, r.Cause = bollwerk.Degraded, "values below /proc/sys are refused before they are written; a write to release_agent ends the process after the call, "+
				"and through io_uring, where nothing says which file it is, is only told by fanotify where that watches"
			r.Remedy = "boot with lsm=…,bpf to refuse both"
		}
		out = append(out, r)
	}
	if options&noMemory == 0 {
		means := c.memory
		if means == "" {
			means = "tp_btf mmap_lock"
		}
		r := row(AreaMemory, means, memory, bollwerk.Killed,
			"of memory that is read and written without attaching process_vm_readv and process_vm_writev are seen, not descriptors that are taken by pidfd_getfd")
		if memory != nil {
			r.Cause = "memory that is read or written by process_vm_readv and process_vm_writev, and descriptors that are taken by pidfd_getfd, are not seen: " +
				"nothing asks for a capability, and a program at each system call would cost more than a quarter of it; " + r.Cause
		} else {
			r.Remedy = "boot with lsm=…,bpf"
		}
		out = append(out, r)
	}
	if options&noObject == 0 {
		r := row(AreaModule, "tp_btf module_load", modules, bollwerk.Killed, "the module is loaded when its loader is ended")
		if modules != nil && checks == nil {
			r = row(AreaModule, c.means, nil, bollwerk.Killed, "only the attempt is seen, not how it ended: "+modules.Error())
		}
		r.Remedy = "boot with lsm=…,bpf to refuse modules before they are loaded"
		out = append(out, r)
		r = row(AreaBPF, c.means, checks, bollwerk.Killed, "the attempt is seen, not how it ended")
		r.Remedy = "boot with lsm=…,bpf to refuse programs before they are loaded"
		out = append(out, r)
	}
	return out
}

// text is a string of the kernel up to its zero, its bytes kept as they are.
func text(b []int8) string {
	var out strings.Builder
	for _, c := range b {
		if c == 0 {
			break
		}
		out.WriteByte(byte(c))
	}
	return out.String()
}

func record[T any](raw []byte) (*T, bool) {
	r := new(T)
	_, err := binary.Decode(raw, binary.NativeEndian, r)
	return r, err == nil
}

// decode makes an event of any record of the object.
func (c *Checks) decode(h *sensor.Header, raw []byte) *bollwerk.Event {
	e := c.read(h, raw)
	if e == nil {
		return nil
	}
	if e.Source == "" {
		e.Source, _, _ = strings.Cut(c.means, " ")
	}
	if h.Pad > 1 {
		e.Count = uint64(h.Pad)
	}
	return e
}

func (c *Checks) read(h *sensor.Header, raw []byte) *bollwerk.Event {
	switch bollwerk.EventKind(h.Kind) {
	case bollwerk.EventCapability:
		return decodeCapability(raw)
	case bollwerk.EventMount:
		return decodeMount(raw)
	case bollwerk.EventPtrace:
		return c.decodeMemory(raw)
	case bollwerk.EventNamespace:
		return c.decodeNamespace(raw)
	case bollwerk.EventSetting:
		return c.decodeSetting(h, raw)
	case bollwerk.EventOpen:
		return decodeDevice(raw)
	case bollwerk.EventSocket:
		return &bollwerk.Event{Connection: &bollwerk.Connection{Protocol: "packet"}}
	case bollwerk.EventModule, bollwerk.EventBPF:
		return decodeObject(h, raw)
	}
	return nil
}

func decodeCapability(raw []byte) *bollwerk.Event {
	r, ok := record[bpf.TracingBwCapability](raw)
	if !ok {
		return nil
	}
	return &bollwerk.Event{Change: &bollwerk.Change{Used: CapabilityName(r.Cap)},
		Object: &bollwerk.Object{Name: syscallName(r.Syscall), Type: "system call", ID: uint64(r.Syscall)}}
}

// decodeDevice names a device by its numbers, as the host calls it: the kernel does not
// tell under which name it was opened.
func decodeDevice(raw []byte) *bollwerk.Event {
	r, ok := record[bpf.TracingBwDevice](raw)
	if !ok {
		return nil
	}
	kind, mode := "block", uint32(unix.S_IFBLK)
	if r.Access&0xffff != 1 { // BPF_DEVCG_DEV_BLOCK
		kind, mode = "char", unix.S_IFCHR
	}
	f := &bollwerk.FileEvent{Path: deviceName(kind, r.Major, r.Minor), Mode: mode, Device: unix.Mkdev(r.Major, r.Minor)}
	for bit, a := range map[uint32]bollwerk.Access{1: bollwerk.AccessCreate, 2: bollwerk.AccessRead, 4: bollwerk.AccessWrite} {
		if r.Access>>16&bit != 0 {
			f.Access |= a
		}
	}
	return &bollwerk.Event{Source: "cgroup/dev", File: f}
}

// deviceName asks sysfs for the name of a device; the memory devices have theirs from
// Documentation/admin-guide/devices.txt, as a kernel may lack the device that is asked for.
func deviceName(kind string, major, minor uint32) string {
	if kind == "char" && major == 1 {
		switch minor {
		case 1:
			return "/dev/mem"
		case 2:
			return "/dev/kmem"
		case 4:
			return "/dev/port"
		}
	}
	b, err := readSmall(fmt.Sprintf("/sys/dev/%s/%d:%d/uevent", kind, major, minor))
	if err == nil {
		for line := range strings.Lines(b) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME="); ok && name != "" && !strings.Contains(name, "..") {
				return "/dev/" + name
			}
		}
	}
	return fmt.Sprintf("/dev/%s/%d:%d", kind, major, minor)
}

func decodeMount(raw []byte) *bollwerk.Event {
	r, ok := record[bpf.TracingBwMount](raw)
	if !ok {
		return nil
	}
	place := func(b []int8, names uint16) string {
		if names > 0 {
			return joined(b[:min(int(names), len(b))])
		}
		return text(b)
	}
	return &bollwerk.Event{Mount: &bollwerk.Mount{Source: place(r.Source[:], r.SourceNames), Target: place(r.Target[:], r.TargetNames), Type: text(r.Type[:]), Flags: r.Flags},
		Object: &bollwerk.Object{Name: syscallName(r.Syscall), Type: "system call", ID: uint64(r.Syscall)}}
}

// joined makes a path of its names, of which the last one comes first, each with a zero byte.
func joined(b []int8) string {
	raw := make([]byte, len(b))
	for i, c := range b {
		raw[i] = byte(c)
	}
	var out strings.Builder
	names := strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")
	for _, n := range slices.Backward(names) {
		out.WriteByte('/')
		out.WriteString(n)
	}
	return out.String()
}

func (c *Checks) decodeMemory(raw []byte) *bollwerk.Event {
	r, ok := record[bpf.TracingBwMemory](raw)
	if !ok {
		return nil
	}
	e := &bollwerk.Event{Object: &bollwerk.Object{Name: syscallName(r.Syscall), Type: "system call", ID: uint64(r.Syscall)}}
	e.Source, _, _ = strings.Cut(c.memory, " ")
	if r.Target != 0 {
		e.Target = c.k.Processes.Get(r.Target, r.TargetStart)
	}
	return e
}

var cloneKinds = []struct {
	bit  uint64
	name string
}{{unix.CLONE_NEWNS, "mnt"}, {unix.CLONE_NEWPID, "pid"}, {unix.CLONE_NEWNET, "net"}, {unix.CLONE_NEWUSER, "user"}, {unix.CLONE_NEWUTS, "uts"},
	{unix.CLONE_NEWIPC, "ipc"}, {unix.CLONE_NEWCGROUP, "cgroup"}, {unix.CLONE_NEWTIME, "time"}}

func (c *Checks) decodeNamespace(raw []byte) *bollwerk.Event {
	r, ok := record[bpf.TracingBwNamespace](raw)
	if !ok {
		return nil
	}
	host := c.k.HostNamespaces()
	n := &bollwerk.Namespace{Entered: r.Inum != 0 || r.Target != 0}
	for _, k := range cloneKinds {
		if r.Flags&k.bit != 0 {
			n.Kinds = append(n.Kinds, k.name)
		}
	}
	if kind := text(r.Kind[:]); kind != "" && len(n.Kinds) == 0 {
		n.Kinds = []string{strings.TrimSuffix(kind, "_for_children")}
	}
	switch {
	case r.Inum != 0:
		n.ToHost = slices.Contains([]uint32{host.Mount, host.PID, host.Net, host.User, host.Cgroup}, r.Inum)
	case r.Target != 0:
		// A process whose namespaces are entered all at once through its pidfd.
		p := c.k.Processes.Get(r.Target, 0)
		for _, k := range n.Kinds {
			switch k {
			case "mnt":
				n.ToHost = n.ToHost || p.MountNS == host.Mount && p.MountNS != 0
			case "pid":
				n.ToHost = n.ToHost || p.PIDNS == host.PID && p.PIDNS != 0
			case "net":
				n.ToHost = n.ToHost || p.NetNS == host.Net && p.NetNS != 0
			}
		}
	}
	return &bollwerk.Event{Namespace: n}
}

// Told reports whether a process wrote to a setting of that name a moment ago and it was told:
// whoever hears of the write by another way need not tell it again.
func (c *Checks) Told(pid uint32, name string) bool {
	return c.wrote.has(pid, path.Base(name), time.Now())
}

// writes are the last settings that were written, by process and name. The zero value is usable.
type writes struct {
	mu  sync.Mutex
	all map[write]time.Time
}

type write struct {
	pid  uint32
	name string
}

const (
	writesMost = 256
	writesLife = 10 * time.Second
)

func (w *writes) put(pid uint32, name string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil || len(w.all) >= writesMost {
		w.all = map[write]time.Time{} // what is told twice is better than what is not
	}
	w.all[write{pid, name}] = now
}

func (w *writes) has(pid uint32, name string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.all[write{pid, name}]
	return ok && now.Sub(at).Abs() < writesLife
}

func (c *Checks) decodeSetting(h *sensor.Header, raw []byte) *bollwerk.Event {
	r, ok := record[bpf.TracingBwSetting](raw)
	if !ok {
		return nil
	}
	e := &bollwerk.Event{Object: &bollwerk.Object{
		Name: text(r.Name[:]), Type: "file", Value: strings.TrimRight(text(r.Value[:]), "\n"), Old: strings.TrimRight(text(r.Old[:]), "\n")}}
	c.wrote.put(h.Pid, path.Base(e.Object.Name), time.Now())
	switch {
	case r.Means == settingSysctl:
		e.Source, e.Object.Type = "cgroup/sysctl", "sysctl"
	case h.Outcome == outcomeKilled:
		if c.restorer.restore(e.Object.Name) != nil {
			e.Object.Type = "file, value restored"
		}
	default:
		c.restorer.accept(e.Object.Name)
	}
	return e
}

// Numbers of bpf/tracing.h and bpf/event.h.
const (
	settingSysctl     = 1
	outcomeKilled     = 2
	fromTracing       = 208
	fromTracingModule = 209
)

func decodeObject(h *sensor.Header, raw []byte) *bollwerk.Event {
	r, ok := record[bpf.TracingBwObject](raw)
	if !ok {
		return nil
	}
	o := &bollwerk.Object{Name: text(r.Name[:])}
	switch {
	case bollwerk.EventKind(h.Kind) == bollwerk.EventBPF:
		o.Type = bpfTypeName(r.Type)
	case h.Source == fromTracing:
		o.Type = "attempt"
	}
	return &bollwerk.Event{Object: o}
}
