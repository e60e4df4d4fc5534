package sensor

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// producer is a program that writes one record with the time of boot into a ring of the
// test's own, whenever the test wants, so that no other work on this machine wakes its reader.
type producer struct {
	ring *ring
	prog *ebpf.Program
	drop *ebpf.Program // reserves and discards
}

func newProducer(t *testing.T, size uint32) *producer {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: size})
	if err != nil {
		prerequisite.Root(t)
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	load := func(ins asm.Instructions) *ebpf.Program {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: ins})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	p := &producer{}
	p.prog = load(asm.Instructions{
		asm.FnKtimeGetBootNs.Call(),
		asm.StoreMem(asm.RFP, -8, asm.R0, asm.DWord),
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -8),
		asm.Mov.Imm(asm.R3, 8),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	})
	p.drop = load(asm.Instructions{
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.Mov.Imm(asm.R2, 8),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnRingbufReserve.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Reg(asm.R1, asm.R0),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRingbufDiscard.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	})
	if p.ring, err = newRing(m); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *producer) run(t *testing.T, prog *ebpf.Program) {
	if _, err := prog.Run(&ebpf.RunOptions{Data: make([]byte, 64)}); err != nil {
		t.Error(err)
	}
}

// start reads the ring until the end of the test; delays of its records come back.
func (p *producer) start(t *testing.T, looked func()) <-chan time.Duration {
	delays := make(chan time.Duration, 1<<16)
	done := make(chan error, 1)
	go func() {
		done <- p.ring.read(func(raw []byte) {
			delays <- sinceBoot() - time.Duration(binary.NativeEndian.Uint64(raw))
		}, looked)
	}()
	t.Cleanup(func() {
		p.ring.stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		p.ring.close()
	})
	return delays
}

func (p *producer) asleep() bool {
	p.ring.mu.Lock()
	defer p.ring.mu.Unlock()
	return p.ring.asleep
}

// Single records at every distance from the moment at which the reader falls asleep: a
// lost wake-up would leave the record lying, as nothing else comes.
func TestRingNeverSleepsOverARecord(t *testing.T) {
	p := newProducer(t, 4096) // wraps round all the time
	p.ring.poll = 50 * time.Microsecond
	delays := p.start(t, func() {})
	rounds, slept := 8000, 0
	if testing.Short() {
		rounds = 2000
	}
	var all []time.Duration
	for i := range rounds {
		if i%8 == 0 {
			p.run(t, p.drop)
		}
		p.run(t, p.prog)
		select {
		case d := <-delays:
			all = append(all, d)
		case <-time.After(time.Minute):
			t.Fatalf("record %d lies in the ring and nobody comes; asleep: %v", i, p.asleep())
		}
		// The reader sleeps after three empty looks.
		for until := time.Now().Add(time.Duration(rand.Int64N(int64(8 * p.ring.poll)))); time.Now().Before(until); {
			runtime.Gosched()
		}
		if p.asleep() {
			slept++
		}
	}
	slices.Sort(all)
	t.Logf("delays: median %v, 99 %% %v, most %v; the reader slept in %d of %d pauses", all[len(all)/2], all[len(all)*99/100], all[len(all)-1], slept, rounds)
	if slept < rounds/20 || slept > rounds*19/20 {
		t.Errorf("asleep at %d of %d records: the test does not reach both sides", slept, rounds)
	}
	if late := all[len(all)*99/100]; late > 50*time.Millisecond {
		t.Errorf("one record in a hundred is later than %v", late)
	}
}

// The reader looks, a record comes, the reader goes to sleep: it must not.
func TestRingLooksOnceMoreBeforeItSleeps(t *testing.T) {
	p := newProducer(t, 4096)
	p.ring.poll = 10 * time.Microsecond
	next := make(chan struct{}, 1)
	last := 0
	delays := p.start(t, func() {
		if rand.IntN(3) > 0 {
			return
		}
		select {
		case <-next:
			p.run(t, p.prog)
			if p.ring.quiet >= ringQuiet {
				last++
			}
		default:
		}
	})
	for i := range 2000 {
		next <- struct{}{}
		for late, came := time.Now().Add(time.Minute), false; !came; {
			select {
			case <-delays:
				came = true
			case <-time.After(100 * time.Microsecond):
				if len(next) == 1 && p.asleep() {
					p.run(t, p.drop) // wakes it for another try
				}
			}
			if time.Now().After(late) {
				t.Fatalf("record %d lies in the ring and nobody comes", i)
			}
		}
	}
	if last < 100 {
		t.Errorf("only %d records came after the last look", last)
	}
}

// As above, with several programs at once and the true times.
func TestRingWakesOnceAndPollsThen(t *testing.T) {
	p := newProducer(t, 1<<20)
	delays := p.start(t, func() {})
	var wg sync.WaitGroup
	const each = 60
	for range 3 {
		wg.Go(func() {
			for range each {
				time.Sleep(time.Duration(rand.Int64N(int64(150 * time.Millisecond))))
				p.run(t, p.prog)
			}
		})
	}
	wg.Wait()
	var worst time.Duration
	for range 3 * each {
		select {
		case d := <-delays:
			worst = max(worst, d)
		case <-time.After(time.Minute):
			t.Fatal("a record lies in the ring and nobody comes")
		}
	}
	t.Logf("most %v", worst)
	if worst > ringPoll+time.Second { // a busy machine may take a while to run us
		t.Errorf("a record waited %v", worst)
	}
}

