package sensor

import (
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// RawTracepoint attaches a program until it is closed: for sources that attach in
// windows, where Keep would hold the link until the end. Who calls it closes it.
func (k *Kernel) RawTracepoint(name string, p *ebpf.Program) (io.Closer, error) {
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: name, Program: p})
	if err != nil {
		return nil, explain(err)
	}
	return l, nil
}
