// Package escape notices a container that reaches the host, where it takes several steps to be
// sure: a device mounted and used, a namespace of the host entered and a program run there,
// a program of a container run by the kernel itself. Single steps (a write to release_agent,
// a privileged mount) are policies'.
package escape

import (
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
)

// Config tunes the detector. The zero value is usable.
type Config struct {
	// Allowed are beginnings of the names of images whose containers manage the host:
	// "registry.example/storage-driver".
	Allowed []string `yaml:"allowed"`
}

// Detector notices escapes.
type Detector struct {
	cfg    Config
	scopes *detect.Table[detect.Scope, steps]
	// entered remembers processes that joined namespaces of the host.
	entered *detect.Table[detect.Actor, time.Time]
	// begun are first processes of containers, and of execs into them, that ran a program of the container.
	begun   *detect.Table[detect.Actor, struct{}]
	host    uint32 // the host's mount namespace, from its own processes
	hostPID uint32 // and its PID namespace
}

// steps are what one container did so far.
type steps struct {
	unshared time.Time
	cgroup   time.Time
	device   string // where a device of the host was mounted
	source   string
	at       time.Time
}

const window = 30 * time.Minute

// New makes the detector.
func New(cfg Config) *Detector {
	return &Detector{cfg: cfg, scopes: detect.NewTable[detect.Scope, steps](512, window), entered: detect.NewTable[detect.Actor, time.Time](1024, window),
		begun: detect.NewTable[detect.Actor, struct{}](1024, window)}
}

var info = detect.Info{
	ID: "container-escape", Title: "A container reaches the host",
	Severity: bollwerk.SeverityCritical, Mode: detect.Warn,
	Attack: []string{"T1611"},
	Description: "Sequences that lead out of a container: new namespaces, a mounted cgroup tree and a written release_agent; a device of the host mounted and then used; a namespace of the " +
		"host entered and a program run there; a process of a container in the host's mount namespace; a program in a container's layer that the kernel starts by itself.",
	Advice: "Treat the node as broken into, not only the container: cordon it, keep it running for evidence, rotate every credential it holds (kubelet, service accounts, cloud role). " +
		"Drivers that manage the host by design are allowed by image (escape.allowed).",
	Needs: []detect.Need{
		{Kind: bollwerk.EventExec, Lost: "programs run on the host by a container are not seen"},
		{Kind: bollwerk.EventNamespace, Lost: "entering the host's namespaces is seen only by the next program run there"},
		{Kind: bollwerk.EventMount, Lost: "mounted devices and cgroup trees are not seen"},
		{Kind: bollwerk.EventSetting, Lost: "writes that make the kernel run a program are not seen"},
		{Kind: bollwerk.EventCreate, Lost: "that a mounted device is written to is not seen"},
		{Kind: bollwerk.EventOpen, Lost: "that files of a mounted device are read is not seen"},
	},
	Bound: "512 containers and twice 1024 processes (30 min)",
}

// Info tells what the detector sees and needs.
func (*Detector) Info() *detect.Info { return &info }

// Observe takes one event.
func (d *Detector) Observe(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	p := e.Process
	if e.Kind == bollwerk.EventExec && p != nil {
		d.exec(e, p, report)
	}
	if !d.contained(e) || e.Result != 0 && e.Outcome != bollwerk.Denied {
		return
	}
	switch e.Kind {
	case bollwerk.EventNamespace:
		d.namespace(e, p, report)
	case bollwerk.EventMount:
		d.mount(e)
	case bollwerk.EventSetting:
		d.setting(e, report)
	case bollwerk.EventCreate, bollwerk.EventOpen:
		if e.File != nil {
			d.file(e, e.File.Path, report)
		}
	}
}

// contained reports whether an event happened in a container. A process of the host that made
// mounts of its own (unshare -m) still has the host's PIDs, and may go back.
func (d *Detector) contained(e *bollwerk.Event) bool {
	if e.Workload != nil && e.Workload.Container != nil {
		return true
	}
	p := e.Process
	return detect.Contained(e) && p != nil && (d.hostPID == 0 || p.PIDNS == 0 || p.PIDNS != d.hostPID)
}

// manages reports whether a container is declared to manage the host and nobody sits at it.
func (d *Detector) manages(e *bollwerk.Event) bool {
	if e.Workload == nil || e.Workload.Container == nil {
		return false
	}
	for _, a := range d.cfg.Allowed {
		if a != "" && strings.HasPrefix(e.Workload.Container.Image, a) {
			return true
		}
	}
	return false
}

// declared reports whether the container was given the host by its owner.
func declared(e *bollwerk.Event) bool {
	return e.Workload != nil && e.Workload.Container != nil && e.Workload.Container.Privileged
}

