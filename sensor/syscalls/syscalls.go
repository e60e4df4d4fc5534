// Package syscalls owns which system calls a workload uses. A program at the entry of
// every call taxes the whole machine, so it is attached in short windows: now and then,
// and when a container starts, as starts are the most diverse. What a workload calls
// only between windows is not seen.
//
// It does not see arguments, results or times of calls, nor calls that seccomp refused
// (these never begin). It judges nothing: package profile learns from it.
package syscalls

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// Area of the doctor's table.
const Area = "system calls"

// Width is the number of calls told apart: numbers 0 to Width-1 of the node's own table.
const Width = 512

// Config of the source; the zero value samples.
type Config struct {
	// Off attaches nothing.
	Off bool
	// Always stays attached, so that nothing is missed: for a learning phase. Each
	// system call of the machine then takes about 0.1 µs longer.
	Always bool
	// Window is how long the program is attached at a time, Every how often; 0: 200 ms
	// in every 20 s, which is 1 % of the time.
	Window, Every time.Duration
	// Start is the window when a container starts; 0: 2 s. All starts together get at
	// most 5 % of the time, and what they saved up of it, twice Start at most.
	Start time.Duration
}

func (c Config) defaults() Config {
	if c.Every <= 0 {
		c.Every = 20 * time.Second
	}
	if c.Window <= 0 {
		c.Window = 200 * time.Millisecond
	}
	c.Window = min(c.Window, c.Every)
	if c.Start <= 0 {
		c.Start = 2 * time.Second
	}
	return c
}

// Stats counts since Open.
type Stats struct {
	// Windows that were opened, and for how long together. Always counts as none.
	Windows uint64
	Open    time.Duration
	// Full are calls of workloads for which there was no room, Foreign those by another
	// table (32-bit, x32), Runtime those of the container runtime in a container's
	// cgroup. None of them is in what Collect hands out; known calls are not counted.
	Full, Foreign, Runtime uint64
}

// Source samples system calls. Make it with New.
type Source struct {
	c Config

	starts chan struct{}

	mu     sync.Mutex // of what follows: Collect and Container come from other goroutines
	hook   func() (io.Closer, error)
	host   uint32 // mount namespace
	used   table  // nil: not open
	roots  table
	named  table
	counts table
	held   io.Closer // nil: not attached
	since  time.Time // held since
	stats  Stats
	emit   func(*bollwerk.Event)
	told   uint64 // of Stats.Full
	toldAt time.Time
}

// table is what is used of a map of the kernel.
type table interface {
	MaxEntries() uint32
	NextKey(key, next any) error
	Lookup(key, value any) error
	LookupAndDelete(key, value any) error
	Put(key, value any) error
	Delete(key any) error
}

// New makes a source.
func New(c Config) *Source {
	return &Source{c: c.defaults(), starts: make(chan struct{}, 1)}
}

// Name of the source.
func (s *Source) Name() string { return "syscalls" }

// Independent implements sensor.Independent.
func (s *Source) Independent() {}

// Open loads the program and tries to attach it.
func (s *Source) Open(_ context.Context, k *sensor.Kernel) ([]sensor.Capability, error) {
	row := sensor.Capability{Area: Area, Means: "raw_tp sys_enter", Verdict: bollwerk.NotEvaluated, Outcome: bollwerk.Seen}
	if s.c.Off {
		row.Cause, row.Remedy = "switched off by configuration", "switch on sampling of system calls"
		return []sensor.Capability{row}, nil
	}
	if err := s.load(k); err != nil {
		row.Cause = err.Error()
		row.Remedy = "allow BPF programs on raw tracepoints (CAP_BPF and CAP_PERFMON, kernel 5.10 or later with BTF)"
		return []sensor.Capability{row}, nil
	}
	if s.c.Always {
		row.Verdict, row.Means = bollwerk.Pass, "raw_tp sys_enter, always attached"
		return []sensor.Capability{row}, nil
	}
	row.Verdict = bollwerk.Degraded
	row.Means = fmt.Sprintf("raw_tp sys_enter, %v in every %v and %v when a container starts", s.c.Window, s.c.Every, s.c.Start)
	row.Cause = "sampled: calls between windows are not seen, so a profile needs longer to know them all"
	row.Remedy = "attach it always while profiles learn; each system call of the machine then takes longer"
	return []sensor.Capability{row}, nil
}

