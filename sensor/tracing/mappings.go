package tracing

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// Mappings sees files that are mapped executable from places where no library belongs,
// through the side band of perf: injected libraries, code from memory. The kernel writes
// a record for every executable mapping of the machine, which adds about 8 % to each
// program start: it is for those who ask for it, and not among the defaults.
type Mappings struct {
	// Covered reports whether a better source already tells about an area; it may be nil.
	Covered func(area string) bool
	// Prefixes of paths that are told; nil: DefaultMappings.
	Prefixes []string

	k     *sensor.Kernel
	rings []*perfRing
	folds folds
	root  root // of the folds
}

// DefaultMappings are folders that everybody may write, and memory.
func DefaultMappings() []string {
	return []string{"/tmp/", "/var/tmp/", "/dev/shm/", "/run/", "/memfd:", "/home/", "/root/", "/proc/"}
}

const (
	perfPages   = 16 // of data for each processor
	perfMost    = 256
	recordLost  = 2
	recordMmap2 = 10
	mmap2Header = 72 // up to the name
)

// perfRing is the ring of one processor.
type perfRing struct {
	fd   int
	mem  []byte
	data []byte
	buf  []byte
}

// Name of the source.
func (m *Mappings) Name() string { return "perf mappings" }

// Open starts one counter that counts nothing on each processor.
func (m *Mappings) Open(_ context.Context, k *sensor.Kernel) ([]sensor.Capability, error) {
	if m.Covered != nil && m.Covered(AreaMmap) {
		return nil, nil
	}
	m.k = k
	if m.Prefixes == nil {
		m.Prefixes = DefaultMappings()
	}
	row := sensor.Capability{Area: AreaMmap, Means: "perf side band", Verdict: bollwerk.Degraded, Outcome: bollwerk.Seen,
		Cause: "only files in folders that everybody may write, and memory; each program start is about 8 % slower", Remedy: "boot with lsm=…,bpf"}
	if err := m.open(); err != nil {
		m.close()
		row.Verdict, row.Cause, row.Remedy = bollwerk.NotEvaluated, "perf_event_open: "+err.Error(), "run the agent with CAP_PERFMON"
	}
	return []sensor.Capability{row}, nil
}

func (m *Mappings) open() error {
	attr := unix.PerfEventAttr{
		Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_DUMMY, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Bits:   unix.PerfBitMmap | unix.PerfBitMmap2 | unix.PerfBitWatermark,
		Wakeup: perfPages * 4096 / 2,
	}
	page := os.Getpagesize()
	for cpu := range perfMost {
		fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if errors.Is(err, unix.EINVAL) && cpu > 0 || errors.Is(err, unix.ENODEV) {
			continue // no such processor, or not now
		}
		if err != nil {
			return err
		}
		mem, err := unix.Mmap(fd, 0, (1+perfPages)*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			unix.Close(fd)
			return err
		}
		m.rings = append(m.rings, &perfRing{fd: fd, mem: mem, data: mem[page:], buf: make([]byte, 0, 4096)})
	}
	if len(m.rings) == 0 {
		return unix.ENODEV
	}
	return nil
}

func (m *Mappings) close() {
	for _, r := range m.rings {
		unix.Munmap(r.mem)
		unix.Close(r.fd)
	}
	m.rings = nil
}

// Close ends the counters.
func (m *Mappings) Close() error {
	m.close()
	return nil
}

// Run looks four times a second, and whenever a ring is half full.
func (m *Mappings) Run(ctx context.Context) error {
	if len(m.rings) == 0 {
		return nil
	}
	fds := make([]unix.PollFd, len(m.rings))
	for i, r := range m.rings {
		fds[i] = unix.PollFd{Fd: int32(r.fd), Events: unix.POLLIN}
	}
	for ctx.Err() == nil {
		if _, err := unix.Poll(fds, 250); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("perf: %w", err)
		}
		for _, r := range m.rings {
			r.read(m.record)
		}
		m.folds.flush(time.Now().Add(-foldWindow), m.k.Emit)
	}
	return nil
}