func (d *Detector) tell(e *bollwerk.Event, subject, text string, report func(*bollwerk.Detection)) {
	if d.manages(e) {
		return
	}
	det := detect.New(&info, e, subject, detect.Who(e.Process)+" in "+detect.Where(e.Workload)+" "+text)
	if declared(e) {
		// Storage drivers, node agents and debug pods enter the host by design; a person or an
		// intruder at a terminal is another matter.
		det.Severity, det.Mode = bollwerk.SeverityLow, string(detect.Observe)
		if p := e.Process; p != nil && p.TTY != "" {
			det.Severity, det.Mode = bollwerk.SeverityHigh, ""
		}
		det.Message += "; the container is privileged, so nothing had to be broken for it"
	}
	report(det)
}

// runtimeAtWork reports whether a process belongs to the start of a container: the runtime
// joins the container's cgroup while it still stands on the host, with a program of the host or
// a sealed copy of it, and until the first program of the container. What has run such a program
// is no runtime any more, whatever it becomes: an intruder may be the first process of a
// container, or of an exec into it, and so a child of the runtime itself.
func (d *Detector) runtimeAtWork(e *bollwerk.Event, p *bollwerk.Process) bool {
	if p == nil {
		return false
	}
	for q, n := p, 0; q != nil && q.Cgroup == p.Cgroup && n <= bollwerk.ProcessDepth; q, n = q.Parent, n+1 {
		if a, ok := detect.ActorOf(q); ok && d.begun.Peek(a, e.Time) != nil {
			return false
		}
	}
	if p.OfRuntime() || sameProgram(p) {
		return true
	}
	if up := p.Parent; up == nil || up.Cgroup != p.Cgroup {
		if a, ok := detect.ActorOf(p); ok {
			d.begun.Put(a, e.Time)
		}
	}
	return false
}

// sameProgram reports whether p still runs the file of the program that came from outside of its
// cgroup: how a runtime is known where nobody tells the origin of programs (without BPF).
func sameProgram(p *bollwerk.Process) bool {
	for q, n := p, 0; n < 4; n++ {
		up := q.Parent
		if q.Origin != bollwerk.OriginUnknown || up == nil || q.Inode == 0 || q.Inode != up.Inode || q.Device != up.Device {
			return false
		}
		if up.Cgroup != q.Cgroup {
			return !up.Contained && up.MountNS != 0
		}
		q = up
	}
	return false
}

func (d *Detector) exec(e *bollwerk.Event, p *bollwerk.Process, report func(*bollwerk.Detection)) {
	container := e.Workload != nil && e.Workload.Container != nil
	if !container && !p.Contained && p.MountNS != 0 {
		d.host, d.hostPID = p.MountNS, p.PIDNS
	}
	// A kernel thread starts programs named by core_pattern, modprobe, uevent_helper, release_agent:
	// none of them has reason to lie where containers keep their files.
	if p.Parent != nil && (p.Parent.Kernel || p.Parent.PID == 2) && !p.Contained && layer(p.Path) {
		d.tell(e, "kernel "+p.Path, "was started by the kernel itself from "+detect.Text(p.Path)+", a file of a container", report)
		return
	}
	if !d.contained(e) && !container {
		return
	}
	for q, n := p, 0; q != nil && n < 4; q, n = q.Parent, n+1 {
		a, ok := detect.ActorOf(q)
		if !ok {
			continue
		}
		if d.entered.Peek(a, e.Time) != nil {
			d.tell(e, "entered", "runs "+detect.Text(p.Path)+" in namespaces of the host, which "+detect.Who(q)+" entered: "+detect.Command(p), report)
			return
		}
	}
	atWork := d.runtimeAtWork(e, p)
	if container && d.host != 0 && p.MountNS == d.host && !hostly(e) && !atWork && p.Parent != nil {
		d.tell(e, "mount namespace", "belongs to the container but runs in the host's mount namespace: "+detect.Command(p), report)
		return
	}
	s := d.scopes.Peek(detect.ScopeOf(e), e.Time)
	if s != nil && s.device != "" && detect.Near(e.Time, s.at, window) {
		where := s.device
		if name := detect.Name(p); name == "chroot" && mentions(p, where) || strings.HasPrefix(p.Path, where+"/") || mentions(p, where+"/etc") || mentions(p, where+"/root") {
			d.tell(e, "device "+where, "uses "+detect.Text(s.source)+", a disk of the host it mounted at "+detect.Text(where)+": "+detect.Command(p), report)
		}
	}
}

// hostly reports whether a container is meant to share the host's mounts: none of the usual
// runtimes can do that, but units and pods of system tools look so.
func hostly(e *bollwerk.Event) bool {
	return e.Workload.Container.Runtime == "" || e.Workload.Pod != nil && e.Workload.Pod.Sandbox
}

func mentions(p *bollwerk.Process, path string) bool {
	for i := 1; i < len(p.Args) && i < 32; i++ {
		if strings.HasPrefix(p.Args[i], path) {
			return true
		}
	}
	return false
}

