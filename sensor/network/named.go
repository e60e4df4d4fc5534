package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// Destinations that a policy knows by name. The kernel programs read the answers of name
// servers themselves and allow their addresses before anybody can connect to them
// (bpf/network_names.h). Here stand the names they look for, what was answered before
// the policy came, and the taking away of what is over.

const (
	// namedRow tells the rows of names from those of networks, which share the table of ports.
	namedRow = 0x40000000
	// namedMost is how many addresses one workload knows by name (BW_NAMED_MOST).
	namedMost = 512
	wholeName = 8 // bits of the zero at the end of a whole name
	setBits   = 32
)

// named makes the kernel's table of a policy's names. The kernel finds the longest name
// only, so each one carries also what the wider ones allow.
func (t *set) named(peers []sensor.NamedPeer) error {
	names := map[string]bpf.NetworkBwNetName{}
	for _, p := range peers {
		k, err := nameKey(t.id, p.Name)
		if err != nil {
			return err
		}
		names[p.Name] = k
	}
	var list []string
	for n := range names {
		list = append(list, n)
	}
	slices.Sort(list)
	for i, n := range list {
		row := bpf.NetworkBwNetPorts{Id: namedRow | uint32(i)}
		for _, p := range peers {
			if p.Name == n || nameBelow(strings.TrimPrefix(n, "*."), p.Name) {
				if err := t.allow(&row, t.id*2, p.Protocol, p.Port, p.High); err != nil {
					return err
				}
			}
		}
		t.names[names[n]] = row
	}
	// "*.example.com" is everything below the name, not the name itself.
	for _, n := range list {
		if rest, ok := strings.CutPrefix(n, "*."); ok && names[rest].Prefixlen == 0 {
			k, err := nameKey(t.id, rest)
			if err != nil {
				return err
			}
			row := bpf.NetworkBwNetPorts{Id: namedRow | uint32(len(t.names))}
			for _, p := range peers {
				if nameBelow(rest, p.Name) {
					if err := t.allow(&row, t.id*2, p.Protocol, p.Port, p.High); err != nil {
						return err
					}
				}
			}
			t.names[k] = row
		}
	}
	if len(t.names) > 0 {
		t.flags |= hasNames
	}
	return nil
}

// nameBelow reports whether a pattern "*.…" covers the name.
func nameBelow(name, pattern string) bool {
	rest, ok := strings.CutPrefix(pattern, "*")
	return ok && len(name) > len(rest) && strings.HasSuffix(name, rest)
}

// nameKey writes a name as a message does, backwards.
func nameKey(set uint32, name string) (k bpf.NetworkBwNetName, err error) {
	rest, below := strings.CutPrefix(name, "*.")
	rest = strings.ToLower(strings.TrimSuffix(rest, "."))
	var wire []byte
	for label := range strings.SplitSeq(rest, ".") {
		if len(label) == 0 || len(label) > 63 || strings.Contains(label, "*") {
			return k, fmt.Errorf("name %q: want labels of 1 to 63 letters, and \"*.\" in front at the most", name)
		}
		wire = append(append(wire, byte(len(label))), label...)
	}
	if len(wire) >= len(k.Name) {
		return k, fmt.Errorf("name %q: more than %d letters", name, len(k.Name)-1)
	}
	slices.Reverse(wire)
	for i, c := range wire {
		k.Name[i] = int8(c)
	}
	k.Set, k.Prefixlen = set, uint32(setBits+8*len(wire))
	if !below {
		k.Prefixlen += wholeName
	}
	return k, nil
}

// rowOf finds what the kernel would find for a name.
func (t *set) rowOf(name string) (row bpf.NetworkBwNetPorts, ok bool) {
	k, err := nameKey(t.id, name)
	if err != nil {
		return row, false
	}
	for ; k.Prefixlen > setBits; k.Prefixlen -= 8 {
		n := (k.Prefixlen - setBits) / 8
		cut := k
		clear(cut.Name[n:])
		if row, ok = t.names[cut]; ok {
			return row, true
		}
	}
	return row, false
}

// seed puts what the workload was answered before the policy came into the kernel's
// table, so that its programs need not ask again.
func (s *Source) seed(p *sensor.Policy, t *set) (uint32, error) {
	if t.flags&hasNames == 0 {
		return 0, nil
	}
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return 0, err
	}
	now, n := time.Now(), uint32(0)
	for addr, known := range s.names.all(p.Cgroup) {
		row, ok := t.rowOf(known.text)
		left := known.till.Sub(now)
		if !ok || left <= 0 || n >= namedMost {
			continue
		}
		v := bpf.NetworkBwNetNamed{}
		v.Till[0], v.Rule[0] = uint64(boot.Nano()+int64(left)), row
		if err := s.loaded.Maps["net_named"].Put(namedKey(t.id, addr), v); err != nil {
			return 0, fmt.Errorf("addresses known by name: %w", err)
		}
		n++
	}
	return n, nil
}

func namedKey(set uint32, a netip.Addr) bpf.NetworkBwNetNamedKey {
	return bpf.NetworkBwNetNamedKey{Set: set, Address: a.As16()}
}

// forgetNamed takes out the addresses that gone picks, and returns how many each set has left.
func (s *Source) forgetNamed(gone func(*bpf.NetworkBwNetNamedKey, *bpf.NetworkBwNetNamed) bool) map[uint32]uint32 {
	m := s.loaded.Maps["net_named"]
	var k bpf.NetworkBwNetNamedKey
	var v bpf.NetworkBwNetNamed
	var over []bpf.NetworkBwNetNamedKey
	left := map[uint32]uint32{}
	for it := m.Iterate(); it.Next(&k, &v); {
		if gone(&k, &v) {
			over = append(over, k)
		} else {
			left[k.Set]++
		}
	}
	for i := range over {
		_ = m.Delete(&over[i]) // the kernel programs never take one out
	}
	return left
}

// expireNamed takes out what is over and tells the programs how much room there is.
func (s *Source) expireNamed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	any := false
	for _, t := range s.sets {
		any = any || t.flags&hasNames != 0
	}
	var boot unix.Timespec
	if !any || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return
	}
	now := uint64(boot.Nano())
	left := s.forgetNamed(func(_ *bpf.NetworkBwNetNamedKey, v *bpf.NetworkBwNetNamed) bool { return slices.Max(v.Till[:]) <= now })
	for cgroup, t := range s.sets {
		if t.flags&hasNames == 0 {
			continue
		}
		row := bpf.NetworkBwNetSet{Set: t.id, Flags: t.flags, Named: left[t.id]}
		if err := s.loaded.Maps["net_sets"].Put(cgroup, row); err != nil {
			s.k.Log.Warn("addresses known by name", "error", err)
		}
	}
}
