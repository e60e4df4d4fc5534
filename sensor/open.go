package sensor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// Options of a sensor; the zero value is usable.
type Options struct {
	Log *slog.Logger
	// Ring is the size of the kernel's ring in bytes, a power of two; 0: 2 MiB. It counts
	// as the agent's resident memory.
	Ring int
	// Processes is the most processes remembered, dead ones included; 0: 32,768.
	Processes int
	// NoBPF works as if BPF were not there.
	NoBPF bool
	// PinRoot is a folder of a BPF file system for what outlives the agent; "": PinRoot.
	PinRoot string
}

// Sensor is a running set of sources.
type Sensor struct {
	k       *Kernel
	sources []Source
	rows    []Capability
	loss    lossReader

	policyMu sync.Mutex
	policies map[uint64]*applied // by cgroup
	lists    map[string]*lists   // by what they say
	lastSet  uint32
}

// Open loads all sources. What already runs is read after everything is attached, so
// that nothing falls between.
func Open(ctx context.Context, o Options, sources ...Source) (*Sensor, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Ring == 0 {
		o.Ring = 2 << 20
	}
	if o.Processes == 0 {
		o.Processes = 32768
	}
	if o.PinRoot == "" {
		o.PinRoot = PinRoot
	}
	k, err := openKernel(&o)
	if err != nil {
		return nil, err
	}
	s := &Sensor{k: k, policies: map[uint64]*applied{}, lists: map[string]*lists{}}
	if err := s.open(ctx, sources); err != nil {
		s.Close()
		return nil, err
	}
	// The type information of the kernel is large and not needed after loading.
	k.types = nil
	if err := k.Processes.readExisting(ctx); err != nil {
		s.Close()
		return nil, err
	}
	bpf.Drop()
	return s, nil
}

// open opens the sources in the order of their list, and beside that those that have
// nothing to do with the others: the verifier takes half of the start, and works on one
// program per CPU.
func (s *Sensor) open(ctx context.Context, sources []Source) error {
	type opened struct {
		tried bool
		rows  []Capability
		err   error
	}
	all := make([]opened, len(sources))
	open := func(i int) {
		all[i].tried = true
		all[i].rows, all[i].err = sources[i].Open(ctx, s.k)
	}
	var beside sync.WaitGroup
	for i, src := range sources {
		if _, ok := src.(Independent); ok {
			beside.Go(func() { open(i) })
		}
	}
	for i, src := range sources {
		if _, ok := src.(Independent); ok {
			continue
		}
		if open(i); all[i].err != nil {
			break
		}
	}
	beside.Wait()
	var errs []error
	for i, src := range sources {
		if !all[i].tried {
			continue
		}
		s.rows = append(s.rows, all[i].rows...)
		s.sources = append(s.sources, src)
		if err := all[i].err; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", src.Name(), err))
		}
	}
	return errors.Join(errs...)
}

// Capabilities is what this kernel allows, in the order of the sources.
func (s *Sensor) Capabilities() []Capability { return s.rows }

// Kernel gives access to what the sources share.
func (s *Sensor) Kernel() *Kernel { return s.k }

