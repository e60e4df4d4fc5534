package procfs

import (
	"bufio"
	"context"
	"io"
	"iter"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// Mounts compares the mounts of all mount namespaces from time to time. It holds no file
// open between two looks: that would keep a container's file systems from being unmounted.
type Mounts struct {
	// Covered reports whether a better source already tells about an area; it may be nil.
	Covered func(area string) bool
	// Interval between two looks; 0: 3 s.
	Interval time.Duration

	k     *sensor.Kernel
	known map[uint32]map[uint64]bool // namespace: mount ids; nil value: not looked at yet
	full  uint64
	// looked says that what was there is known.
	looked atomic.Bool
}

const (
	mountBytes = 1 << 20 // read of one namespace
	mountMost  = 4096    // of one namespace
	mountTell  = 64      // events of one namespace and look
)

// mount is a line of proc_pid_mountinfo(5).
type mount struct {
	id                                  uint64
	root, target, options, kind, source string
}

// mountsOf reads mountinfo; lines it does not understand are passed over.
func mountsOf(r io.Reader) iter.Seq[mount] {
	return func(yield func(mount) bool) {
		sc := bufio.NewScanner(io.LimitReader(r, mountBytes))
		for n := 0; sc.Scan() && n < mountMost; n++ {
			if m, ok := parseMount(sc.Text()); ok && !yield(m) {
				return
			}
		}
	}
}

func parseMount(line string) (m mount, ok bool) {
	left, right, ok := strings.Cut(line, " - ")
	l, r := strings.Fields(left), strings.Fields(right)
	if !ok || len(l) < 6 || len(r) < 2 {
		return m, false
	}
	id, err := strconv.ParseUint(l[0], 10, 64)
	if err != nil {
		return m, false
	}
	return mount{id: id, root: unescape(l[3]), target: unescape(l[4]), options: l[5], kind: r[0], source: unescape(r[1])}, true
}

// unescape reads the octal escapes of mountinfo.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// flags are those of mount(2) that an option names.
func (m *mount) flags() (f uint64) {
	bits := map[string]uint64{"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "sync": 16, "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21}
	for o := range strings.SplitSeq(m.options, ",") {
		f |= bits[o]
	}
	if m.root != "/" {
		f |= 4096 // MS_BIND
	}
	return f
}

// Name of the source.
func (s *Mounts) Name() string { return "mounts" }

// Open says what is seen.
func (s *Mounts) Open(_ context.Context, k *sensor.Kernel) ([]sensor.Capability, error) {
	if s.Covered != nil && s.Covered(AreaMount) {
		return nil, nil
	}
	s.k, s.known = k, map[uint32]map[uint64]bool{}
	if s.Interval == 0 {
		s.Interval = 3 * time.Second
	}
	return []sensor.Capability{{Area: AreaMount, Means: "comparing /proc/PID/mountinfo", Verdict: bollwerk.Degraded, Outcome: bollwerk.Seen,
		Cause:  "a mount is seen up to " + s.Interval.String() + " later, if it still stands; named is the first process of the namespace, not who mounted",
		Remedy: "run the agent with CAP_BPF on kernel 6.13 or newer, or boot with lsm=…,bpf"}}, nil
}

// Run looks until the context ends.
func (s *Mounts) Run(ctx context.Context) error {
	if s.known == nil {
		return nil
	}
	t := time.NewTicker(s.Interval)
	defer t.Stop()
	for {
		s.look(ctx)
		s.looked.Store(true)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// Close has nothing to do.
func (s *Mounts) Close() error { return nil }

func (s *Mounts) look(ctx context.Context) {
	spaces := map[uint32]*bollwerk.Process{}
	for _, p := range s.k.Processes.All() {
		if p.Kernel || p.MountNS == 0 {
			continue
		}
		if old := spaces[p.MountNS]; old == nil || p.Start < old.Start {
			if old != nil || len(spaces) < namespaceMost {
				spaces[p.MountNS] = p
			}
		}
	}
	for ns := range s.known {
		if spaces[ns] == nil {
			delete(s.known, ns)
		}
	}
	for ns, p := range spaces {
		if ctx.Err() != nil {
			return
		}
		s.compare(ns, p)
	}
}

// compare tells of the mounts of one namespace that were not there before. What a new
// namespace begins with is how its runtime made it, and is not told.
func (s *Mounts) compare(ns uint32, p *bollwerk.Process) {
	f, err := os.Open("/proc/" + strconv.FormatUint(uint64(p.PID), 10) + "/mountinfo")
	if err != nil {
		return
	}
	defer f.Close()
	old := s.known[ns]
	now := make(map[uint64]bool, len(old))
	told := 0
	for m := range mountsOf(f) {
		now[m.id] = true
		if old == nil || old[m.id] {
			continue
		}
		if told++; told > mountTell {
			s.full++
			continue
		}
		s.k.Emit(&bollwerk.Event{Time: time.Now(), Kind: bollwerk.EventMount, Process: p, Outcome: bollwerk.Seen, Source: "procfs",
			Mount: &bollwerk.Mount{Source: m.source, Target: m.target, Type: m.kind, Root: m.root, Flags: m.flags()}})
	}
	s.known[ns] = now
	if s.full > 0 {
		t := time.Now()
		s.k.Emit(&bollwerk.Event{Time: t, Kind: bollwerk.EventLoss, Outcome: bollwerk.Seen, Source: "procfs",
			Loss: &bollwerk.Loss{To: t, Count: s.full, Area: "queue", Kind: bollwerk.EventMount, Cgroup: p.Cgroup}})
		s.full = 0
	}
}
