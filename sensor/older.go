package sensor

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Before reports whether the running kernel is older than a release.
func (k *Kernel) Before(major, minor int) bool {
	r := kernelRelease()
	return r != 0 && r < major<<8|minor
}

// withoutExchange replaces each compare-and-exchange, which kernels before 5.12 do not
// have, by a plain store: as if nobody else had written in between. The programs look at
// the value right before, so what is left is a flow that two processors count twice, or of
// two that begin in the same moment one that is not told.
func withoutExchange(spec *ebpf.CollectionSpec) {
	for _, p := range spec.Programs {
		for i := range p.Instructions {
			ins := &p.Instructions[i]
			if ins.OpCode.AtomicOp() == asm.CmpXchg {
				ins.OpCode, ins.Constant = asm.StoreMemOp(ins.OpCode.Size()), 0
			}
		}
	}
}

// withoutCallbacks replaces each address of a function, which kernels before 5.13 do not
// have, by a call of that function and a zero. Such code is dead where bpf_loop is missing
// and the verifier does not come by, but it looks at every instruction's form before, and
// at whether every function is called from somewhere.
func withoutCallbacks(spec *ebpf.CollectionSpec) {
	for _, p := range spec.Programs {
		var out asm.Instructions
		for _, ins := range p.Instructions {
			if !ins.IsLoadOfFunctionPointer() {
				out = append(out, ins)
				continue
			}
			call := ins // with its symbol, reference and line
			call.OpCode, call.Dst, call.Src, call.Constant = asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), 0, asm.PseudoCall, -1
			out = append(out, call, asm.Mov.Imm(ins.Dst, 0)) // as long as what it replaces: jumps still fit
		}
		p.Instructions = out
	}
}

// cast is the one function of the kernel's own that programs may do without.
const cast = "bpf_rdonly_cast"

// withoutCast does at once what the loader would do for each mention of a weak function
// that kernels before 6.2 do not have, after it asked for all types of all modules and
// programs of the machine: nine tenths of the agent's start. The address is zero, and the
// call, which that makes dead, is one of a helper that nobody has.
func withoutCast(spec *ebpf.CollectionSpec, kernel *btf.Spec) {
	var fn *btf.Func
	if kernel == nil || kernel.TypeByName(cast, &fn) == nil {
		return
	}
	for _, p := range spec.Programs {
		for i, ins := range p.Instructions {
			if ins.Reference() != cast {
				continue
			}
			without := ins
			if ins.IsKfuncCall() {
				without = asm.BuiltinFunc(0xdedc0de).Call()
			} else {
				without.Constant, without.Src = 0, 0
			}
			without = without.WithMetadata(asm.Metadata{}).WithSymbol(ins.Symbol())
			if line := ins.Source(); line != nil {
				without = without.WithSource(line)
			}
			if f := btf.FuncMetadata(&ins); f != nil {
				without = btf.WithFuncMetadata(without, f)
			}
			p.Instructions[i] = without
		}
	}
}
