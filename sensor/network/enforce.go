package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// guards that this source can hold a workload to.
const guards = sensor.GuardEgress | sensor.GuardIngress | sensor.GuardBind | sensor.GuardMiner

// Bounds of one policy.
const (
	peersMost = 2048
	portsMost = 4096
)

// Flags of bw_net_set, bw_net_ports and the set of bind (bpf/network.h).
const (
	bindAnyTCP = 1 << iota
	bindAnyUDP
	hasEgress
	hasIngress
	hasBind
	bindHighTCP
	bindHighUDP
	hasNames

	portsAnyTCP  = 1
	portsAnyUDP  = 2
	portsHighTCP = 4
	portsHighUDP = 8

	setOfBind = 0x80000000
)

// set is what a workload's lists became in the kernel's tables.
type set struct {
	id       uint32
	flags    uint32
	prefixes map[bpf.NetworkBwNetPrefix]bpf.NetworkBwNetPorts
	ports    map[bpf.NetworkBwNetPort]struct{}
	names    map[bpf.NetworkBwNetName]bpf.NetworkBwNetPorts
}

// Apply puts the workload's lists in force, replacing the ones before at once. What a
// list of a guard does not name is refused, name servers included: a policy that allows
// names to be looked up must list the resolvers. A workload's own loopback is always
// allowed, unless it shares the host's network. Connections that stand are not cut.
func (s *Source) Apply(p *sensor.Policy) error {
	if (p.Enforce|p.Report)&guards == 0 {
		return s.Remove(p.Cgroup)
	}
	if s.loaded == nil {
		return errors.New("network: this kernel allows no BPF programs; nothing can be refused")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextSet++
	made, err := compile(p, s.nextSet&0x3fffffff)
	if err != nil {
		return err
	}
	if err := s.attachFor(p.Enforce | p.Report); err != nil {
		return err
	}
	if err := s.write(made); err != nil {
		s.erase(made)
		return err
	}
	named, err := s.seed(p, made)
	if err != nil {
		s.erase(made)
		return err
	}
	if err := s.loaded.Maps["net_sets"].Put(p.Cgroup, bpf.NetworkBwNetSet{Set: made.id, Flags: made.flags, Named: named}); err != nil {
		s.erase(made)
		return fmt.Errorf("network lists of cgroup %d: %w", p.Cgroup, err)
	}
	if old := s.sets[p.Cgroup]; old != nil {
		s.erase(old)
	}
	s.sets[p.Cgroup] = made
	s.dirty = true
	if err := s.count(); err != nil {
		return err
	}
	if s.together == 0 {
		s.inform()
	} else {
		s.owed = true
	}
	return nil
}

// inform lets the sockets that exist know the policies; wants the lock held.
func (s *Source) inform() {
	if err := s.refresh(); err != nil {
		s.k.Log.Debug("sockets that exist do not know their policy", "error", err)
	}
}

// Together implements sensor.Batcher: to inform the sockets is to walk all descriptors of
// all processes.
func (s *Source) Together() (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.together++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.together--; s.together == 0 && s.owed {
			s.owed = false
			s.inform()
		}
	}
}

// Remove lifts what Apply put in force.
func (s *Source) Remove(cgroup uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.sets[cgroup]
	if old == nil {
		return nil
	}
	delete(s.sets, cgroup)
	err := s.loaded.Maps["net_sets"].Delete(cgroup)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		err = nil
	}
	s.erase(old)
	return errors.Join(err, s.count())
}

// count tells the programs how many policies there are, and to forget what they knew of
// them: now and once more a moment later, as the sensor does with its table of roots.
func (s *Source) count() error {
	if err := s.tell(); err != nil {
		return err
	}
	if !s.tellAgain {
		s.tellAgain = true
		time.AfterFunc(100*time.Millisecond, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.tellAgain = false
			if s.closed {
				return
			}
			if err := s.tell(); err != nil {
				s.k.Log.Warn("network policies", "error", err)
			}
		})
	}
	return nil
}

