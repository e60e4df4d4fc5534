package workload

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/bollwerk/bollwerk"
)

// Network is what can be seen of a network namespace from outside of it.
type Network struct {
	Namespace uint64 // its number
	// Host: it is the host's; a container that shares it has no addresses of its own.
	Host bool
	// Addresses that packets from elsewhere can have: neither loopback nor link-local. Sorted.
	Addresses []netip.Addr
	// More: there are more than are looked at.
	More bool
}

const (
	mostAddresses = 32       // of one namespace that are looked at
	mostTable     = 64 << 10 // bytes of one of its tables
	mostRoutes    = 1 << 20  // the same, of the host's
)

// errNoProcess: nobody is inside of the container whose namespace could be looked at.
var errNoProcess = errors.New("no process is inside of it")

// Network looks at the network namespace of a container, through a process that lives in
// it: /proc/PID/net shows the tables of that process's namespace, and nobody has to enter it.
func (r *Resolver) Network(w *bollwerk.Workload) (Network, error) {
	w = r.Living(w)
	if w == nil || w.Container == nil || w.Container.PID == 0 {
		return Network{}, errNoProcess
	}
	pid := w.Container.PID
	n, err := r.networkOf(strconv.FormatUint(uint64(pid), 10))
	if err != nil {
		return Network{}, err
	}
	// The number may be another process's by now, and its namespace another one's.
	at, err := r.h.Of(pid)
	if err != nil {
		return Network{}, errNoProcess
	}
	if id, err := r.h.ID(at); err != nil || id != w.Cgroup && !r.inside(at, w) {
		return Network{}, errNoProcess
	}
	return n, nil
}

// inside reports whether a cgroup's path is below the one at which the workload begins.
func (r *Resolver) inside(path string, w *bollwerk.Workload) bool {
	begin, err := r.h.PathOf(w.Cgroup)
	return err == nil && (path == begin || strings.HasPrefix(path, begin+"/"))
}

// HostNetwork looks at the host's own namespace.
func (r *Resolver) HostNetwork() (Network, error) {
	n, err := r.networkOf(r.first())
	n.Host = true
	return n, err
}

func (r *Resolver) networkOf(pid string) (Network, error) {
	space := func() uint64 {
		var st syscall.Stat_t
		if syscall.Stat(filepath.Join(r.h.Proc, pid, "ns/net"), &st) != nil {
			return 0
		}
		return st.Ino
	}
	n := Network{Namespace: space()}
	var host syscall.Stat_t
	if n.Namespace == 0 || syscall.Stat(filepath.Join(r.h.Proc, r.first(), "ns/net"), &host) != nil {
		return n, errNoProcess
	}
	if n.Host = n.Namespace == host.Ino; n.Host && pid != r.first() {
		return n, nil
	}
	for _, t := range []struct {
		name string
		read func(string, *Network)
	}{{"fib_trie", readTrie}, {"if_inet6", readInet6}} {
		b, more, err := head(filepath.Join(r.h.Proc, pid, "net", t.name), mostTable)
		if errors.Is(err, os.ErrNotExist) && t.name == "if_inet6" {
			continue // this kernel has no version 6
		}
		if err != nil {
			return n, err
		}
		n.More = n.More || more
		t.read(string(b), &n)
	}
	if space() != n.Namespace { // it moved, or ended while we looked
		return n, errNoProcess
	}
	slices.SortFunc(n.Addresses, netip.Addr.Compare)
	n.Addresses = slices.Compact(n.Addresses)
	if len(n.Addresses) > mostAddresses {
		n.Addresses, n.More = n.Addresses[:mostAddresses], true
	}
	return n, nil
}

// head reads the whole lines at the beginning of a file, and says whether there are more.
// Who may set addresses in a namespace decides how long its tables are.
func head(path string, limit int) ([]byte, bool, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	var all bytes.Buffer
	all.Grow(4096) // most have less
	if _, err := all.ReadFrom(io.LimitReader(f, int64(limit)+1)); err != nil {
		return nil, false, err
	}
	b := all.Bytes()
	if len(b) <= limit {
		return b, false, nil
	}
	return b[:bytes.LastIndexByte(b[:limit], '\n')+1], true, nil
}

// own reports whether packets from elsewhere can have the address, and mean this namespace by it.
func own(a netip.Addr) bool {
	return a.IsValid() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsUnspecified() && !a.IsMulticast()
}

// readTrie takes the local addresses out of the kernel's table of routes (fib_trie_seq_show
// in net/ipv4/fib_trie.c): a leaf with the address, and below it what it is.
//
//	|-- 10.88.0.2
//	   /32 host LOCAL
func readTrie(text string, n *Network) {
	var leaf netip.Addr
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if a, is := strings.CutPrefix(line, "|-- "); is {
			leaf, _ = netip.ParseAddr(a)
			continue
		}
		// Addresses of a whole network that are local ("ip route add local 10.0.0.0/8") are nobody's.
		if line == "/32 host LOCAL" && own(leaf) {
			n.Addresses = append(n.Addresses, leaf)
		}
	}
}

// readInet6 reads the addresses of version 6: address, interface, prefix, scope, flags, name.
func readInet6(text string, n *Network) {
	const failed, tentative = 0x08, 0x40 // IFA_F_DADFAILED, IFA_F_TENTATIVE: not in use
	for line := range strings.SplitSeq(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		a, ok := hexAddress(f[0])
		flags, err := strconv.ParseUint(f[4], 16, 32)
		if ok && err == nil && flags&(failed|tentative) == 0 && own(a) {
			n.Addresses = append(n.Addresses, a)
		}
	}
}

func hexAddress(s string) (netip.Addr, bool) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return netip.Addr{}, false
	}
	a, ok := netip.AddrFromSlice(b)
	return a.Unmap(), ok
}

