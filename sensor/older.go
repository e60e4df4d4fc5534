package sensor

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// withoutExchange replaces each compare-and-exchange, which kernels before 5.12 do not
// have, by a plain store: as if nobody else had written in between. The programs look at
// the value right before, so what is left is a rare double count of a flow.
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
