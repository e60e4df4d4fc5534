package sensor

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/cgroup"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// Header is the beginning of every record from the kernel (struct bw_header).
type Header = bpf.SharedBwHeader

// Flags of a record (bpf/event.h).
const (
	FlagContained = 1 << iota
	FlagTruncated
	FlagNoProcess
)

// optOverlayEntry is BW_OPT_OVERLAY_ENTRY.
const optOverlayEntry = 1 << 63

// Decoder makes an event of one record. raw is the whole record with its header and is
// only valid during the call. Time, Outcome, Result, Rule and, unless the decoder set it
// or the record says that it has none, Process are filled in afterwards. Nil swallows it.
type Decoder func(h *Header, raw []byte) *bollwerk.Event

// Hierarchy says which cgroup tree tells containers apart on this host.
type Hierarchy uint32

const (
	CgroupV2 Hierarchy = iota
	CgroupMemory
	CgroupPIDs
	CgroupCPU
)

// controller that names a version 1 tree, "" for version 2.
func (h Hierarchy) controller() string { return [...]string{"", "memory", "pids", "cpu"}[h] }

// Kernel is what all sources share: the maps, the ring, the table of processes and the
// way events go out.
type Kernel struct {
	Log       *slog.Logger
	Processes *Processes
	// Hierarchy, CgroupRoot: the tree in use and where it is mounted. Unified is the
	// mount point of the version 2 tree for network hooks, "" when there is none.
	Hierarchy  Hierarchy
	CgroupRoot string
	Unified    string
	// Boot is the wall-clock time of boot: record times count from there.
	boot atomic.Int64
	host Namespaces

	overlayEntry bool // struct ovl_inode is that of 6.5 and later

	noBPF    error // why BPF is not used, nil when it is
	maps     map[string]*ebpf.Map
	types    *btf.Cache // of the running kernel; only while loading
	ring     *ring
	ringSize int
	decoders [64]Decoder
	bySource [256]Decoder

	ownMu    sync.Mutex // sources are opened at the same time
	links    []link.Link
	programs []*ebpf.Program
	closers  []func() error
	syncs    []func() // without a ring
	tree     string   // our own mount

	rootsMu   sync.Mutex
	rootsSoon bool // policy_roots is to be emptied once more
	closed    bool

	pinMu     sync.Mutex
	pinRoot   string
	pinned    bool
	enforcing []pinned
	opened    int64 // names the folder of pins

	emitMu sync.Mutex
	handle func(*bollwerk.Event)
	early  []*bollwerk.Event // before Run
}

// Namespaces are inode numbers of namespaces.
type Namespaces struct{ Mount, PID, Net, User, Cgroup uint32 }

// HostNamespaces are those of the host (of PID 1).
func (k *Kernel) HostNamespaces() Namespaces { return k.host }

// BPF reports whether BPF programs may be loaded; the error says why not.
func (k *Kernel) BPF() error { return k.noBPF }

// Map returns a shared map by its name in C, nil without BPF.
func (k *Kernel) Map(name string) *ebpf.Map { return k.maps[name] }

func openKernel(o *Options) (*Kernel, error) {
	k := &Kernel{Log: o.Log, ringSize: o.Ring, pinRoot: o.PinRoot, opened: time.Now().UnixNano(), maps: map[string]*ebpf.Map{}, types: btf.NewCache()}
	k.updateBoot()
	// Without any tree there are no containers to tell apart; programs still see processes.
	if h, err := cgroup.Detect("", ""); err == nil {
		k.Hierarchy, k.CgroupRoot, k.Unified = hierarchyOf(h)
	}
	k.Processes = newProcesses(k, o.Processes)
	// PID 1 may be closed to us; the kernel's threads live in the host's namespaces too.
	for _, dir := range []string{"/proc/1/ns", "/proc/2/ns", "/proc/self/ns"} {
		if k.host = namespacesOf(dir); k.host.Mount != 0 {
			break
		}
	}
	k.overlayEntry = kernelRelease() >= 6<<8|5
	if o.NoBPF {
		k.noBPF = errors.New("switched off by configuration")
		return k, nil
	}
	if err := k.openMaps(); err != nil {
		k.noBPF = err
		k.Log.Warn("bpf is not available; falling back to /proc, fanotify and sock_diag", "cause", err)
	}
	return k, nil
}

