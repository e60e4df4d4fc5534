package network

import (
	"bufio"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// findPages begins to look where the kernel keeps the beginning of its memory and of the
// table of its pages: packets lie in pages, and programs on functions have no helper that
// reads them. Nil where the programs of packets on functions cannot do the work:
//   - programs of functions know sockets since 5.11;
//   - BPF must be among the active security modules: nothing else refuses what is sent;
//   - elsewhere than on x86 the two places are numbers of the compiler, not the kernel's data.
func (s *Source) findPages() <-chan bpf.NetworkBwNetPages {
	modules, _ := os.ReadFile("/sys/kernel/security/lsm")
	if s.config.NoLSM || runtime.GOARCH != "amd64" || s.k.Before(5, 11) || !slices.Contains(strings.Split(strings.TrimSpace(string(modules)), ","), "bpf") {
		return nil
	}
	found := make(chan bpf.NetworkBwNetPages, 1)
	go func() {
		f, err := os.Open("/proc/kallsyms")
		if err != nil {
			found <- bpf.NetworkBwNetPages{}
			return
		}
		defer f.Close()
		found <- readPages(f)
	}()
	return found
}

// readPages finds the two names in the kernel's list of symbols.
func readPages(r io.Reader) (p bpf.NetworkBwNetPages) {
	in := bufio.NewScanner(r)
	for in.Scan() && (p.Memory == 0 || p.Table == 0) {
		line := in.Bytes()
		// "ffffffff82c0a3b0 D page_offset_base"; looked at closely only when it may be one.
		if n := len(line); n < 20 || line[n-1] != 'e' || line[n-2] != 's' || line[n-3] != 'a' || line[n-4] != 'b' {
			continue
		}
		at, name, _ := strings.Cut(string(line), " ")
		if _, name, _ = strings.Cut(name, " "); name == "page_offset_base" {
			p.Memory, _ = strconv.ParseUint(at, 16, 64)
		} else if name == "vmemmap_base" {
			p.Table, _ = strconv.ParseUint(at, 16, 64)
		}
	}
	return p
}

// placePages tells the programs; false when there is nothing to tell.
func (s *Source) placePages(p bpf.NetworkBwNetPages) bool {
	if p.Memory == 0 || p.Table == 0 {
		s.k.Log.Debug("cgroup hooks are used for packets: the kernel does not say where its pages are")
		return false
	}
	m := s.loaded.Maps["net_pages"]
	return m != nil && m.Put(uint32(0), p) == nil
}
