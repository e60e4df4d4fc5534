package tracing

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// AreaUnix are connections to sockets that have a name, above all the container runtime's.
const AreaUnix = "connect to sockets"

// Reach sees what contained processes reach for: sockets with names, and code that was
// not in their image.
type Reach struct {
	// Covered reports whether a better source already tells about an area; it may be nil.
	Covered func(area string) bool
	// Sockets are names of sockets on the host that give rights over it; whatever a
	// container calls them, they are told by these names. Nil: RuntimeSockets.
	Sockets []string

	k            *sensor.Kernel
	unix, mapped bool

	mu    sync.Mutex
	boxes map[uint64]uint32 // a process of each container, by cgroup
}

// RuntimeSockets are where container runtimes listen.
func RuntimeSockets() []string {
	return []string{"/run/docker.sock", "/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/podman/podman.sock", "/run/cri-dockerd.sock",
		"/run/buildkit/buildkitd.sock", "/run/k3s/containerd/containerd.sock", "/run/containerd/containerd.sock.ttrpc"}
}

// Name of the source.
func (r *Reach) Name() string { return "reach" }

// Container remembers a process through which the container's files are found when the
// one that did something is gone already.
func (r *Reach) Container(w *bollwerk.Workload, began bool) {
	if w == nil || w.Cgroup == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !began:
		delete(r.boxes, w.Cgroup)
	case w.Container != nil && w.Container.PID != 0:
		if r.boxes == nil {
			r.boxes = map[uint64]uint32{}
		}
		r.boxes[w.Cgroup] = w.Container.PID
	}
}

// Run has nothing to do: records come through the ring.
func (r *Reach) Run(context.Context) error { return nil }

// Close has nothing to do: links and programs are in the kernel's care.
func (r *Reach) Close() error { return nil }

// Sees reports whether an area is seen as it happens. It knows after Open.
func (r *Reach) Sees(area string) bool {
	return area == AreaUnix && r.unix || area == AreaMmap && r.mapped
}

// Options of the object, as in bpf/tracing.h.
const (
	noUnix = 1 << iota
	noMap
)

const fromReach = 210 // BW_FROM_REACH

// Open loads the programs and attaches those that this kernel takes.
func (r *Reach) Open(_ context.Context, k *sensor.Kernel) ([]sensor.Capability, error) {
	r.k = k
	if r.Sockets == nil {
		r.Sockets = RuntimeSockets()
	}
	covered := func(area string) bool { return r.Covered != nil && r.Covered(area) }
	var options uint64
	var skip []string
	if covered(AreaUnix) {
		options, skip = options|noUnix, append(skip, "bw_connect_unix")
	}
	if covered(AreaMmap) {
		options, skip = options|noMap, append(skip, "bw_unmapped")
	}
	if options == noUnix|noMap {
		return nil, nil
	}
	spec, err := bpf.LoadReach()
	if err != nil {
		return nil, err
	}
	l, err := k.Load(spec, options, skip...)
	if err != nil {
		return r.rows(options, err, err), nil
	}
	attach := func(program string, how func(*ebpf.Program) (link.Link, error)) error {
		p := l.Programs[program]
		if p == nil {
			if err := l.Refusal(program); err != nil {
				return err
			}
			return errors.New("not loaded")
		}
		held, err := how(p)
		return k.Keep(held, err)
	}
	tree, named := k.Tree()
	if named == nil && options&noUnix == 0 {
		named = attach("bw_connect_unix", func(p *ebpf.Program) (link.Link, error) {
			return link.AttachCgroup(link.CgroupOptions{Path: tree, Attach: ebpf.AttachCgroupUnixConnect, Program: p})
		})
	}
	mapped := attach("bw_unmapped", func(p *ebpf.Program) (link.Link, error) {
		return link.AttachTracing(link.TracingOptions{Program: p})
	})
	k.DecodeFrom(fromReach, r.decode)
	r.unix, r.mapped = named == nil, mapped == nil
	return r.rows(options, named, mapped), nil
}

func (r *Reach) rows(options uint64, named, mapped error) []sensor.Capability {
	var out []sensor.Capability
	if options&noUnix == 0 {
		c := sensor.Capability{Area: AreaUnix, Means: "cgroup/connect_unix", Verdict: bollwerk.Pass, Outcome: bollwerk.Seen}
		if named != nil {
			c.Verdict, c.Cause = bollwerk.NotEvaluated, "connections to sockets with a name (docker.sock) are not seen: "+named.Error()
			c.Remedy = "run kernel 6.7 or newer with a cgroup version 2 tree, or boot with lsm=…,bpf"
		}
		out = append(out, c)
	}
	if options&noMap == 0 {
		c := sensor.Capability{Area: AreaMmap, Means: "tp_btf vm_unmapped_area", Verdict: bollwerk.Degraded, Outcome: bollwerk.Seen,
			Cause:  "libraries made at run time are seen in containers, as loaders map them; not what is mapped to an address of the caller's choice, nor 32-bit programs",
			Remedy: "boot with lsm=…,bpf, or set `mappings: true`, which makes program starts about 8 % slower"}
		if mapped != nil {
			c.Verdict, c.Cause = bollwerk.NotEvaluated, mapped.Error()
		}
		out = append(out, c)
	}
	return out
}