// hierarchyOf is the tree as kernel programs call it, and where it and the version 2 tree
// are mounted. A version 1 tree that they cannot read is none.
func hierarchyOf(h *cgroup.Hierarchy) (tree Hierarchy, root, unified string) {
	for t := CgroupMemory; t <= CgroupCPU; t++ {
		if h.LegacyName == t.controller() {
			return t, h.Legacy, h.Unified
		}
	}
	return CgroupV2, h.Unified, h.Unified
}

// Tree is a folder that shows the root of the version 2 tree, to which programs are
// attached: where it is mounted, else, on hosts of version 1, a mount that nobody else sees
// and that goes with the agent. Every process is in that tree, also where nothing uses it.
func (k *Kernel) Tree() (string, error) {
	if k.Unified != "" {
		return k.Unified, nil
	}
	k.ownMu.Lock()
	defer k.ownMu.Unlock()
	if k.tree != "" {
		return k.tree, nil
	}
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("there is no cgroup version 2 tree, nor can one be mounted: %w", err)
	}
	fs, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return fail(err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Ino != 1 { // the root's number
		unix.Close(fd)
		return fail(errors.New("a namespace of control groups hides the host's"))
	}
	k.closers = append(k.closers, func() error { return unix.Close(fd) })
	k.tree = fmt.Sprintf("/proc/self/fd/%d", fd)
	return k.tree, nil
}

func (k *Kernel) openMaps() error {
	// Before 5.11 maps count against RLIMIT_MEMLOCK; newer kernels need nothing.
	if err := rlimit.RemoveMemlock(); err != nil {
		k.Log.Debug("memlock limit", "error", err)
	}
	spec, err := bpf.LoadShared()
	if err != nil {
		return err
	}
	spec.Maps["events"].MaxEntries = uint32(k.ringSize)
	if b := spec.Maps["builders"]; b != nil {
		// Every policy may name as many as it may; the entries are made when needed.
		b.MaxEntries = mostBuilders * spec.Maps["policies"].MaxEntries
	}
	for name, m := range spec.Maps {
		// Room to work in is each object's own: programs of two objects may interrupt each other.
		if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "_scratch") {
			delete(spec.Maps, name)
			continue
		}
		made, err := ebpf.NewMap(m)
		if err != nil {
			return fmt.Errorf("map %s: %w", name, explain(err))
		}
		k.maps[name] = made
		k.closers = append(k.closers, made.Close)
	}
	if err := k.maps["alive"].Put(uint32(0), uint64(os.Getpid())); err != nil {
		return err
	}
	k.ring, err = newRing(k.maps["events"])
	return err
}

// Refusal is a program that this kernel did not take.
type Refusal struct {
	Program string
	Type    ebpf.ProgramType
	Err     error
}

// Loaded are the programs and maps of one object.
type Loaded struct {
	Programs map[string]*ebpf.Program
	Maps     map[string]*ebpf.Map
	Refused  []Refusal
}

// Refusal of one program, nil when it is loaded.
func (l *Loaded) Refusal(program string) error {
	for _, r := range l.Refused {
		if r.Program == program {
			return r.Err
		}
	}
	return nil
}

// Load puts the shared maps and the configuration into an object and loads its
// programs one by one, so that one refused program takes no other with it. options
// is the object's own bit set (bw_config.options). Programs named in skip are not tried,
// and maps that only these use are not made.
func (k *Kernel) Load(spec *ebpf.CollectionSpec, options uint64, skip ...string) (*Loaded, error) {
	names := slices.DeleteFunc(slices.Collect(maps.Keys(spec.Programs)), func(p string) bool { return slices.Contains(skip, p) })
	l, err := k.load(spec, options, names)
	if err != nil {
		return nil, err
	}
	k.ownMu.Lock()
	defer k.ownMu.Unlock()
	for name, m := range l.Maps {
		if k.maps[name] != m {
			k.closers = append(k.closers, m.Close)
		}
	}
	for _, p := range l.Programs {
		k.programs = append(k.programs, p)
		k.closers = append(k.closers, p.Close)
	}
	return l, nil
}

