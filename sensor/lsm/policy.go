package lsm

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// maxPath is the longest path of a list, with its zero byte.
const maxPath = len(bpf.LsmLsmPrefixKey{}.Path)

// Apply puts the workload's lists of paths into the kernel. What is on both the old
// and the new list stays allowed all the time.
func (s *Source) Apply(p *sensor.Policy) error {
	m := s.prefixes()
	if m == nil {
		return nil
	}
	var keys []bpf.LsmLsmPrefixKey
	for _, l := range []struct {
		kind  bpf.LsmLsmList
		paths []string
	}{{bpf.LsmLsmListLSM_LIST_WRITE, p.Write}, {bpf.LsmLsmListLSM_LIST_READ, p.Read}} {
		for _, path := range l.paths {
			k, err := prefixKey(p.Cgroup, l.kind, path)
			if err != nil {
				return err
			}
			keys = append(keys, k)
		}
	}
	// That the lists are here is said last.
	keys = append(keys, bpf.LsmLsmPrefixKey{List: uint32(bpf.LsmLsmListLSM_LIST_PRESENT), Root: p.Cgroup, Length: 12 * 8})
	s.mu.Lock()
	defer s.mu.Unlock()
	now := make(map[bpf.LsmLsmPrefixKey]bool, len(keys))
	for i := range keys {
		if err := m.Put(&keys[i], uint32(1)); err != nil {
			return fmt.Errorf("path %d of the lists: %w", i+1, err)
		}
		now[keys[i]] = true
	}
	for _, k := range s.lists[p.Cgroup] {
		if !now[k] {
			m.Delete(&k)
		}
	}
	s.lists[p.Cgroup] = keys
	return s.renew()
}

// renew ends what the kernel remembers of files that were of no interest under the
// policies before. Wants the lock held.
func (s *Source) renew() error {
	s.generation++
	return s.loaded.Maps["lsm_generation"].Put(uint32(0), s.generation)
}

// Remove takes the workload's lists away.
func (s *Source) Remove(cgroup uint64) error {
	m := s.prefixes()
	if m == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	keys := s.lists[cgroup]
	for i := len(keys) - 1; i >= 0; i-- { // that they are here goes first
		k := keys[i]
		if err := m.Delete(&k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, err)
		}
	}
	delete(s.lists, cgroup)
	return errors.Join(append(errs, s.renew())...)
}

func (s *Source) prefixes() *ebpf.Map {
	if s.loaded == nil {
		return nil
	}
	return s.loaded.Maps["lsm_prefixes"]
}

// prefixKey is the entry of one path: with a slash at its end all below, with a "*" all
// that begins so, else itself.
func prefixKey(root uint64, list bpf.LsmLsmList, path string) (k bpf.LsmLsmPrefixKey, err error) {
	if !strings.HasPrefix(path, "/") {
		return k, fmt.Errorf("path %q: not absolute", path)
	}
	if strings.IndexByte(path, 0) >= 0 || len(path) >= maxPath {
		return k, fmt.Errorf("path %.40q…: a list takes at most %d bytes without zeros; allow the folder instead", path, maxPath-1)
	}
	path, begins := strings.CutSuffix(path, "*")
	n := len(path)
	for i := range n {
		k.Path[i] = int8(path[i])
	}
	if !begins && !strings.HasSuffix(path, "/") {
		n++ // its zero byte: nothing may follow
	}
	k.List, k.Root, k.Length = uint32(list), root, uint32(12+n)*8
	return k, nil
}

// Means is what of the guards is denied here.
func (s *Source) Means() []sensor.Means {
	var out []sensor.Means
	for _, m := range []struct {
		guards  []sensor.Guard
		program string
	}{
		{[]sensor.Guard{sensor.GuardFileless, sensor.GuardDrift, sensor.GuardReverseShell, sensor.GuardExec}, "bprm_check"},
		{[]sensor.Guard{sensor.GuardFile, sensor.GuardRead, sensor.GuardSetting}, "file_open"},
		{[]sensor.Guard{sensor.GuardModule}, "kernel_read_file"},
		{[]sensor.Guard{sensor.GuardBPF}, "bpf_call"},
		{[]sensor.Guard{sensor.GuardPtrace}, "ptrace_access_check"},
		{[]sensor.Guard{sensor.GuardMount}, "sb_mount"},
	} {
		if !s.attached[m.program] {
			continue
		}
		for _, g := range m.guards {
			out = append(out, sensor.Means{Guard: g, Outcome: bollwerk.Denied, Means: "bpf-lsm " + m.program})
		}
	}
	return out
}