func (r *Reach) decode(h *sensor.Header, raw []byte) *bollwerk.Event {
	switch bollwerk.EventKind(h.Kind) {
	case bollwerk.EventConnect:
		return r.decodeUnix(h, raw)
	case bollwerk.EventMmap:
		return r.decodeMap(h, raw)
	}
	return nil
}

func (r *Reach) decodeUnix(h *sensor.Header, raw []byte) *bollwerk.Event {
	x, ok := record[bpf.ReachBwUnix](raw)
	if !ok {
		return nil
	}
	b := make([]byte, 0, len(x.Path))
	for _, c := range x.Path[:min(int(x.Length), len(x.Path))] {
		b = append(b, byte(c))
	}
	e := &bollwerk.Event{Source: "cgroup/connect_unix", Connection: &bollwerk.Connection{Protocol: "unix", Outgoing: true}}
	if h.Pad > 1 {
		e.Count = uint64(h.Pad)
	}
	switch {
	case len(b) == 0:
		return nil
	case b[0] == 0: // no file
		e.Connection.Path = "@" + strings.TrimRight(string(b[1:]), "\x00")
	default:
		name, _, _ := strings.Cut(string(b), "\x00")
		e.Connection.Path = r.socket(h, name)
	}
	return e
}

// socket is the whole path of a socket as the process sees it, links resolved; or the
// name on the host of one that gives rights over it, whatever it is called in the
// container. What can no longer be found keeps the name that was asked for.
func (r *Reach) socket(h *sensor.Header, name string) string {
	dir := "/proc/" + strconv.Itoa(int(h.Pid))
	in := root{prefix: dir + "/root"}
	if _, err := os.Lstat(in.prefix); err != nil {
		r.mu.Lock()
		in.prefix = "/proc/" + strconv.Itoa(int(r.boxes[h.Cgroup])) + "/root"
		r.mu.Unlock()
	}
	in.findTop()
	if !path.IsAbs(name) {
		cwd, err := os.Readlink(dir + "/cwd")
		if err != nil {
			if p := r.k.Processes.Known(h.Pid, h.Start); p != nil {
				cwd = p.Cwd
			}
		} else {
			cwd = in.within(cwd)
		}
		name = path.Join("/", cwd, name)
	}
	fd, err := in.open(name, unix.O_PATH)
	if err != nil {
		return name
	}
	defer unix.Close(fd)
	var st, known unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return name
	}
	for _, s := range r.Sockets {
		if unix.Stat(s, &known) == nil && known.Ino == st.Ino && known.Dev == st.Dev {
			return s
		}
	}
	if real, err := os.Readlink(procFD(fd)); err == nil {
		return strings.TrimSuffix(in.within(real), " (deleted)")
	}
	return name
}

func (r *Reach) decodeMap(h *sensor.Header, raw []byte) *bollwerk.Event {
	const fixed = int(unsafe.Sizeof(bpf.ReachBwMap{}))
	x, ok := record[bpf.ReachBwMap](raw)
	if !ok || len(raw) < fixed+int(x.Names) {
		return nil
	}
	f := &bollwerk.FileEvent{Path: joinNames(raw[fixed : fixed+int(x.Names)]), Access: bollwerk.AccessExec, Mode: uint32(x.Mode), Inode: x.Inode, Size: x.Size,
		Device: unix.Mkdev(x.Device>>20, x.Device&0xfffff), Truncated: h.Flags&sensor.FlagTruncated != 0}
	switch x.Origin {
	case 2:
		f.Origin = bollwerk.OriginModified
	case 3:
		f.Origin = bollwerk.OriginCreated
	case 5:
		f.Origin = bollwerk.OriginMemory
	}
	if x.Sure == 0 && !executes(h.Pid, x.Inode) {
		return nil
	}
	e := &bollwerk.Event{Source: "tp_btf", File: f}
	if h.Pad > 1 {
		e.Count = uint64(h.Pad)
	}
	return e
}

// joinNames makes a path of names that stand from the last to the first, each with a
// zero byte behind it.
func joinNames(b []byte) string {
	names := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	var out strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		if !strings.HasPrefix(names[i], "/") {
			out.WriteByte('/')
		}
		out.WriteString(names[i])
	}
	return out.String()
}

// mapsMost is how much of a process's list of mappings is read.
const mapsMost = 1 << 20

// executes reports whether a process has an executable mapping of an inode
// (proc_pid_maps(5)).
func executes(pid uint32, inode uint64) bool {
	f, err := os.Open("/proc/" + strconv.Itoa(int(pid)) + "/maps")
	if err != nil {
		return false
	}
	defer f.Close()
	want := strconv.FormatUint(inode, 10)
	for sc := bufio.NewScanner(io.LimitReader(f, mapsMost)); sc.Scan(); {
		var span, rights, offset, device, number string
		if n, _ := fmt.Sscan(sc.Text(), &span, &rights, &offset, &device, &number); n == 5 && number == want && len(rights) > 2 && rights[2] == 'x' {
			return true
		}
	}
	return false
}
