package sensor

import (
	"bytes"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// TestWithoutExchange looks for atomic operations that Linux 5.10 refuses, in all
// objects: nothing but plain additions may be left.
func TestWithoutExchange(t *testing.T) {
	found := 0
	for name, load := range map[string]func() (*ebpf.CollectionSpec, error){
		"process": bpf.LoadProcess, "network": bpf.LoadNetwork, "lsm": bpf.LoadLsm, "tracing": bpf.LoadTracing, "syscalls": bpf.LoadSyscalls,
	} {
		spec, err := load()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range spec.Programs {
			for _, ins := range p.Instructions {
				if ins.OpCode.AtomicOp() == asm.CmpXchg {
					found++
				}
			}
		}
		withoutExchange(spec)
		for _, p := range spec.Programs {
			for _, ins := range p.Instructions {
				if op := ins.OpCode.AtomicOp(); op != asm.InvalidAtomic && op != asm.AddAtomic {
					t.Errorf("%s: %s: %v", name, p.Name, ins)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no object exchanges anything: withoutExchange is not needed any more")
	}
}

func TestWithoutCallbacks(t *testing.T) {
	found := 0
	for name, load := range map[string]func() (*ebpf.CollectionSpec, error){
		"process": bpf.LoadProcess, "network": bpf.LoadNetwork, "lsm": bpf.LoadLsm, "tracing": bpf.LoadTracing, "syscalls": bpf.LoadSyscalls,
	} {
		spec, err := load()
		if err != nil {
			t.Fatal(err)
		}
		size := map[string]uint64{}
		calls := map[string]map[string]bool{}
		for _, p := range spec.Programs {
			size[p.Name] = p.Instructions.Size()
			calls[p.Name] = map[string]bool{}
			for _, ins := range p.Instructions {
				if ins.IsLoadOfFunctionPointer() {
					found++
					calls[p.Name][ins.Reference()] = true
				}
			}
		}
		withoutCallbacks(spec)
		for _, p := range spec.Programs {
			if n := p.Instructions.Size(); n != size[p.Name] {
				t.Errorf("%s: %s: %d bytes, %d before", name, p.Name, n, size[p.Name])
			}
			for _, ins := range p.Instructions {
				if ins.IsLoadOfFunctionPointer() {
					t.Errorf("%s: %s: %v", name, p.Name, ins)
				}
				if ins.IsFunctionCall() {
					delete(calls[p.Name], ins.Reference())
				}
			}
			if len(calls[p.Name]) > 0 {
				t.Errorf("%s: %s: nobody calls %v", name, p.Name, calls[p.Name])
			}
		}
	}
	if found == 0 {
		t.Error("no function's address is in any program: is withoutCallbacks still needed?")
	}
}

// TestWithoutCast looks for what would make the loader search: no mention of the function
// is left, where the kernel's types do not have it, and no program became longer.
func TestWithoutCast(t *testing.T) {
	old, err := btf.NewBuilder([]btf.Type{&btf.Int{Name: "int", Size: 4}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := old.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	types, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	calls, addresses := 0, 0
	for name, load := range map[string]func() (*ebpf.CollectionSpec, error){
		"process": bpf.LoadProcess, "network": bpf.LoadNetwork, "lsm": bpf.LoadLsm, "tracing": bpf.LoadTracing, "syscalls": bpf.LoadSyscalls,
	} {
		spec, err := load()
		if err != nil {
			t.Fatal(err)
		}
		type place struct {
			program string
			at      int
		}
		mentioned, size := map[place]bool{}, map[string]uint64{}
		for _, p := range spec.Programs {
			size[p.Name] = p.Instructions.Size()
			for i, ins := range p.Instructions {
				if ins.Reference() == cast {
					mentioned[place{p.Name, i}] = ins.IsKfuncCall()
				} else if ins.IsKfuncCall() {
					t.Errorf("%s: %s: %v is needed, and may be searched for long", name, p.Name, ins)
				}
			}
		}
		withoutCast(spec, types)
		for _, p := range spec.Programs {
			if n := p.Instructions.Size(); n != size[p.Name] {
				t.Errorf("%s: %s: %d bytes, %d before", name, p.Name, n, size[p.Name])
			}
			for i, ins := range p.Instructions {
				call, was := mentioned[place{p.Name, i}]
				switch {
				case ins.IsKfuncCall() || ins.Reference() == cast:
					t.Errorf("%s: %s: %v", name, p.Name, ins)
				case was && call:
					calls++
				case was:
					addresses++
					if !ins.OpCode.IsDWordLoad() || ins.Constant != 0 || ins.Src != 0 {
						t.Errorf("%s: %s: the address is not zero: %v", name, p.Name, ins)
					}
				}
			}
		}
	}
	if calls == 0 || addresses == 0 {
		t.Errorf("%d calls and %d addresses: is withoutCast still needed?", calls, addresses)
	}
}