func (s *Source) tell() error {
	var st bpf.NetworkBwNetState
	m := s.loaded.Maps["net_state"]
	if err := m.Lookup(uint32(0), &st); err != nil {
		return err
	}
	st.Policies, st.Egress, st.Ingress = uint32(len(s.sets)), 0, 0
	for _, t := range s.sets {
		if t.flags&hasEgress != 0 {
			st.Egress++
		}
		if t.flags&hasIngress != 0 {
			st.Ingress++
		}
	}
	st.Version++
	return m.Put(uint32(0), &st)
}

// attachFor attaches what only a policy with these guards needs.
func (s *Source) attachFor(on sensor.Guard) error {
	for _, a := range s.lazy {
		if err := s.attached[a.program]; a.guards&on != 0 && err != nil {
			return fmt.Errorf("%s: %w", a.program, err)
		}
	}
	var later []attachment
	for i, a := range s.lazy {
		if a.guards&on == 0 {
			later = append(later, a)
			continue
		}
		a.lazy = false
		if err := s.attach(a); err != nil {
			s.lazy = append(later, s.lazy[i:]...)
			return fmt.Errorf("%s: %w", a.program, err)
		}
	}
	s.lazy = later
	return nil
}

func (s *Source) write(t *set) error {
	for k := range t.ports {
		if err := s.loaded.Maps["net_ports"].Put(k, uint8(1)); err != nil {
			return fmt.Errorf("network ports: %w", err)
		}
	}
	for k, v := range t.prefixes {
		if err := s.loaded.Maps["net_prefixes"].Put(k, v); err != nil {
			return fmt.Errorf("network prefixes: %w", err)
		}
	}
	for k, v := range t.names {
		if err := s.loaded.Maps["net_names"].Put(k, v); err != nil {
			return fmt.Errorf("network names: %w", err)
		}
	}
	return nil
}

func (s *Source) erase(t *set) {
	for k := range t.prefixes {
		_ = s.loaded.Maps["net_prefixes"].Delete(k)
	}
	for k := range t.ports {
		_ = s.loaded.Maps["net_ports"].Delete(k)
	}
	for k := range t.names {
		_ = s.loaded.Maps["net_names"].Delete(k)
	}
	if len(t.names) > 0 {
		s.forgetNamed(func(k *bpf.NetworkBwNetNamedKey, _ *bpf.NetworkBwNetNamed) bool { return k.Set == t.id })
	}
}

// compile makes the kernel's tables of a policy's lists. The kernel finds the longest
// prefix of an address only, so each prefix carries also what the wider ones allow.
func compile(p *sensor.Policy, id uint32) (*set, error) {
	if len(p.Egress) > peersMost || len(p.Ingress) > peersMost || len(p.EgressNames) > peersMost || len(p.Bind) > portsMost {
		return nil, fmt.Errorf("network policy of cgroup %d: %d, %d peers, %d names and %d ports, at most %d and %d; join networks",
			p.Cgroup, len(p.Egress), len(p.Ingress), len(p.EgressNames), len(p.Bind), peersMost, portsMost)
	}
	t := &set{id: id, prefixes: map[bpf.NetworkBwNetPrefix]bpf.NetworkBwNetPorts{}, ports: map[bpf.NetworkBwNetPort]struct{}{},
		names: map[bpf.NetworkBwNetName]bpf.NetworkBwNetPorts{}}
	on := p.Enforce | p.Report
	if on&sensor.GuardEgress != 0 {
		t.flags |= hasEgress
		if err := t.peers(p.Egress, id*2); err != nil {
			return nil, fmt.Errorf("network policy of cgroup %d: egress: %w", p.Cgroup, err)
		}
		if err := t.named(p.EgressNames); err != nil {
			return nil, fmt.Errorf("network policy of cgroup %d: egress: %w", p.Cgroup, err)
		}
	}
	if on&sensor.GuardIngress != 0 {
		t.flags |= hasIngress
		if err := t.peers(p.Ingress, id*2+1); err != nil {
			return nil, fmt.Errorf("network policy of cgroup %d: ingress: %w", p.Cgroup, err)
		}
	}
	if on&sensor.GuardBind != 0 {
		t.flags |= hasBind
		for _, b := range p.Bind {
			numbers, err := protocols(b.Protocol)
			if err != nil {
				return nil, fmt.Errorf("network policy of cgroup %d: bind: %w", p.Cgroup, err)
			}
			for _, n := range numbers {
				switch {
				case b.High && n == unix.IPPROTO_TCP:
					t.flags |= bindHighTCP
				case b.High:
					t.flags |= bindHighUDP
				case b.Port != 0:
					t.ports[bpf.NetworkBwNetPort{Set: id | setOfBind, Port: b.Port, Protocol: n}] = struct{}{}
				case n == unix.IPPROTO_TCP:
					t.flags |= bindAnyTCP
				default:
					t.flags |= bindAnyUDP
				}
			}
		}
	}
	return t, nil
}