func (s *Source) load(k *sensor.Kernel) error {
	spec, err := bpf.LoadSyscalls()
	if err != nil {
		return err
	}
	if k.Before(6, 1) {
		// Such kernels write a warning with a trace to their log, which stops machines that
		// are set to, when a program of this kind has a map that grows: 1 MiB at once instead.
		for name, m := range spec.Maps {
			if name == "syscalls_used" || name == "syscall_workloads" {
				m.Flags &^= unix.BPF_F_NO_PREALLOC
			}
		}
	}
	l, err := k.Load(spec, 0)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	program := l.Programs["bw_sys_enter"]
	if program == nil {
		return fmt.Errorf("the program at sys_enter: %w", l.Refusal("bw_sys_enter"))
	}
	s.host = k.HostNamespaces().Mount
	s.emit, s.toldAt = k.Emit, time.Now()
	s.hook = func() (io.Closer, error) { return k.RawTracepoint("sys_enter", program) }
	if err := s.attach(); err != nil {
		return fmt.Errorf("attaching to sys_enter: %w", err)
	}
	used := l.Maps["syscalls_used"]
	if !s.c.Always {
		if err := s.detach(); err != nil {
			return err
		}
		// That one was a trial.
		s.stats = Stats{}
		for _, id := range keys(used) {
			_ = used.Delete(id)
		}
	}
	s.used, s.roots, s.named, s.counts = used, l.Maps["syscall_roots"], l.Maps["syscall_workloads"], l.Maps["syscall_counts"]
	return nil
}

func (s *Source) attach() error {
	if s.held != nil {
		return nil
	}
	since := time.Now()
	l, err := s.hook()
	if err != nil {
		return err
	}
	s.held, s.since = l, since
	if !s.c.Always {
		s.stats.Windows++
	}
	return nil
}

func (s *Source) detach() error {
	if s.held == nil {
		return nil
	}
	err := s.held.Close()
	s.held = nil
	if !s.c.Always {
		s.stats.Open += time.Since(s.since)
	}
	return err
}

// Run opens and closes the windows until the context ends.
func (s *Source) Run(ctx context.Context) error {
	if s.used == nil || s.c.Always {
		return nil
	}
	plan := newSchedule(s.c, time.Now())
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.detach()
		case <-s.starts:
			plan.began(time.Now())
		case <-t.C:
		}
		open, again := plan.step(time.Now())
		s.mu.Lock()
		var err error
		if open {
			err = s.attach()
		} else {
			err = s.detach()
		}
		s.mu.Unlock()
		if err != nil {
			// It worked at the start. The rest of the agent does not depend on it.
			s.stop()
			<-ctx.Done()
			return nil
		}
		t.Reset(time.Until(again))
	}
}

// Container names a workload, so that its child cgroups count as it, and opens a window
// when it starts.
func (s *Source) Container(w *bollwerk.Workload, began bool) {
	if w == nil || w.Cgroup == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used == nil {
		return
	}
	if !began {
		_ = s.named.Delete(w.Cgroup)
		_ = s.used.Delete(w.Cgroup)
		return
	}
	if s.named.Put(w.Cgroup, s.space(w)) != nil {
		return // full: its children count on their own
	}
	// Children that were seen before it was named count as workloads of their own.
	for _, id := range keys(s.roots) {
		_ = s.roots.Delete(id)
	}
	select {
	case s.starts <- struct{}{}:
	default: // one is waiting already
	}
}

