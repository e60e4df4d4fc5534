package sensor

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/cgroup"
)

func table(most int) *Processes {
	k := &Kernel{Log: slog.New(slog.DiscardHandler)}
	k.Processes = newProcesses(k, most)
	return k.Processes
}

// far is a PID that no process of this machine has, so that /proc is silent on it.
const far = 1 << 30

func proc(pid uint32, start uint64) *bollwerk.Process {
	return &bollwerk.Process{PID: far + pid, Start: start, Name: fmt.Sprint("p", pid)}
}

func fork(t *Processes, pid, parent uint32) *bollwerk.Process {
	return t.Fork(&Record{Process: proc(pid, uint64(pid)*1e6+1), Parent: far + parent, ParentStart: uint64(parent)*1e6 + 1})
}

func TestForkTakesTheImageAndExecReplacesIt(t *testing.T) {
	p := table(100)
	first := fork(p, 1, 0)
	first.Path, first.Args = "/bin/sh", []string{"sh"}
	child := fork(p, 2, 1)
	if child.Path != "/bin/sh" || child.Parent != first || child.Name != "p2" {
		t.Fatalf("%+v", child)
	}
	image := proc(2, child.Start)
	image.Path = "/bin/ls"
	now, before := p.Exec(&Record{Process: image, Parent: 99, ParentStart: 99})
	if now != image || before != child || now.Parent != first {
		t.Errorf("parent of the new image: %+v", now.Parent)
	}
	if p.Get(image.PID, image.Start) != image || child.Path != "/bin/sh" {
		t.Error("the old image changed or stayed")
	}
	// Its parent ends and it gets another one: who made it stays who made it.
	p.Exit(first.PID, first.Start, time.Now())
	if p.Get(image.PID, image.Start).Parent != first || p.Get(first.PID, first.Start) != first {
		t.Error("the parent is forgotten too early")
	}
}

func TestChainsAreShort(t *testing.T) {
	p := table(10000)
	// Each child outlives its parent: without a cut every process ever would be kept.
	for i := uint32(1); i <= 2000; i++ {
		c := fork(p, i, i-1)
		p.Exit(far+i-1, uint64(i-1)*1e6+1, time.Unix(int64(i)*60, 0))
		n, near := 0, c
		for a := c; a.Parent != nil; a = a.Parent {
			n++
			if n <= 8 {
				near = a.Parent
			}
		}
		if n > bollwerk.ProcessDepth {
			t.Fatalf("%d ancestors", n)
		}
		if i > 100 && (n < 8 || near.PID != far+i-8) {
			t.Fatalf("process %d: eighth of %d ancestors is %d", i, n, near.PID-far)
		}
	}
	if n := p.Len(); n > 3 {
		t.Errorf("%d are remembered", n)
	}
}

func TestTableIsBounded(t *testing.T) {
	p := table(100)
	for i := uint32(1); i <= 1000; i++ {
		fork(p, i, 0)
		if i%2 == 0 {
			p.Exit(far+i, uint64(i)*1e6+1, time.Now())
		}
		if p.Len() > 100 || len(p.table) > 100 {
			t.Fatalf("%d", p.Len())
		}
	}
	if p.Known(far+1000, 1000*1e6+1) == nil || p.dropped == 0 {
		t.Error("the newest is not there")
	}
	p = table(1 << 20)
	for i := uint32(1); i <= 3*mostDead; i++ {
		fork(p, i, 0)
		p.Exit(far+i, uint64(i)*1e6+1, time.Now())
	}
	if p.Len() > mostDead+1 {
		t.Errorf("%d dead are remembered", p.Len())
	}
}

func TestReusedPID(t *testing.T) {
	p := table(100)
	a := p.Fork(&Record{Process: proc(7, 1e9+1)})
	// Its end was lost.
	b := p.Fork(&Record{Process: proc(7, 5e9+1)})
	if p.Get(a.PID, a.Start) != a || p.Get(b.PID, b.Start) != b || p.Get(a.PID, 0) != b {
		t.Error("mixed up")
	}
	if got := p.Get(a.PID, 9e9+1); got == a || got == b || got.Start != 9e9+1 || got.Path != "" {
		t.Errorf("%+v", got)
	}
	// What /proc told is rounded to ticks and still the same.
	c := p.Fork(&Record{Process: proc(8, 3*tick)})
	if p.Get(c.PID, 3*tick+5) != c || p.Get(c.PID, 4*tick+5) == c {
		t.Error("rounded start")
	}
	// The later end of the first does not end the second.
	p.Exit(a.PID, a.Start, time.Now().Add(time.Second))
	if p.Get(b.PID, 0) != b || len(p.All()) != 2 {
		t.Error("the wrong one ended")
	}
}

