package syscalls

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
	"github.com/bollwerk/bollwerk/sensor/sensortest"
)

func watch(t testing.TB, s *Source) *sensortest.Log {
	t.Helper()
	l := sensortest.Watch(t, sensor.Options{}, s)
	if err := l.Sensor.Kernel().BPF(); err != nil {
		prerequisite.Missing(t, "%v", err)
	}
	if s.used == nil && !s.c.Off {
		t.Fatalf("not open: %+v", l.Sensor.Capabilities())
	}
	return l
}

type bitmap [Width / 64]uint64

func (b *bitmap) has(nr int) bool { return b[nr/64]&(1<<(nr%64)) != 0 }

// collect reads everything, by cgroup.
func collect(s *Source) map[uint64]*bitmap {
	out := map[uint64]*bitmap{}
	s.Collect(func(cgroup uint64, calls []uint64) {
		out[cgroup] = (*bitmap)(append([]uint64(nil), calls...))
	})
	return out
}

func TestCallsOfAWorkload(t *testing.T) {
	s := New(Config{Always: true})
	l := watch(t, s)
	image := sensortest.Image(t, nil)
	one, other := sensortest.NewBox(t, l.Sensor, image), sensortest.NewBox(t, l.Sensor, image)
	s.Container(&bollwerk.Workload{Cgroup: one.Cgroup}, true)
	s.Container(&bollwerk.Workload{Cgroup: other.Cgroup}, true)
	collect(s)

	one.Sh(t, "/bin/mkdir /tmp/d && /bin/ln -s x /tmp/d/l")
	other.Sh(t, "true")
	got := collect(s)
	a, b := got[one.Cgroup], got[other.Cgroup]
	if a == nil || b == nil {
		t.Fatalf("cgroups %d and %d are not among %d", one.Cgroup, other.Cgroup, len(got))
	}
	links := []int{unix.SYS_SYMLINKAT}
	if n := sysSymlink; n >= 0 {
		links = append(links, n)
	}
	any := func(b *bitmap) bool {
		for _, n := range links {
			if b.has(n) {
				return true
			}
		}
		return false
	}
	if !any(a) || !a.has(unix.SYS_WRITE) || !a.has(unix.SYS_EXECVE) {
		t.Errorf("symlink, write or execve is missing: %x", *a)
	}
	if any(b) || b.has(unix.SYS_REBOOT) || a.has(unix.SYS_REBOOT) {
		t.Errorf("calls that it did not make: %x", *b)
	}

	// Since the last time means: not again.
	if again := collect(s)[one.Cgroup]; again != nil && any(again) {
		t.Error("handed out twice")
	}
	one.Sh(t, "/bin/ln -s y /tmp/d/m")
	if again := collect(s)[one.Cgroup]; again == nil || !any(again) {
		t.Error("forgotten calls do not come again")
	}

	// Of one alone, as when it ends.
	one.Sh(t, "/bin/ln -s z /tmp/d/n")
	other.Sh(t, "/bin/ln -s z /tmp/n")
	s.CollectOf(one.Cgroup, func(id uint64, calls []uint64) {
		if id != one.Cgroup || !any((*bitmap)(calls)) {
			t.Errorf("cgroup %d: %x", id, calls)
		}
		got[one.Cgroup] = nil
	})
	if got[one.Cgroup] != nil {
		t.Error("nothing is handed out")
	}
	got = collect(s)
	if a, b := got[one.Cgroup], got[other.Cgroup]; a != nil && any(a) || b == nil || !any(b) {
		t.Errorf("afterwards: %x of it, %x of the other", a, b)
	}
	s.CollectOf(1<<50, func(uint64, []uint64) { t.Error("calls of a cgroup that is none") })
	s.Container(&bollwerk.Workload{Cgroup: one.Cgroup}, false)
}

