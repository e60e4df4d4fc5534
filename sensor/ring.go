package sensor

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	// ringPoll is the greatest delay of a record that is not urgent, while records flow.
	ringPoll = 10 * time.Millisecond
	// ringQuiet are empty looks after which the reader sleeps until it is woken.
	ringQuiet = 3

	ringBusy      = 1 << 31 // BPF_RINGBUF_BUSY_BIT: reserved, not yet submitted
	ringDiscarded = 1 << 30
	ringHeader    = 8
)

// ring reads the records of a BPF ring buffer (kernel/bpf/ringbuf.c).
//
// Programs submit without a flag. The kernel then wakes the reader only for the record
// at which the consumer's position stands, that is, when the reader has caught up. To be
// woken is dear for the program that submits (an interrupt to another CPU), so while
// records flow the reader never seems to have caught up: the position that it publishes
// lies eight bytes before the end of the last record it has read, where no new record
// can begin, and it looks every 10 ms. When nothing came for some looks it publishes its
// true position, looks once more, and sleeps without a timer: the next record wakes it,
// once. That nothing falls between is the kernel's own promise: a program first
// announces its record (the producer's position) and then compares the consumer's,
// the reader the other way round, each with a full barrier in between.
//
// A library's reader publishes the true position after each record.
type ring struct {
	file *os.File // the runtime's poller waits on it
	conn syscall.RawConn

	page, rest []byte // the consumer's page; the producer's and the data
	consumer   *atomic.Uint64
	producer   *atomic.Uint64
	data       []byte
	wrapped    []byte // room for a record that lies across the end of the data
	mask       uint64
	at         uint64 // end of the last record read
	quiet      int    // looks since the last record

	poll time.Duration

	mu      sync.Mutex
	running bool
	waiting []chan struct{} // callers of sync
	closed  bool
	asleep  bool // for tests
}

func newRing(m *ebpf.Map) (*ring, error) {
	size, page := int(m.MaxEntries()), os.Getpagesize()
	fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // what the poller asks for
		unix.Close(fd)
		return nil, fmt.Errorf("ring: %w", err)
	}
	r := &ring{file: os.NewFile(uintptr(fd), "ring"), mask: uint64(size - 1), poll: ringPoll}
	err = r.file.SetReadDeadline(time.Time{}) // fails when the poller did not take it
	if err == nil {
		r.conn, err = r.file.SyscallConn()
	}
	if err == nil {
		r.page, err = unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err == nil {
		// The kernel offers the data twice, one after the other, so that no record lies across
		// an end; but what is mapped counts as this process's memory, also the second time.
		r.rest, err = unix.Mmap(fd, int64(page), page+size, unix.PROT_READ, unix.MAP_SHARED)
	}
	if err != nil {
		r.close()
		return nil, fmt.Errorf("ring: %w", err)
	}
	r.consumer = (*atomic.Uint64)(unsafe.Pointer(&r.page[0]))
	r.producer = (*atomic.Uint64)(unsafe.Pointer(&r.rest[0]))
	r.data = r.rest[page:]
	r.at = r.consumer.Load()
	return r, nil
}

// drain hands out what is there at the call, and no more: who waits for that (flush) shall
// not wait for a flood to end. The bytes are the ring's own: each may use them until
// it returns. It reports how many there were, and whether one that is reserved but not
// submitted is in the way.
func (r *ring) drain(each func(raw []byte)) (n int, busy bool) {
	end := r.producer.Load()
	for spins := 0; ; {
		if r.at == end {
			return n, false
		}
		start := r.at & r.mask
		head := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[start])))
		if head&ringBusy != 0 {
			// Its program runs now, unless somebody took the CPU away from under it.
			if spins++; spins > 64 {
				return n, true
			}
			runtime.Gosched()
			continue
		}
		spins = 0
		length := uint64(head &^ ringDiscarded)
		next := r.at + ringHeader + (length+7)&^7
		if head&ringDiscarded == 0 {
			each(r.record(start+ringHeader, length))
			n++
		}
		r.at = next
		r.consumer.Store(next - 8)
	}
}

// record is the bytes of one that begins at a place of the data, or right behind them.
func (r *ring) record(from, length uint64) []byte {
	size := uint64(len(r.data))
	if from+length <= size {
		return r.data[from : from+length : from+length]
	}
	from = min(from, size)
	r.wrapped = append(append(r.wrapped[:0], r.data[from:]...), r.data[:length-(size-from)]...)
	return r.wrapped
}

// read hands out records until the ring is stopped. looked is called after every look.
func (r *ring) read(each func(raw []byte), looked func()) error {
	r.mu.Lock()
	r.running = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.running = false
		release(r.waiting)
		r.waiting = nil
	}()
	for {
		if err := r.file.SetReadDeadline(time.Time{}); err != nil {
			return r.ended(err)
		}
		woken := false
		err := r.conn.Read(func(uintptr) bool {
			if woken {
				return true
			}
			woken = true
			// The poller has forgotten earlier wake-ups now, so what they told of is read here.
			for r.pass(each, looked) {
			}
			return false
		})
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return r.ended(err)
		}
	}
}

// pass reads once and prepares to wait; it reports whether to read again at once.
func (r *ring) pass(each func(raw []byte), looked func()) bool {
	r.mu.Lock()
	waiting := r.waiting
	r.waiting = nil
	r.asleep = false
	r.mu.Unlock()
	n, busy := r.drain(each)
	r.quiet++
	if n > 0 || busy {
		r.quiet = 0
	}
	looked()
	r.mu.Lock()
	defer r.mu.Unlock()
	if busy {
		r.waiting = append(r.waiting, waiting...)
		_ = r.file.SetReadDeadline(time.Now().Add(min(time.Millisecond, r.poll)))
		return false
	}
	release(waiting)
	if len(r.waiting) > 0 || n > 0 && r.producer.Load() != r.at {
		return true
	}
	if r.quiet < ringQuiet {
		_ = r.file.SetReadDeadline(time.Now().Add(r.poll))
		return false
	}
	r.consumer.Store(r.at)
	if r.producer.Load() != r.at {
		return true
	}
	r.asleep = true
	return false
}

func release(waiting []chan struct{}) {
	for _, w := range waiting {
		close(w)
	}
}

func (r *ring) ended(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	return fmt.Errorf("ring: %w", err)
}

// flush returns a channel that is closed when every record that lay in the ring at the
// call was handed out; nil when nobody reads.
func (r *ring) flush() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.running || r.closed {
		return nil
	}
	done := make(chan struct{})
	r.waiting = append(r.waiting, done)
	// Under the lock: the reader looks at the list before it sets a deadline of its own.
	_ = r.file.SetReadDeadline(time.Unix(1, 0))
	return done
}

// stop ends read and returns when it has ended.
func (r *ring) stop() {
	r.mu.Lock()
	closed := r.closed
	r.closed = true
	r.mu.Unlock()
	if !closed {
		_ = r.file.Close()
	}
}

// close frees the memory; nobody reads any more.
func (r *ring) close() {
	r.stop()
	if r.page != nil {
		_ = unix.Munmap(r.page)
	}
	if r.rest != nil {
		_ = unix.Munmap(r.rest)
	}
	r.page, r.rest = nil, nil
}