// space is the mount namespace of a container, 0 when it is not known: what runs there
// from another one is the runtime's.
func (s *Source) space(w *bollwerk.Workload) uint32 {
	if w.Container == nil || w.Container.PID == 0 {
		return 0
	}
	var st unix.Stat_t
	if unix.Stat(fmt.Sprintf("/proc/%d/ns/mnt", w.Container.PID), &st) != nil || uint32(st.Ino) == s.host {
		return 0
	}
	return uint32(st.Ino)
}

// Collect hands out and forgets the calls that each cgroup used since the last time:
// bit n of calls is number n of the node's table. calls is valid during the call only.
// Safe for concurrent use; f may not call back. Calls of workloads for which there was no
// room are told as a loss.
func (s *Source) Collect(f func(cgroup uint64, calls []uint64)) {
	defer s.tellFull() // when the lock is free again
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used == nil {
		return
	}
	for _, id := range keys(s.used) {
		s.take(id, f)
	}
}

// CollectOf is Collect for one cgroup, which it costs a look-up: for one that ends before
// all are collected again. Ask before Container tells the end, which forgets them.
func (s *Source) CollectOf(cgroup uint64, f func(cgroup uint64, calls []uint64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used != nil {
		s.take(cgroup, f)
	}
}

// take hands out and forgets what one cgroup used. It wants the lock held.
func (s *Source) take(id uint64, f func(cgroup uint64, calls []uint64)) {
	var v bpf.SyscallsBwCalls
	if s.used.LookupAndDelete(id, &v) != nil {
		// Before 5.14. A call between the two is missed unless it comes again.
		if s.used.Lookup(id, &v) != nil || s.used.Delete(id) != nil {
			return
		}
	}
	var calls [Width / 64]uint64
	for n, u := range v.Used {
		if u != 0 {
			calls[n/64] |= 1 << (n % 64)
		}
	}
	f(id, calls[:])
}

// tellFull emits what was lost since the last time. Nobody knows of whom: that is what
// there was no room for.
func (s *Source) tellFull() {
	s.mu.Lock()
	if s.used == nil {
		s.mu.Unlock()
		return
	}
	full, from, emit := s.count(bwFull), s.toldAt, s.emit
	n, now := full-s.told, time.Now()
	s.told, s.toldAt = full, now
	s.mu.Unlock()
	if n > 0 {
		emit(&bollwerk.Event{Time: now, Kind: bollwerk.EventLoss, Outcome: bollwerk.Seen, Source: "syscalls", Loss: &bollwerk.Loss{From: from, To: now, Count: n, Area: "map"}})
	}
}

// Numbers of syscall_counts (enum bw_syscall_count).
const (
	bwFull = iota
	bwForeign
	bwRuntime
)

// count wants the lock held.
func (s *Source) count(what uint32) (sum uint64) {
	var per []uint64
	if s.counts.Lookup(what, &per) == nil {
		for _, n := range per {
			sum += n
		}
	}
	return sum
}

// keys of a map from cgroups. Other CPUs change it meanwhile; what is missed stays for
// the next time.
func keys(m table) []uint64 {
	var out []uint64
	var id uint64
	prev := any(nil)
	for range m.MaxEntries() {
		if m.NextKey(prev, &id) != nil {
			break
		}
		out = append(out, id)
		prev = id
	}
	return out
}

// Stats counts since Open; zero before it and after Close.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used == nil {
		return Stats{}
	}
	out := s.stats
	if s.held != nil && !s.c.Always {
		out.Open += time.Since(s.since)
	}
	out.Full, out.Foreign, out.Runtime = s.count(bwFull), s.count(bwForeign), s.count(bwRuntime)
	return out
}

func (s *Source) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.detach()
	s.used = nil
}

// Close detaches; the program and the maps are in the kernel's care.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = nil
	return s.detach()
}