// LoadMore loads programs of an object that Load was told to skip; they use no maps but
// those of the others.
func (k *Kernel) LoadMore(l *Loaded, spec *ebpf.CollectionSpec, names ...string) {
	for _, name := range names {
		p, err := k.loadProgram(spec, name, l.Maps)
		if err != nil {
			l.Refused = append(l.Refused, Refusal{Program: name, Type: spec.Programs[name].Type, Err: explain(err)})
			continue
		}
		l.Programs[name] = p
		k.ownMu.Lock()
		k.programs = append(k.programs, p)
		k.closers = append(k.closers, p.Close)
		k.ownMu.Unlock()
	}
}

// Try reports whether this kernel takes a program; nothing of it stays.
func (k *Kernel) Try(spec *ebpf.CollectionSpec, program string) error {
	l, err := k.load(spec, 0, []string{program})
	if err != nil {
		return err
	}
	for name, m := range l.Maps {
		if k.maps[name] != m {
			m.Close()
		}
	}
	for _, p := range l.Programs {
		p.Close()
	}
	return l.Refusal(program)
}

func (k *Kernel) load(spec *ebpf.CollectionSpec, options uint64, names []string) (*Loaded, error) {
	if k.noBPF != nil {
		return nil, k.noBPF
	}
	if k.overlayEntry {
		options |= optOverlayEntry
	}
	if v := spec.Variables["config"]; v != nil {
		if err := v.Set(bpf.SharedBwConfig{
			HostMntNs: k.host.Mount, HostPidNs: k.host.PID, HostNetNs: k.host.Net, HostUserNs: k.host.User, HostCgroupNs: k.host.Cgroup,
			AgentPid: uint32(os.Getpid()), Hierarchy: uint32(k.Hierarchy), WakeupBytes: 64 << 10, Options: options,
		}); err != nil {
			return nil, fmt.Errorf("configuration of the object: %w", err)
		}
	}
	if r := kernelRelease(); r != 0 {
		if r < 5<<8|12 {
			withoutExchange(spec)
		}
		if r < 5<<8|13 {
			withoutCallbacks(spec)
		}
		if r < 6<<8|2 && k.types != nil {
			if types, err := k.types.Kernel(); err == nil {
				withoutCast(spec, types)
			}
		}
	}
	l := &Loaded{Programs: map[string]*ebpf.Program{}, Maps: map[string]*ebpf.Map{}}
	if err := k.loadMaps(spec, names, l); err != nil {
		return nil, err
	}
	// The verifier takes half of the agent's start, and works on one program per CPU.
	// The largest first, so that none is left for the end.
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(spec.Programs[b].Instructions), len(spec.Programs[a].Instructions)), cmp.Compare(a, b))
	})
	programs, errs := make([]*ebpf.Program, len(names)), make([]error, len(names))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range names {
		g.Go(func() error {
			programs[i], errs[i] = k.loadProgram(spec, name, l.Maps)
			return nil
		})
	}
	_ = g.Wait()
	for i, name := range names {
		if err := errs[i]; err != nil {
			l.Refused = append(l.Refused, Refusal{Program: name, Type: spec.Programs[name].Type, Err: explain(err)})
			k.Log.Debug("program refused", "program", name, "type", spec.Programs[name].Type, "error", fmt.Sprintf("%+v", err))
			continue
		}
		l.Programs[name] = programs[i]
	}
	return l, nil
}