func TestRingFlush(t *testing.T) {
	p := newProducer(t, 1<<16)
	if p.ring.flush() != nil {
		t.Error("nobody reads yet")
	}
	p.ring.poll = time.Hour // only a flush or a wake-up makes it look
	looked := make(chan struct{}, 1)
	delays := p.start(t, func() {
		select {
		case looked <- struct{}{}:
		default:
		}
	})
	<-looked // what comes now is read for its own wake-up, which is used up by then
	p.run(t, p.prog)
	<-delays // awake now, and looks again in an hour
	for i := range 300 {
		n := 1 + i%3
		for range n {
			p.run(t, p.prog)
		}
		if len(delays) != 0 {
			t.Fatal("woken while it was awake")
		}
		done := p.ring.flush()
		for done == nil { // read has not begun
			done = p.ring.flush()
		}
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatal("never flushed")
		}
		if len(delays) != n {
			t.Fatalf("%d of %d records were handed out", len(delays), n)
		}
		for range n {
			<-delays
		}
	}
	p.ring.stop()
	if done := p.ring.flush(); done != nil {
		t.Error("a stopped ring flushes")
	}
}

// TestRingFlushFlood: records that come faster than they are read never let the ring become
// empty, and what lay in it at the call is handed out nevertheless.
func TestRingFlushFlood(t *testing.T) {
	p := newProducer(t, 4096)
	read := make(chan error, 1)
	go func() { read <- p.ring.read(func([]byte) { time.Sleep(200 * time.Microsecond) }, func() {}) }()
	enough, flooded := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(flooded)
		for {
			select {
			case <-enough:
				return
			default:
				p.run(t, p.prog)
				runtime.Gosched() // the reader's turn, where there is one processor
			}
		}
	}()
	for range 3 {
		for p.ring.producer.Load()-p.ring.consumer.Load() < 2048 {
			time.Sleep(time.Millisecond)
		}
		done := p.ring.flush()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Error("never flushed")
		}
	}
	close(enough)
	<-flooded
	p.ring.stop()
	if err := <-read; err != nil {
		t.Error(err)
	}
	p.ring.close()
}

// Records that lie across the end of the ring come out whole, though the data is mapped
// only once.
func TestRingWraps(t *testing.T) {
	p := newProducer(t, 4096)
	defer p.ring.close()
	const words = 5 // with its head a record takes 48 bytes, which is no part of 4096
	m, err := ebpf.NewMapFromFD(dup(t, p.ring))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ins := asm.Instructions{asm.FnKtimeGetBootNs.Call()}
	for i := int16(1); i <= words; i++ {
		ins = append(ins, asm.StoreMem(asm.RFP, -8*i, asm.R0, asm.DWord), asm.Add.Imm(asm.R0, 1))
	}
	ins = append(ins,
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -8*words),
		asm.Mov.Imm(asm.R3, 8*words),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(),
		asm.Return(),
	)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: ins})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	across, last := 0, uint64(0)
	for range 1000 {
		p.run(t, prog)
		n, busy := p.ring.drain(func(raw []byte) {
			first := binary.NativeEndian.Uint64(raw)
			for i := range words {
				if got := binary.NativeEndian.Uint64(raw[8*i:]); got != first-uint64(i) {
					t.Fatalf("word %d is %d, the first %d", i, got, first)
				}
			}
			if len(raw) != 8*words || first <= last {
				t.Fatalf("%d bytes, %d after %d", len(raw), first, last)
			}
			last = first
			if unsafe.SliceData(raw) == unsafe.SliceData(p.ring.wrapped) {
				across++
			}
		})
		if n != 1 || busy {
			t.Fatalf("%d records, busy %v", n, busy)
		}
	}
	if across < 5 {
		t.Errorf("only %d records lay across the end", across)
	}
}

// dup is a descriptor of the ring's map.
func dup(t *testing.T, r *ring) (fd int) {
	t.Helper()
	var problem error
	if err := r.conn.Control(func(of uintptr) { fd, problem = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) }); err != nil || problem != nil {
		t.Fatal(err, problem)
	}
	return fd
}

// What the ring takes counts once as the agent's memory.
func TestRingIsMappedOnce(t *testing.T) {
	const size = 1 << 20
	before := residentFile(t)
	p := newProducer(t, size)
	defer p.ring.close()
	if more := residentFile(t) - before; more > size+size/4 {
		t.Errorf("a ring of %d bytes makes the process %d larger", size, more)
	}
}

// residentFile is the memory of this process that is shared with something, bytes.
func residentFile(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, resident, shared int
	if _, err := fmt.Sscan(string(b), &size, &resident, &shared); err != nil {
		t.Fatal(err)
	}
	return shared * os.Getpagesize()
}