func TestGetReadsProc(t *testing.T) {
	s, err := Open(t.Context(), Options{NoBPF: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cmd := exec.Command("/bin/sleep", "1000.75")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := uint32(cmd.Process.Pid)
	if s.k.Processes.Known(pid, 0) != nil {
		t.Fatal("known already")
	}
	p := s.k.Processes.Get(pid, 0)
	if !p.Existing || p.Start == 0 || p.Parent == nil || p.Parent.PID != uint32(os.Getpid()) {
		t.Errorf("%+v", p)
	}
	if got := s.k.Processes.Get(pid, p.Start+1234); got != p {
		t.Errorf("exact start: %+v", got)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if got := s.k.Processes.Get(far+1, 0); got.PID != far+1 || got.Start != 0 || got.Path != "" {
		t.Errorf("%+v", got)
	}
}

// Many containers run the same few programs.
func TestMemoryOfTheTable(t *testing.T) {
	measure := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const n = 5000
	before := measure()
	p := table(32768)
	for i := uint32(0); i < n; i++ {
		c := proc(i+1, uint64(i+1)*1e6+1)
		prog := i % 40
		c.Name = p.Strings.Text(fmt.Appendf(nil, "prog-%d", prog))
		c.Path = p.Strings.Text(fmt.Appendf(nil, "/usr/local/bin/prog-%d", prog))
		c.Cwd = p.Strings.Text([]byte("/srv/data"))
		c.Args = p.Strings.List(fmt.Appendf(nil, "/usr/local/bin/prog-%d\x00--config\x00/etc/prog.conf\x00--verbose\x00", prog))
		p.Exec(&Record{Process: c})
	}
	got := measure() - before
	per := got / n
	t.Logf("%d processes: %d KiB, %d bytes each (the value alone has %d)", n, got>>10, per, unsafe.Sizeof(bollwerk.Process{}))
	if per > uint64(unsafe.Sizeof(bollwerk.Process{}))+400 {
		t.Errorf("%d bytes for each process", per)
	}
	runtime.KeepAlive(p)
}

func TestStrings(t *testing.T) {
	s := newStrings()
	a, b := s.Text([]byte("/usr/bin/x")), s.Text([]byte("/usr/bin/x"))
	if unsafe.StringData(a) != unsafe.StringData(b) {
		t.Error("two copies")
	}
	if l := s.List([]byte("a\x00\x00b\x00")); len(l) != 3 || l[0] != "a" || l[1] != "" || l[2] != "b" {
		t.Errorf("%q", l)
	}
	if l := s.List([]byte{0}); len(l) != 1 || l[0] != "" {
		t.Errorf("%q", l)
	}
	if s.List(nil) != nil {
		t.Error("nothing")
	}
	for i := range 100000 {
		s.Text(fmt.Appendf(nil, "text %d", i))
		s.List(fmt.Appendf(nil, "list\x00%d\x00", i))
	}
	if n := len(s.now) + len(s.past); n > 2*internMost {
		t.Errorf("%d texts are kept", n)
	}
	if n := len(s.lists) + len(s.listsPast); n > 2*internMost/4 {
		t.Errorf("%d lists are kept", n)
	}
}

func FuzzStat(f *testing.F) {
	if b, err := fs.ReadFile(os.DirFS("/proc/self"), "stat"); err == nil {
		f.Add(b)
	}
	f.Add([]byte("1 (a) b) c) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99 0 0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &Record{Process: &bollwerk.Process{}}
		if parseStat(b, r, newStrings()) && r.Process.Start%tick != 0 {
			t.Errorf("start %d", r.Process.Start)
		}
		parseStatus(b, r.Process)
		if path, _ := cleanExe(string(b)); len(path) > len(b) {
			t.Errorf("longer than before: %q", path)
		}
		if i := strings.IndexByte(string(b), '['); i >= 0 {
			describe(0, "socket:"+string(b[i:]))
		}
	})
}

// One container starts thousands of processes with the longest arguments there are.
func TestTextsAreBounded(t *testing.T) {
	p := table(32768)
	long := make([]byte, 4096)
	for i := range long {
		long[i] = 'a'
	}
	for i := uint32(1); i <= 10000; i++ {
		c := proc(i, uint64(i)*1e6+1)
		copy(long, fmt.Sprint(i))
		c.Args, c.Env, c.Path = []string{"x", string(long)}, []string{"TERM=" + string(long[:200])}, "/"+string(long)
		now, _ := p.Exec(&Record{Process: c})
		if len(now.Args) != 2 || len(now.Args[1]) != 4096 {
			t.Fatal("the event's value is cut too")
		}
	}
	if p.texts > mostTexts+10000*4*shortText {
		t.Errorf("%d bytes of texts", p.texts)
	}
	last := p.Known(far+10000, 10000*1e6+1)
	if !last.Truncated || len(last.Args) != 1 || last.Args[0] != "x" || len(last.Path) > shortText+4 {
		t.Errorf("%v %q", last.Truncated, last.Args)
	}
	for i := uint32(1); i <= 10000; i++ {
		p.Exit(far+i, uint64(i)*1e6+1, time.Unix(1, 0))
	}
	p.forget(time.Now())
	if p.texts != 0 || p.Len() != 0 {
		t.Errorf("%d bytes of %d processes are left", p.texts, p.Len())
	}
}

// The kernel gives an id to one cgroup only as long as it runs (kernfs_new_node counts
// on), but ids of two trees may meet, and a path is learned anew with each move: a second
// container under the id of the first must not get its name, nor the first lose its own.
func TestReusedCgroup(t *testing.T) {
	p := table(100)
	a := fork(p, 1, 0)
	p.Moved(a.PID, a.Start, 7, "/docker/a")
	a = p.Get(a.PID, a.Start)
	if a.Cgroup != 7 || a.CgroupPath != "/docker/a" || p.CgroupPath(7, 0) != "/docker/a" {
		t.Fatalf("%d %q", a.Cgroup, a.CgroupPath)
	}
	p.Exit(a.PID, a.Start, time.Now())
	b := fork(p, 2, 0)
	p.Moved(b.PID, b.Start, 7, "/docker/b")
	b = p.Get(b.PID, b.Start)
	child := proc(3, 3e6+1)
	child.Cgroup = 7
	child = p.Fork(&Record{Process: child, Parent: b.PID, ParentStart: b.Start})
	other := proc(4, 4e6+1) // made right inside of it, by somebody outside
	other.Cgroup = 7
	other = p.Fork(&Record{Process: other, Parent: far, ParentStart: 1})
	for _, x := range []*bollwerk.Process{b, child, other} {
		if x.CgroupPath != "/docker/b" {
			t.Errorf("%s is in %q", x.Name, x.CgroupPath)
		}
	}
	if a.CgroupPath != "/docker/a" || p.Get(a.PID, a.Start).CgroupPath != "/docker/a" {
		t.Errorf("the first is in %q now", p.Get(a.PID, a.Start).CgroupPath)
	}
	// A program start says where it is, too.
	p.SetCgroupPath(7, "/docker/c")
	if got := p.CgroupPath(7, 0); got != "/docker/c" {
		t.Errorf("%q", got)
	}
}

func TestStartTime(t *testing.T) {
	s, err := Open(t.Context(), Options{NoBPF: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pid := uint32(os.Getpid())
	start, err := StartTime(pid)
	if p := s.k.Processes.Get(pid, 0); err != nil || start == 0 || !sameStart(start, p.Start) || start > uint64(sinceBoot()) {
		t.Errorf("%d, %v; the table says %d", start, err, p.Start)
	}
	if n, err := StartTime(far); err == nil {
		t.Errorf("a process that is none began at %d", n)
	}
}

func TestHierarchyOf(t *testing.T) {
	for _, c := range []struct {
		in            cgroup.Hierarchy
		tree          Hierarchy
		root, unified string
	}{
		{cgroup.Hierarchy{Unified: "/u"}, CgroupV2, "/u", "/u"},
		{cgroup.Hierarchy{Unified: "/u", Legacy: "/m", LegacyName: "memory"}, CgroupMemory, "/m", "/u"},
		{cgroup.Hierarchy{Legacy: "/p", LegacyName: "pids"}, CgroupPIDs, "/p", ""},
		{cgroup.Hierarchy{Legacy: "/c", LegacyName: "cpu"}, CgroupCPU, "/c", ""},
		{cgroup.Hierarchy{Legacy: "/s", LegacyName: "name=systemd"}, CgroupV2, "", ""},
	} {
		if tree, root, unified := hierarchyOf(&c.in); tree != c.tree || root != c.root || unified != c.unified {
			t.Errorf("%+v: %d %q %q", c.in, tree, root, unified)
		}
	}
}
