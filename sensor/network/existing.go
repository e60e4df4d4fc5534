package network

import (
	"errors"
	"io"
	"unsafe"

	"github.com/cilium/ebpf/link"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// existingMost is the most sockets that are told of at the start: they are owned and
// counted all the same.
const existingMost = 65536

// readExisting gives the sockets that are older than the programs their owners. The
// events wait for Run: the table of processes is not filled yet.
func (s *Source) readExisting() error {
	if err := s.refresh(); err != nil {
		return err
	}
	defer s.state(func(st *bpf.NetworkBwNetState) { st.Told = 1 })
	return s.runIter("existing", link.IterOptions{}, func(r io.Reader) error {
		buf := make([]byte, unsafe.Sizeof(bpf.NetworkBwNetEvent{}))
		for {
			if _, err := io.ReadFull(r, buf); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			r := record[bpf.NetworkBwNetEvent](buf)
			if len(s.existing) >= existingMost {
				continue
			}
			e := s.event(r)
			e.Kind, e.Time, e.Outcome = bollwerk.EventKind(r.H.Kind), s.k.Time(r.H.Time), bollwerk.Seen
			e.Process = &bollwerk.Process{PID: r.H.Pid, Start: r.H.Start, Cgroup: r.H.Cgroup}
			s.existing = append(s.existing, e)
		}
	})
}

// refresh walks the descriptors of all processes: sockets without an owner get one, and
// all learn the policy of their owner's workload.
func (s *Source) refresh() error {
	if s.attached["existing"] != nil {
		return s.attached["existing"]
	}
	if err := s.runIter("existing", link.IterOptions{}, nil); err != nil || s.attached["living"] != nil {
		return err
	}
	return s.runIter("living", link.IterOptions{Map: s.loaded.Maps["socks"]}, nil)
}