// A container may make cgroups of its own.
func TestChildCgroupsCountAsTheirWorkload(t *testing.T) {
	s := New(Config{Always: true})
	l := watch(t, s)
	box := sensortest.NewBox(t, l.Sensor, sensortest.Image(t, nil))
	child := filepath.Join(l.Sensor.Kernel().CgroupRoot, box.CgroupPath, "child")
	if err := os.Mkdir(child, 0o755); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(child, &st); err != nil {
		t.Fatal(err)
	}
	move := func(folder string) {
		if err := os.WriteFile(filepath.Join(folder, "cgroup.procs"), []byte(fmt.Sprint(box.PID)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	move(child)
	t.Cleanup(func() { move(filepath.Dir(child)); _ = os.Remove(child) })
	box.Sh(t, "true")
	if collect(s)[st.Ino] == nil {
		t.Fatal("before it is named a cgroup stands for itself")
	}
	s.Container(&bollwerk.Workload{Cgroup: box.Cgroup}, true)
	collect(s)
	box.Sh(t, "true")
	got := collect(s)
	if got[box.Cgroup] == nil || got[st.Ino] != nil {
		t.Errorf("the workload: %v, its child: %v", got[box.Cgroup], got[st.Ino])
	}
}

// In a window a start opens calls are seen, and after it nothing is attached.
func TestStartOpensAWindow(t *testing.T) {
	s := New(Config{Every: 1000 * time.Hour, Window: time.Millisecond, Start: time.Hour})
	l := watch(t, s)
	box := sensortest.NewBox(t, l.Sensor, sensortest.Image(t, nil))
	box.Sh(t, "true")
	if len(collect(s)) != 0 || s.Stats().Windows != 0 {
		t.Fatalf("attached without cause: %+v", s.Stats())
	}
	s.Container(&bollwerk.Workload{Cgroup: box.Cgroup}, true)
	until(t, "a window", func() bool { return s.Stats().Windows == 1 })
	box.Sh(t, "true")
	if collect(s)[box.Cgroup] == nil {
		t.Error("nothing was seen in the window")
	}
	if err := l.Stop(); err != nil {
		t.Error(err)
	}
	s.Collect(func(uint64, []uint64) { t.Error("collected after Close") })
	s.Container(&bollwerk.Workload{Cgroup: box.Cgroup}, true)
	if s.held != nil {
		t.Error("still attached")
	}
}

// Windows come and go by themselves.
func TestWindowsCloseAgain(t *testing.T) {
	s := New(Config{Every: 20 * time.Millisecond, Window: time.Millisecond})
	watch(t, s)
	until(t, "five windows", func() bool { return s.Stats().Windows >= 5 })
	if len(collect(s)) == 0 {
		t.Error("five windows saw nothing, not even this test")
	}
}

func TestOff(t *testing.T) {
	s := New(Config{Off: true})
	l := watch(t, s)
	if rows := l.Sensor.Capabilities(); len(rows) != 1 || rows[0].Verdict != bollwerk.NotEvaluated || rows[0].Cause == "" {
		t.Errorf("%+v", rows)
	}
	if len(collect(s)) != 0 {
		t.Error("collected")
	}
}

func TestRows(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   bollwerk.Verdict
	}{{Config{}, bollwerk.Degraded}, {Config{Always: true}, bollwerk.Pass}} {
		rows := watch(t, New(c.config)).Sensor.Capabilities()
		if len(rows) != 1 || rows[0].Area != Area || rows[0].Verdict != c.want || (rows[0].Cause == "") != (c.want == bollwerk.Pass) {
			t.Errorf("%+v", rows)
		}
	}
	s := New(Config{})
	l := sensortest.Watch(t, sensor.Options{NoBPF: true}, s)
	if rows := l.Sensor.Capabilities(); len(rows) != 1 || rows[0].Verdict != bollwerk.NotEvaluated || rows[0].Remedy == "" {
		t.Errorf("%+v", rows)
	}
}

// A workload for which the kernel's table has no room is told as a loss, once.
func TestFullTableIsALoss(t *testing.T) {
	s := New(Config{Always: true})
	l := watch(t, s)
	before := s.Stats().Full
	var none bpf.SyscallsBwCalls
	for id := uint64(1) << 60; s.used.Put(id, &none) == nil; id++ {
	}
	// One that nobody has a place for yet, whatever it does between two calls of ours.
	box := sensortest.NewBox(t, l.Sensor, sensortest.Image(t, nil))
	if _, rc := box.Sh(t, "true"); rc != 0 {
		t.Fatalf("code %d", rc)
	}
	if s.Stats().Full == before {
		t.Fatal("the table is full and nothing was lost")
	}
	collect(s) // makes room again
	e := l.Find(t, "loss", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventLoss && e.Source == "syscalls" })
	if e.Loss.Area != "map" || e.Loss.Count == 0 || e.Loss.Count > s.Stats().Full-before || !e.Loss.From.Before(e.Loss.To) {
		t.Errorf("%+v of %d", e.Loss, s.Stats().Full-before)
	}
	told := s.told
	collect(s)
	if s.told != s.Stats().Full || s.told < told {
		t.Errorf("%d of %d are told", s.told, s.Stats().Full)
	}
}

// Number 64 is getppid for 32-bit programs and semget for the others.
func TestForeignCallsAreNotTakenForOurs(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the program is written in x86 machine code")
	}
	s := New(Config{Always: true})
	l := watch(t, s)
	box := sensortest.NewBox(t, l.Sensor, sensortest.Image(t, map[string]string{"bin/old": program(
		0xb8, 64, 0, 0, 0, // mov eax, getppid
		0xcd, 0x80, // int 0x80
		0xb8, 1, 0, 0, 0, // mov eax, exit
		0x31, 0xdb, // xor ebx, ebx
		0xcd, 0x80,
	), "bin/new": program(
		0xb8, 64, 0, 0, 0, // mov eax, semget
		0x0f, 0x05, // syscall
		0xb8, 60, 0, 0, 0, // mov eax, exit
		0x31, 0xff, // xor edi, edi
		0x0f, 0x05,
	)}))
	collect(s)
	before := s.Stats().Foreign
	if _, rc := box.Sh(t, "/bin/old"); rc != 0 {
		t.Skipf("this kernel has no 32-bit calls (code %d)", rc)
	}
	if b := collect(s)[box.Cgroup]; b == nil || b.has(unix.SYS_SEMGET) {
		t.Error("getppid of a 32-bit program was taken for semget")
	}
	if n := s.Stats().Foreign - before; n < 2 {
		t.Errorf("%d foreign calls were counted, want 2", n)
	}
	if _, rc := box.Sh(t, "/bin/new"); rc != 0 {
		t.Fatalf("code %d", rc)
	}
	if b := collect(s)[box.Cgroup]; b == nil || !b.has(unix.SYS_SEMGET) {
		t.Error("semget is missing")
	}
}

// program is an executable of nothing but this code.
func program(code ...byte) string {
	const base, head = 0x400000, 64 + 56
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	le := binary.LittleEndian
	b = le.AppendUint16(b, 2)  // executable
	b = le.AppendUint16(b, 62) // x86-64
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, base+head)
	b = le.AppendUint64(b, 64)
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, 0)
	for _, n := range []uint16{64, 56, 1, 0, 0, 0} {
		b = le.AppendUint16(b, n)
	}
	size := uint64(head + len(code))
	b = le.AppendUint32(b, 1)
	b = le.AppendUint32(b, 5)
	for _, n := range []uint64{0, base, base, size, size, 0x1000} {
		b = le.AppendUint64(b, n)
	}
	return string(append(b, code...))
}

// What runc does in a container's cgroup before its program starts, and when it starts
// another one there, is not the container's.
func TestTheRuntimeIsNotTheWorkload(t *testing.T) {
	if _, err := exec.LookPath("runc"); err != nil {
		prerequisite.Missing(t, "%v", err)
	}
	for _, told := range []bool{false, true} {
		t.Run(fmt.Sprintf("told=%v", told), func(t *testing.T) { underRunc(t, told) })
	}
}