// loadMaps makes the maps of an object that these programs use, or no program at all.
func (k *Kernel) loadMaps(spec *ebpf.CollectionSpec, names []string, l *Loaded) error {
	unused := map[string]bool{}
	for name, p := range spec.Programs {
		if !slices.Contains(names, name) {
			for _, m := range mapsOf(p) {
				unused[m] = true
			}
		}
	}
	for _, name := range names {
		for _, m := range mapsOf(spec.Programs[name]) {
			delete(unused, m)
		}
	}
	only := &ebpf.CollectionSpec{Maps: map[string]*ebpf.MapSpec{}, Variables: spec.Variables, Types: spec.Types, ByteOrder: spec.ByteOrder}
	shared := map[string]*ebpf.Map{}
	for name, m := range spec.Maps {
		if unused[name] && !strings.HasPrefix(name, ".") { // variables live in maps with a dot
			continue
		}
		only.Maps[name] = m
		if s := k.maps[name]; s != nil {
			m.MaxEntries = s.MaxEntries()
			shared[name] = s
		}
	}
	made, err := ebpf.NewCollectionWithOptions(only, ebpf.CollectionOptions{MapReplacements: shared, Cache: k.types})
	if err != nil {
		return fmt.Errorf("maps: %w", explain(err))
	}
	for name, m := range made.Maps {
		if shared[name] != nil {
			m.Close() // the collection's own handle of ours
			m = shared[name]
		}
		l.Maps[name] = m
	}
	return nil
}

func mapsOf(p *ebpf.ProgramSpec) []string {
	var out []string
	for i := range p.Instructions {
		if ins := &p.Instructions[i]; ins.IsLoadFromMap() && !slices.Contains(out, ins.Reference()) {
			out = append(out, ins.Reference())
		}
	}
	return out
}

// loadProgram is called for several programs of one object at once: it changes nothing
// that they share.
func (k *Kernel) loadProgram(spec *ebpf.CollectionSpec, name string, have map[string]*ebpf.Map) (*ebpf.Program, error) {
	p := spec.Programs[name]
	one := &ebpf.CollectionSpec{
		Maps: map[string]*ebpf.MapSpec{}, Programs: map[string]*ebpf.ProgramSpec{name: p.Copy()}, Types: spec.Types, ByteOrder: spec.ByteOrder,
	}
	replaced := map[string]*ebpf.Map{}
	for _, m := range mapsOf(p) {
		one.Maps[m], replaced[m] = spec.Maps[m].Copy(), have[m]
	}
	c, err := ebpf.NewCollectionWithOptions(one, ebpf.CollectionOptions{MapReplacements: replaced, Cache: k.types})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.DetachProgram(name), nil
}

// explain makes one sentence of what the kernel said.
func explain(err error) error {
	var ve *ebpf.VerifierError
	switch {
	case errors.Is(err, syscall.EPERM):
		return errors.New("refused by this kernel (EPERM)")
	case errors.As(err, &ve):
		return fmt.Errorf("%w", ve)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("not supported by this kernel (%w)", err)
	}
	return err
}

// Cover tells the programs that kill at the start of a program that these guards are
// held by a better means (one that denies).
func (k *Kernel) Cover(g Guard) error {
	m := k.maps["covered"]
	if m == nil {
		return nil
	}
	return m.Put(uint32(0), uint64(g))
}

// Keep takes a link (or the error of making one) into the kernel's care.
func (k *Kernel) Keep(l link.Link, err error) error {
	if err != nil {
		return explain(err)
	}
	k.ownMu.Lock()
	defer k.ownMu.Unlock()
	k.links = append(k.links, l)
	return nil
}

// Decode registers the decoder of a record kind. One per kind; the last one holds.
func (k *Kernel) Decode(kind bollwerk.EventKind, d Decoder) { k.decoders[kind] = d }

// DecodeFrom registers the decoder of all records with this bw_header.source (128 and
// above: numbers that only one object uses). It goes before the decoder of the kind, so
// that two objects may tell of the same kind in different records.
func (k *Kernel) DecodeFrom(source uint8, d Decoder) { k.bySource[source] = d }

// Time of a record: wall clock from nanoseconds since boot.
func (k *Kernel) Time(sinceBoot uint64) time.Time {
	return time.Unix(0, k.boot.Load()+int64(sinceBoot))
}

// updateBoot follows the wall clock: it may be set while the agent runs.
func (k *Kernel) updateBoot() {
	k.boot.Store(time.Now().UnixNano() - int64(sinceBoot()))
}

// Emit hands out an event that did not come through the ring. Safe for concurrent use;
// events of one caller keep their order.
func (k *Kernel) Emit(e *bollwerk.Event) {
	k.emitMu.Lock()
	defer k.emitMu.Unlock()
	if k.handle == nil {
		if len(k.early) < 65536 {
			k.early = append(k.early, e)
		}
		return
	}
	k.handle(e)
}