// read hands out the records that wait. The kernel writes data_head and the agent
// data_tail (perf_event_open(2)).
func (r *perfRing) read(tell func(kind uint32, body []byte)) {
	page := (*unix.PerfEventMmapPage)(unsafe.Pointer(&r.mem[0]))
	head := atomic.LoadUint64(&page.Data_head)
	tail := page.Data_tail
	size := uint64(len(r.data))
	if head-tail > size {
		tail = head // overwritten: cannot happen while the tail is honoured
	}
	for head-tail >= 8 {
		at := tail % size
		kind := binary.NativeEndian.Uint32(r.data[at:])
		n := uint64(binary.NativeEndian.Uint16(r.data[at+6:]))
		if n < 8 || n > head-tail {
			tail = head
			break
		}
		r.buf = r.buf[:0]
		if at+n <= size {
			r.buf = append(r.buf, r.data[at:at+n]...)
		} else {
			r.buf = append(append(r.buf, r.data[at:]...), r.data[:at+n-size]...)
		}
		tell(kind, r.buf[8:])
		tail += n
	}
	atomic.StoreUint64(&page.Data_tail, tail)
}

// mapping is a PERF_RECORD_MMAP2.
type mapping struct {
	pid          uint32
	major, minor uint32
	inode        uint64
	prot         uint32
	name         string
}

func parseMapping(b []byte) (m mapping, ok bool) {
	ne := binary.NativeEndian
	const name = mmap2Header - 8
	if len(b) <= name {
		return m, false
	}
	m.pid, m.major, m.minor, m.inode, m.prot = ne.Uint32(b), ne.Uint32(b[32:]), ne.Uint32(b[36:]), ne.Uint64(b[40:]), ne.Uint32(b[56:])
	text := b[name:]
	for i, c := range text {
		if c == 0 {
			text = text[:i]
			break
		}
	}
	m.name = string(text)
	return m, true
}

func (m *Mappings) record(kind uint32, b []byte) {
	now := time.Now()
	switch kind {
	case recordLost: // id, how many
		if len(b) >= 16 {
			m.k.Emit(&bollwerk.Event{Time: now, Kind: bollwerk.EventLoss, Outcome: bollwerk.Seen, Source: "perf",
				Loss: &bollwerk.Loss{To: now, Count: binary.NativeEndian.Uint64(b[8:]), Area: "ring", Kind: bollwerk.EventMmap}})
		}
	case recordMmap2:
		x, ok := parseMapping(b)
		if !ok || x.prot&unix.PROT_EXEC == 0 || !m.wanted(x.name) || x.pid == uint32(os.Getpid()) {
			return
		}
		f := &bollwerk.FileEvent{Path: strings.TrimSuffix(x.name, " (deleted)"), Access: bollwerk.AccessExec, Inode: x.inode, Device: unix.Mkdev(x.major, x.minor)}
		if f.Path != x.name || strings.HasPrefix(x.name, "/memfd:") {
			f.Origin = bollwerk.OriginMemory
		}
		e := &bollwerk.Event{Time: now, Kind: bollwerk.EventMmap, Process: m.k.Processes.Get(x.pid, 0), Outcome: bollwerk.Seen, Source: "perf", File: f}
		switch {
		case m.folds.repeat(e, &m.root):
		case !m.root.rate.take(now):
			m.k.Emit(&bollwerk.Event{Time: now, Kind: bollwerk.EventLoss, Outcome: bollwerk.Seen, Source: "perf",
				Loss: &bollwerk.Loss{To: now, Count: 1, Area: "queue", Kind: bollwerk.EventMmap}})
		default:
			m.k.Emit(e)
		}
	}
}

func (m *Mappings) wanted(name string) bool {
	if strings.HasSuffix(name, " (deleted)") {
		return true
	}
	for _, p := range m.Prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}