func protocols(word string) ([]uint8, error) {
	switch word {
	case "":
		return []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP}, nil
	case "tcp":
		return []uint8{unix.IPPROTO_TCP}, nil
	case "udp":
		return []uint8{unix.IPPROTO_UDP}, nil
	}
	return nil, fmt.Errorf("protocol %q: want tcp, udp or nothing for both", word)
}

func (t *set) peers(peers []sensor.Peer, key uint32) error {
	var prefixes []netip.Prefix
	for _, p := range peers {
		if !p.Network.IsValid() {
			return fmt.Errorf("a peer without a network; write 0.0.0.0/0 and ::/0 for all")
		}
		prefixes = append(prefixes, plain(p.Network))
	}
	// Version 4 lies within ::/0 as the kernel's table sees it, and must not match it.
	prefixes = append(prefixes, netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	prefixes = slices.Compact(prefixes)
	for i, prefix := range prefixes {
		row := bpf.NetworkBwNetPorts{Id: uint32(i)}
		for _, p := range peers {
			wider := plain(p.Network)
			if wider.Addr().Is4() != prefix.Addr().Is4() || wider.Bits() > prefix.Bits() || !wider.Contains(prefix.Addr()) {
				continue
			}
			if err := t.allow(&row, key, p.Protocol, p.Port, p.High); err != nil {
				return err
			}
		}
		bits := prefix.Bits()
		if prefix.Addr().Is4() {
			bits += 96
		}
		t.prefixes[bpf.NetworkBwNetPrefix{Prefixlen: uint32(32 + bits), Set: key, Address: prefix.Addr().As16()}] = row
	}
	return nil
}

// allow adds a port to a row.
func (t *set) allow(row *bpf.NetworkBwNetPorts, key uint32, protocol string, port uint16, high bool) error {
	numbers, err := protocols(protocol)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		switch {
		case high && n == unix.IPPROTO_TCP:
			row.Flags |= portsHighTCP
		case high:
			row.Flags |= portsHighUDP
		case port != 0:
			t.ports[bpf.NetworkBwNetPort{Set: key, Id: row.Id, Port: port, Protocol: n}] = struct{}{}
		case n == unix.IPPROTO_TCP:
			row.Flags |= portsAnyTCP
		default:
			row.Flags |= portsAnyUDP
		}
	}
	if len(t.ports) > 8*peersMost {
		return fmt.Errorf("more than %d ports in overlapping networks; join them", 8*peersMost)
	}
	return nil
}

// plain is the prefix without host bits, a mapped one as version 4.
func plain(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// Means is what of the guards is denied here.
func (s *Source) Means() []sensor.Means {
	if s.loaded == nil {
		return nil
	}
	var out []sensor.Means
	ingress, mine, miner := "ingress", "cgroup_skb/egress", "egress"
	if s.packets {
		ingress, mine, miner = "ingress_guard", "lsm/socket_sendmsg", "set_state"
	}
	for _, m := range []struct {
		guard    sensor.Guard
		means    string
		programs []string
	}{
		{sensor.GuardEgress, "cgroup connect and sendmsg hooks", []string{"connect4", "connect6", "sendmsg4", "sendmsg6", "sock_create"}},
		{sensor.GuardIngress, "cgroup_skb/ingress", []string{ingress, "set_state"}},
		{sensor.GuardBind, "cgroup bind hooks", []string{"bind4", "bind6", "set_state"}},
		{sensor.GuardMiner, mine, []string{miner}},
	} {
		if err := s.ok(m.programs...); err != nil {
			out = append(out, sensor.Means{Guard: m.guard, Outcome: bollwerk.Seen, Cause: err.Error()})
			continue
		}
		out = append(out, sensor.Means{Guard: m.guard, Outcome: bollwerk.Denied, Means: m.means})
	}
	return out
}
