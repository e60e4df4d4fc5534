package process

import (
	"encoding/binary"
	"slices"
	"testing"
	"unsafe"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// still is a source with a table but without a kernel.
func still(t testing.TB) *Source {
	s, err := sensor.Open(t.Context(), sensor.Options{NoBPF: true, Processes: 64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &Source{k: s.Kernel(), c: Config{Covered: func(string) bool { return false }}, keep: map[string]bool{"TERM": true}}
}

func raw(e *bpf.ProcessBwExec, data string) []byte {
	return append(slices.Clone(unsafe.Slice((*byte)(unsafe.Pointer(e)), int(unsafe.Sizeof(*e)))), data...)
}

func TestTurn(t *testing.T) {
	for _, c := range []struct {
		names     string
		bare, cut bool
		want      string
	}{
		{"bash\x00bin\x00usr\x00", false, false, "/usr/bin/bash"},
		{"bash\x00bin\x00", false, true, "…/bin/bash"},
		{"memfd:x\x00", true, false, "memfd:x"},
		{"", false, false, ""},
		{"a", false, false, "/a"},
		{"\x00\x00", false, false, "/"},
	} {
		if got := string(turn(nil, []byte(c.names), c.bare, c.cut)); got != c.want {
			t.Errorf("%q: %q, want %q", c.names, got, c.want)
		}
	}
}

func TestDevice(t *testing.T) {
	// major 253, minor 0x12345, as makedev(3) writes it
	if got := device(253<<20 | 0x12345); got != 253<<8|0x45|0x123<<20 {
		t.Errorf("%#x", got)
	}
}

// Whatever the ring holds, decoding ends and keeps to the bytes that are there.
func FuzzDecode(f *testing.F) {
	e := &bpf.ProcessBwExec{Args: 6, Environment: 8, Path: 8, Cwd: 2, Script: 5, Cgroup: 4}
	e.H.Pid, e.H.Start, e.H.Flags = 1<<30, 5, 3
	e.Stdio[0] = bpf.ProcessBwStdio{Kind: 1, Family: 10, Protocol: 6}
	e.Stdio[1] = bpf.ProcessBwStdio{Kind: 1, Family: 2, Protocol: 17}
	f.Add(raw(e, "ls\x00-l\x00TERM=vt\x00ls\x00bin\x00w\x00./s\x00\x00a\x00b\x00"))
	f.Add(raw(e, ""))
	e.Task.Flags, e.Cut, e.Args, e.Origin = 0xffff, 0xffff, 0xffff, 255
	f.Add(raw(e, "\xff\xfe\x00\x00"))
	f.Add([]byte{})
	s := still(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		b = slices.Clone(b) // at an address of its own, as the reader's
		for i, decode := range []sensor.Decoder{s.decodeExec, s.decodeFork, s.decodeExit, s.decodeSignal, s.decodeMoved} {
			h := &sensor.Header{}
			if len(b) >= int(unsafe.Sizeof(*h)) {
				_, _ = binary.Decode(b, binary.NativeEndian, h)
			}
			// No process of this machine has such a PID.
			h.Pid |= 1 << 30
			ev := decode(h, b)
			if ev == nil || ev.Process == nil {
				continue
			}
			n := 0
			for p := ev.Process; p != nil; p = p.Parent {
				if n++; n > bollwerk.ProcessDepth+1 {
					t.Fatal("a circle of parents")
				}
			}
			if i != 0 {
				continue // a fork has the arguments of its parent
			}
			size := 0
			for _, a := range ev.Process.Args {
				size += len(a) + 1
			}
			if size > len(b)+1 || len(ev.Process.Path) > len(b)+8 || len(ev.Process.Env) > len(b) {
				t.Fatalf("more than was there: %+v", ev.Process)
			}
		}
		if s.k.Processes.Len() > 64 {
			t.Fatal("the table grows")
		}
	})
}

// BenchmarkDecode is one program start: three records.
func BenchmarkDecode(b *testing.B) {
	s := still(b)
	s.k.Processes.SetCgroupPath(4431, "/docker/ab12")
	bytesOf := func(p unsafe.Pointer, n uintptr) []byte { return unsafe.Slice((*byte)(p), n) }
	f, x := &bpf.ProcessBwFork{}, &bpf.ProcessBwExit{}
	e := &bpf.ProcessBwExec{Args: 11, Path: 11, Cwd: 0}
	e.H.Pid, e.H.Cgroup, e.H.Flags = 1<<30, 4431, sensor.FlagContained
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&e.Task.Comm)), 16), "worker")
	e.Task.Parent, e.Task.ParentStart = 1<<30-1, 5
	by := sensor.Record{Process: &bollwerk.Process{PID: 1<<30 - 1, Start: 5, Path: "/bin/worker", Cgroup: 4431, CgroupPath: "/docker/ab12"}}
	s.k.Processes.Exec(&by)
	exec := raw(e, "child\x00exit\x00worker\x00bin\x00")
	b.ReportAllocs()
	for i := uint64(6); b.Loop(); i++ {
		h := (*sensor.Header)(unsafe.Pointer(&exec[0]))
		h.Start = i
		f.H, f.Task = *h, e.Task
		x.H, x.Task = *h, e.Task
		s.decodeFork(h, bytesOf(unsafe.Pointer(f), unsafe.Sizeof(*f)))
		s.decodeExec(h, exec)
		s.decodeExit(h, bytesOf(unsafe.Pointer(x), unsafe.Sizeof(*x)))
	}
}