// Routes are the ways this host has to networks.
type Routes struct {
	routes  map[netip.Prefix][]route
	lengths []int               // of their prefixes, the longest first; those of version 6 are 128 longer
	own     map[netip.Addr]bool // its addresses
	devices string              // the folder in which the kernel shows interfaces
	virtual map[string]bool     // by interface, as far as it was asked
}

type route struct {
	to      netip.Prefix
	gateway netip.Addr // not valid: none
	device  string
}

// Routes reads the host's. host is what HostNetwork returned.
func (r *Resolver) Routes(host Network) (*Routes, error) {
	w := newRoutes("/sys/class/net")
	for _, a := range host.Addresses {
		w.own[a] = true
	}
	for _, t := range []struct {
		name string
		read func(string) (route, bool)
	}{{"route", readRoute}, {"ipv6_route", readRoute6}} {
		b, more, err := head(filepath.Join(r.h.Proc, r.first(), "net", t.name), mostRoutes)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if more { // what is left out may lead elsewhere
			err = fmt.Errorf("%s: more than %d bytes", t.name, mostRoutes)
		}
		if err != nil {
			return nil, fmt.Errorf("routes of the host: %w", err)
		}
		s := bufio.NewScanner(bytes.NewReader(b))
		for s.Scan() {
			if x, ok := t.read(s.Text()); ok {
				w.add(x)
			}
		}
	}
	return w, nil
}

func newRoutes(devices string) *Routes {
	return &Routes{routes: map[netip.Prefix][]route{}, own: map[netip.Addr]bool{}, devices: devices, virtual: map[string]bool{}}
}

const family6 = 128

func (r *Routes) add(x route) {
	r.routes[x.to] = append(r.routes[x.to], x)
	n := x.to.Bits()
	if x.to.Addr().Is6() {
		n += family6
	}
	if i, known := slices.BinarySearchFunc(r.lengths, n, func(a, b int) int { return b - a }); !known {
		r.lengths = slices.Insert(r.lengths, i, n)
	}
}

// Within reports whether an address is of a network inside of this machine: reached without
// a gateway, by an interface behind which there is no wire. Whoever may set addresses in a
// namespace can take any there, and runtimes that are not root give the same one to each
// container; only what the host itself would send to such a network means a container.
func (r *Routes) Within(a netip.Addr) bool {
	if r.own[a] {
		return false
	}
	family := 0
	if a.Is6() {
		family = family6
	}
	for _, n := range r.lengths {
		if n -= family; n <= 0 || n > a.BitLen() {
			continue // of the other version; a way to everywhere says nothing
		}
		to, _ := a.Prefix(n)
		list := r.routes[to]
		for _, x := range list { // of two equal ones it is not known which holds
			if x.gateway.IsValid() && !r.own[x.gateway] || !r.isVirtual(x.device) {
				return false
			}
		}
		if len(list) > 0 {
			return true
		}
	}
	return false
}

// isVirtual reports whether no interface below this one is a device of the machine.
func (r *Routes) isVirtual(device string) bool {
	if is, known := r.virtual[device]; known {
		return is
	}
	is := virtual(r.devices, device, 4)
	r.virtual[device] = is
	return is
}

func virtual(folder, device string, depth int) bool {
	if device == "" || device == "lo" || strings.Contains(device, "/") || depth == 0 {
		return false
	}
	dir := filepath.Join(folder, device)
	if _, err := os.Lstat(filepath.Join(dir, "device")); err == nil {
		return false
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false // not of this namespace: nothing is known of it
	}
	for _, e := range entries {
		if lower, is := strings.CutPrefix(e.Name(), "lower_"); is && !virtual(folder, lower, depth-1) {
			return false
		}
	}
	return true
}

const (
	routeUp     = 0x1
	routeReject = 0x200
)

// readRoute reads a line of /proc/net/route: interface, destination, gateway, flags, three
// numbers, mask; addresses as the processor has them.
func readRoute(line string) (x route, ok bool) {
	f := strings.Fields(line)
	if len(f) < 8 {
		return x, false
	}
	var n [4]uint64
	for i, s := range []string{f[1], f[2], f[3], f[7]} {
		var err error
		if n[i], err = strconv.ParseUint(s, 16, 32); err != nil {
			return x, false // the head of the table
		}
	}
	address := func(v uint64) netip.Addr {
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], uint32(v))
		return netip.AddrFrom4(b)
	}
	mask := address(n[3]).As4()
	bits := 0
	for _, b := range mask {
		for ; b&0x80 != 0; b <<= 1 {
			bits++
		}
	}
	x = route{to: netip.PrefixFrom(address(n[0]), bits).Masked(), device: f[0]}
	if n[1] != 0 {
		x.gateway = address(n[1])
	}
	return x, n[2]&routeUp != 0 && n[2]&routeReject == 0
}

// readRoute6 reads a line of /proc/net/ipv6_route: destination and its length, source and its
// length, gateway, three numbers, flags, interface.
func readRoute6(line string) (x route, ok bool) {
	f := strings.Fields(line)
	if len(f) < 10 {
		return x, false
	}
	to, ok1 := hexAddress(f[0])
	gateway, ok2 := hexAddress(f[4])
	bits, err1 := strconv.ParseUint(f[1], 16, 8)
	flags, err2 := strconv.ParseUint(f[8], 16, 32)
	if !ok1 || !ok2 || err1 != nil || err2 != nil || !to.Is6() {
		return x, false
	}
	x = route{to: netip.PrefixFrom(to, int(bits)), device: f[9]}
	if !gateway.IsUnspecified() {
		x.gateway = gateway
	}
	return x, x.to.IsValid() && flags&routeUp != 0 && flags&routeReject == 0
}