// layer reports whether a path lies where runtimes keep what containers write.
func layer(path string) bool {
	for _, d := range [...]string{"/var/lib/docker/", "/var/lib/containerd/", "/var/lib/containers/", "/run/containerd/io.containerd.runtime", "/run/k3s/containerd/", "/var/lib/rancher/k3s/agent/containerd/"} {
		if strings.HasPrefix(path, d) {
			return true
		}
	}
	return strings.Contains(path, "/overlay2/") || strings.HasPrefix(path, "/proc/") && strings.Contains(path, "/root/") || strings.HasPrefix(path, "/proc/") && strings.Contains(path, "/cwd/")
}

func (d *Detector) namespace(e *bollwerk.Event, p *bollwerk.Process, report func(*bollwerk.Detection)) {
	n := e.Namespace
	if n == nil || d.runtimeAtWork(e, p) {
		return
	}
	if !n.Entered {
		for _, k := range n.Kinds {
			if k == "mnt" || k == "user" || k == "cgroup" {
				d.scopes.Put(detect.ScopeOf(e), e.Time).unshared = e.Time
			}
		}
		return
	}
	if !n.ToHost {
		return
	}
	for _, k := range n.Kinds {
		if k != "mnt" && k != "pid" {
			continue
		}
		if a, ok := detect.ActorOf(p); ok && d.entered.Peek(a, e.Time) == nil {
			*d.entered.Put(a, e.Time) = e.Time
			d.tell(e, "entered", "entered the "+k+" namespace of the host: "+detect.Command(p), report)
		}
		return
	}
}

func (d *Detector) mount(e *bollwerk.Event) {
	m := e.Mount
	if m == nil || m.Target == "" || d.runtimeAtWork(e, e.Process) {
		return
	}
	switch {
	case m.Type == "cgroup" || m.Type == "cgroup2":
		d.scopes.Put(detect.ScopeOf(e), e.Time).cgroup = e.Time
	case disk(m):
		s := d.scopes.Put(detect.ScopeOf(e), e.Time)
		s.device, s.source, s.at = strings.Clone(strings.TrimSuffix(m.Target, "/")), strings.Clone(m.Source), e.Time
		if s.device == "" || s.device == "/" {
			s.device = "" // cannot be told from the rest
		}
	}
}

// disk reports whether what is mounted is a disk: containers mount their own file systems,
// but get disks from their runtime.
func disk(m *bollwerk.Mount) bool {
	if len(m.Source) > 512 || len(m.Target) > 4096 {
		return false
	}
	for _, d := range [...]string{"/dev/sd", "/dev/vd", "/dev/nvme", "/dev/xvd", "/dev/mapper/", "/dev/dm-", "/dev/md", "/dev/mmcblk", "/dev/root", "/dev/disk/", "/dev/hd"} {
		if strings.HasPrefix(m.Source, d) {
			return true
		}
	}
	switch m.Type {
	case "ext4", "ext3", "xfs", "btrfs", "zfs":
		return !strings.HasPrefix(m.Source, "/dev/loop")
	}
	return false
}

func (d *Detector) setting(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	o := e.Object
	if o == nil {
		return
	}
	name := detect.Base(o.Name)
	switch name {
	case "release_agent", "core_pattern", "uevent_helper", "modprobe", "hotplug", "binfmt_misc", "register":
	default:
		return
	}
	d.helper(e, name, report)
}

// helper notices that a container set the program the kernel starts. The single write is a
// policy's; here it counts with the steps before it.
func (d *Detector) helper(e *bollwerk.Event, name string, report func(*bollwerk.Detection)) {
	s := d.scopes.Peek(detect.ScopeOf(e), e.Time)
	prepared := ""
	switch {
	case s == nil:
	case !s.cgroup.IsZero() && detect.Near(e.Time, s.cgroup, window):
		prepared = "after it mounted a cgroup tree"
	case !s.unshared.IsZero() && detect.Near(e.Time, s.unshared, window):
		prepared = "after it made namespaces of its own"
	}
	if prepared == "" {
		return
	}
	d.tell(e, name, "wrote "+name+" "+prepared+": the kernel will run a program of the container as root on the host", report)
}

func (d *Detector) file(e *bollwerk.Event, path string, report func(*bollwerk.Detection)) {
	if f := e.File; f.Access&(bollwerk.AccessWrite|bollwerk.AccessCreate) != 0 {
		switch name := detect.Base(path); name {
		case "release_agent", "uevent_helper", "core_pattern":
			d.helper(e, name, report)
			return
		}
	}
	s := d.scopes.Peek(detect.ScopeOf(e), e.Time)
	if s == nil || s.device == "" || !strings.HasPrefix(path, s.device+"/") {
		return
	}
	d.tell(e, "device "+s.device, "opened "+detect.Text(path)+" on "+detect.Text(s.source)+", a disk of the host it mounted at "+detect.Text(s.device), report)
}