// Run hands events to handle, one at a time, until the context ends or a source
// fails. handle must not keep the sensor waiting: what it delays is lost in the ring.
func (s *Sensor) Run(ctx context.Context, handle func(*bollwerk.Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.k.emitMu.Lock()
	s.k.handle = handle
	for _, e := range s.k.early {
		handle(e)
	}
	s.k.early = nil
	s.k.emitMu.Unlock()

	var wg sync.WaitGroup
	errs := make(chan error, len(s.sources)+1)
	start := func(name string, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				errs <- fmt.Errorf("%s: %w", name, err)
				cancel()
			}
		})
	}
	for _, src := range s.sources {
		start(src.Name(), src.Run)
	}
	if s.k.ring != nil {
		start("ring", s.k.read)
	}
	start("losses", s.watchLosses)
	start("processes", s.k.Processes.tidy)
	<-ctx.Done()
	if s.k.ring != nil {
		s.k.ring.stop()
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// Close detaches everything that is not pinned.
func (s *Sensor) Close() error {
	var errs []error
	s.k.rootsMu.Lock()
	s.k.closed = true
	s.k.rootsMu.Unlock()
	if s.k.ring != nil {
		// Who closes in peace leaves behind what was to outlive it, as a crash does.
		errs = append(errs, s.k.maps["alive"].Put(uint32(0), uint64(0)))
	}
	for _, src := range s.sources {
		errs = append(errs, src.Close())
	}
	for _, l := range s.k.links {
		errs = append(errs, l.Close())
	}
	for i := len(s.k.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.k.closers[i]())
	}
	if s.k.ring != nil {
		s.k.ring.close()
	}
	return errors.Join(errs...)
}

// read empties the ring until it is stopped.
func (k *Kernel) read(context.Context) error {
	return k.ring.read(k.record, k.updateBoot)
}

func (k *Kernel) record(raw []byte) {
	const size = int(unsafe.Sizeof(Header{}))
	if len(raw) < size {
		return
	}
	// The ring's records begin at multiples of eight.
	h := *(*Header)(unsafe.Pointer(&raw[0]))
	if int(h.Kind) >= len(k.decoders) {
		return
	}
	d := k.decoders[h.Kind]
	if by := k.bySource[h.Source]; by != nil {
		d = by
	}
	if d == nil {
		return
	}
	e := d(&h, raw)
	if e == nil {
		return
	}
	e.Time = k.Time(h.Time)
	e.Kind = bollwerk.EventKind(h.Kind)
	e.Result = max(e.Result, -h.Result, h.Result)
	switch h.Outcome {
	case 1:
		e.Outcome = bollwerk.Denied
	case 2:
		e.Outcome = bollwerk.Killed
	default:
		e.Outcome = bollwerk.Seen
	}
	e.Rule = guardByNumber(h.Guard)
	if e.Process == nil && h.Flags&FlagNoProcess == 0 {
		e.Process = k.Processes.moved(k.Processes.Get(h.Pid, h.Start), h.Cgroup)
	}
	k.Emit(e)
}

func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// kernelRelease is major<<8 | minor of the running kernel, 0 when it does not say.
func kernelRelease() int {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return 0
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		return 0
	}
	return major<<8 | min(minor, 255)
}

func namespacesOf(dir string) Namespaces {
	inode := func(name string) uint32 {
		var st syscall.Stat_t
		if syscall.Stat(filepath.Join(dir, name), &st) != nil {
			return 0
		}
		return uint32(st.Ino)
	}
	return Namespaces{Mount: inode("mnt"), PID: inode("pid"), Net: inode("net"), User: inode("user"), Cgroup: inode("cgroup")}
}

// Sync returns when every record that lay in the ring at the call was decoded, at the
// latest after syncLimit; without a ring, when the sources named by OnSync have told what
// they had. What other means tell by a PID is younger than the records about that
// process, but often read earlier: without this it would belong to nobody.
// Not to be called while an event is emitted or decoded.
func (k *Kernel) Sync() {
	if k.ring == nil {
		k.ownMu.Lock()
		all := k.syncs
		k.ownMu.Unlock()
		for _, f := range all {
			f()
		}
		return
	}
	done := k.ring.flush()
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-time.After(syncLimit):
	}
}

// OnSync names what tells of processes where there is no ring: f returns when everything
// that waited at the call was emitted.
func (k *Kernel) OnSync(f func()) {
	k.ownMu.Lock()
	defer k.ownMu.Unlock()
	k.syncs = append(k.syncs[:len(k.syncs):len(k.syncs)], f)
}

// syncLimit is for a ring that nobody reads any more; a busy machine is none.
const syncLimit = time.Second
