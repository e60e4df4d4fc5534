package sensor

import (
	"os"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

func TestOpenKernel(t *testing.T) {
	s, err := Open(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	t.Log(s.k.Hierarchy, s.k.CgroupRoot, s.k.Unified, s.k.host, s.k.noBPF)
}

// A trial leaves nothing behind, and says what the kernel said.
func TestTry(t *testing.T) {
	s, err := Open(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.k.BPF(); err != nil {
		prerequisite.Missing(t, "%v", err)
	}
	s.k.types = btf.NewCache()
	spec, err := bpf.LoadProcess()
	if err != nil {
		t.Fatal(err)
	}
	descriptors := func() int {
		l, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(l)
	}
	if err := s.k.Try(spec, "process_fork"); err != nil { // opens what stays open: the runtime's and the library's
		t.Fatal(err)
	}
	before := descriptors()
	for range 3 {
		if err := s.k.Try(spec, "process_fork"); err != nil {
			t.Fatal(err)
		}
	}
	if n := descriptors(); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
	spec.Programs["process_fork"].Instructions = asm.Instructions{asm.LoadMem(asm.R0, asm.R1, 1<<14, asm.DWord), asm.Return()}
	if err := s.k.Try(spec, "process_fork"); err == nil {
		t.Error("a program that reads behind its arguments is taken")
	}
	// What only the programs use that are left out is not made.
	if spec, err = bpf.LoadProcess(); err != nil {
		t.Fatal(err)
	}
	l, err := s.k.Load(spec, 0, "process_exec", "process_signal")
	if err != nil {
		t.Fatal(err)
	}
	if l.Maps["signals_seen"] != nil || l.Maps["exec_buffer"] == nil || l.Programs["process_list"] == nil || l.Programs["process_exec"] != nil || len(l.Refused) > 0 {
		t.Errorf("%v, %v, %v", l.Maps, l.Programs, l.Refused)
	}
}
