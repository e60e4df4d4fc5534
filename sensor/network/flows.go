package network

import (
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// flipFlows lets living sockets report and turns to the other table.
func (s *Source) flipFlows() {
	if s.attached["living"] == nil {
		if err := s.runIter("living", link.IterOptions{Map: s.loaded.Maps["socks"]}, nil); err != nil {
			s.k.Log.Warn("flows of living connections", "error", err)
		}
	}
	s.state(func(st *bpf.NetworkBwNetState) { st.Epoch++ })
	s.epoch++
}

// state changes the object's state, which only the agent writes.
func (s *Source) state(change func(*bpf.NetworkBwNetState)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.loaded.Maps["net_state"]
	var st bpf.NetworkBwNetState
	if err := m.Lookup(uint32(0), &st); err != nil {
		return
	}
	change(&st)
	if err := m.Put(uint32(0), &st); err != nil {
		s.k.Log.Warn("state of the network programs", "error", err)
	}
}

// runIter runs an iterator and hands its output to read.
func (s *Source) runIter(program string, o link.IterOptions, read func(io.Reader) error) error {
	o.Program = s.loaded.Programs[program]
	it, err := link.AttachIter(o)
	if err != nil {
		return err
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	if read == nil {
		_, err = io.Copy(io.Discard, r)
		return err
	}
	return read(r)
}

// readFlows empties the tables that are not being filled and hands out their rows.
func (s *Source) readFlows() {
	which := "_b"
	if s.epoch&1 == 1 {
		which = "_a"
	}
	if err := s.readPlaces(s.loaded.Maps["flow_places"+which]); err != nil {
		s.k.Log.Warn("places of flows", "error", err)
	}
	m := s.loaded.Maps["flows"+which]
	keys := make([]bpf.NetworkBwFlowKey, 256)
	rows := make([]bpf.NetworkBwFlow, 256)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookupAndDelete(&cursor, keys, rows, nil)
		for i := range n {
			s.k.Emit(s.flow(&keys[i], &rows[i]))
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			break
		}
		if err != nil {
			s.k.Log.Warn("flow table", "error", err)
			break
		}
	}
	var lost uint64
	if s.loaded.Maps["net_overflow"].Lookup(uint32(0), &lost) == nil && lost > s.lost {
		s.k.Emit(&bollwerk.Event{Time: time.Now(), Kind: bollwerk.EventLoss, Outcome: bollwerk.Seen, Source: "network", Loss: &bollwerk.Loss{
			To: time.Now(), Count: lost - s.lost, Area: "map", Kind: bollwerk.EventFlow,
		}})
		s.lost = lost
	}
}

// readPlaces is the same for the array, of which nothing can be deleted.
func (s *Source) readPlaces(m *ebpf.Map) error {
	places := make([]bpf.NetworkBwFlowPlace, 256)
	index := make([]uint32, len(places))
	free := make([]bpf.NetworkBwFlowPlace, len(places)) // stays zero
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, index, places, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
		var held []uint32
		for i, p := range places[:n] {
			if p.State == flowHeld {
				held = append(held, index[i])
				s.k.Emit(s.flow(&p.Key, &p.Flow))
			}
		}
		if len(held) > 0 {
			if _, err := m.BatchUpdate(held, free[:len(held)], nil); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// flowHeld is BW_FLOW_HELD.
const flowHeld = 2

func (s *Source) flow(k *bpf.NetworkBwFlowKey, f *bpf.NetworkBwFlow) *bollwerk.Event {
	remote := address(k.Remote)
	c := &bollwerk.Connection{Protocol: protocol(k.Protocol, 0), Outgoing: k.Direction == 1, NetNS: f.Netns}
	if !remote.IsUnspecified() || k.Rport != 0 {
		c.Remote = netip.AddrPortFrom(remote, k.Rport)
		c.Name, c.Borrowed = s.names.of(k.Cgroup, f.Netns, remote)
	}
	if k.Lport != 0 {
		local := netip.IPv4Unspecified()
		if remote.Is6() {
			local = netip.IPv6Unspecified()
		}
		c.Local = netip.AddrPortFrom(local, k.Lport)
	}
	p := s.k.Processes.Get(f.Pid, f.Start)
	if p.Cgroup == 0 {
		known := *p
		known.Cgroup = k.Cgroup
		p = &known
	}
	to := s.k.Time(f.To)
	return &bollwerk.Event{
		Time: to, Kind: bollwerk.EventFlow, Outcome: bollwerk.Seen, Source: "bpf", Process: p, Connection: c,
		Flow: &bollwerk.Flow{
			From: s.k.Time(f.From), To: to, Connections: f.Connections, Failed: f.Failed,
			SentBytes: f.TxBytes, ReceivedBytes: f.RxBytes, SentPackets: f.TxPackets, ReceivedPackets: f.RxPackets,
		},
	}
}
