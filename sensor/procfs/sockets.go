package procfs

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// Sockets compares the socket tables of all network namespaces from time to time, read
// through one process of each: no right to enter them is needed. Connections that come
// and go between two looks are not seen.
type Sockets struct {
	// Covered reports whether a better source already tells about an area; it may be nil.
	Covered func(area string) bool
	// Interval between two looks; 0: 2 s.
	Interval time.Duration

	k      *sensor.Kernel
	tables []table
	known  map[socketKey]bool // value: seen at this look
	first  bool
	full   uint64
}

// table is one file below /proc/PID/net.
type table struct {
	file, protocol string
	area           string
}

// Bounds of one look: tables belong to whoever opens sockets.
const (
	socketsMost   = 32768
	namespaceMost = 1024
	tableBytes    = 4 << 20
	tellMost      = 512     // events of one look
	fdsMost       = 200_000 // descriptors looked at to find the owners, in one look
)

type socketKey struct {
	ns       uint32
	inode    uint64
	protocol string
	listens  bool
	// connected: a datagram socket may get its peer late, which is news.
	connected bool
}

type socket struct {
	socketKey
	state         uint8
	local, remote netip.AddrPort
}

// States of linux/tcp_states.h.
const (
	stateEstablished = 1
	stateSynSent     = 2
	stateListen      = 10
)

// Name of the source.
func (s *Sockets) Name() string { return "sockets" }

// Open decides what is left to look for.
func (s *Sockets) Open(_ context.Context, k *sensor.Kernel) ([]sensor.Capability, error) {
	s.k, s.known, s.first = k, map[socketKey]bool{}, true
	if s.Interval == 0 {
		s.Interval = 2 * time.Second
	}
	var rows []sensor.Capability
	add := func(area string, tables ...table) {
		if s.Covered != nil && s.Covered(area) {
			return
		}
		for _, t := range tables {
			t.area = area
			s.tables = append(s.tables, t)
		}
		rows = append(rows, sensor.Capability{Area: area, Means: "/proc/PID/net", Verdict: bollwerk.Degraded, Outcome: bollwerk.Seen,
			Cause:  "what comes and goes within " + s.Interval.String() + " is not seen, nor what was refused",
			Remedy: "run the agent with CAP_BPF and CAP_NET_ADMIN on a kernel of 5.10 or newer with BTF"})
	}
	// One table serves two areas: listeners are told of when connections are not.
	inet := []table{{file: "tcp", protocol: "tcp"}, {file: "tcp6", protocol: "tcp"}}
	if k.BPF() == nil {
		add(AreaPacket, table{file: "packet", protocol: "packet"})
		return rows, nil // the rest is told better by programs
	}
	add(AreaConnect, append(inet, table{file: "udp", protocol: "udp"}, table{file: "udp6", protocol: "udp"})...)
	add(AreaListen, inet...)
	add(AreaPacket, table{file: "packet", protocol: "packet"}, table{file: "raw", protocol: "raw"}, table{file: "raw6", protocol: "raw"})
	return rows, nil
}

// Run looks until the context ends.
func (s *Sockets) Run(ctx context.Context) error {
	if len(s.tables) == 0 {
		return nil
	}
	t := time.NewTicker(s.Interval)
	defer t.Stop()
	for {
		s.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// Close has nothing to do.
func (s *Sockets) Close() error { return nil }

// namespaces maps each network namespace to the processes in it.
func (s *Sockets) namespaces() map[uint32][]*bollwerk.Process {
	out := map[uint32][]*bollwerk.Process{}
	for _, p := range s.k.Processes.All() {
		if p.Kernel || p.NetNS == 0 || out[p.NetNS] == nil && len(out) >= namespaceMost {
			continue
		}
		out[p.NetNS] = append(out[p.NetNS], p)
	}
	if len(out) == 0 {
		self := s.k.Processes.Get(uint32(os.Getpid()), 0)
		out[self.NetNS] = []*bollwerk.Process{self}
	}
	return out
}

func (s *Sockets) look(ctx context.Context) {
	var fresh []socket
	spaces := s.namespaces()
	for ns, members := range spaces {
		if ctx.Err() != nil {
			return
		}
		done := map[string]bool{}
		for _, t := range s.tables {
			if done[t.file] {
				continue
			}
			done[t.file] = true
			for _, p := range members[:min(len(members), 4)] { // the first may be gone
				if s.read(ns, p.PID, t, &fresh) == nil {
					break
				}
			}
		}
	}
	for k, seen := range s.known {
		if !seen {
			delete(s.known, k)
			continue
		}
		s.known[k] = false
	}
	now := time.Now()
	if s.full > 0 {
		s.k.Emit(&bollwerk.Event{Time: now, Kind: bollwerk.EventLoss, Outcome: bollwerk.Seen, Source: "procfs",
			Loss: &bollwerk.Loss{To: now, Count: s.full, Area: "map", Kind: bollwerk.EventConnect}})
		s.full = 0
	}
	if s.first {
		s.first = false
		fresh = listeners(fresh) // what already serves is news, what is connected is past
	}
	if len(fresh) == 0 {
		return
	}
	if len(fresh) > tellMost {
		s.k.Emit(&bollwerk.Event{Time: now, Kind: bollwerk.EventLoss, Outcome: bollwerk.Seen, Source: "procfs",
			Loss: &bollwerk.Loss{To: now, Count: uint64(len(fresh) - tellMost), Area: "queue", Kind: bollwerk.EventConnect}})
		fresh = fresh[:tellMost]
	}
	owners := s.owners(fresh, spaces)
	for _, x := range fresh {
		s.tell(x, owners[x.inode], now)
	}
}

func listeners(all []socket) (out []socket) {
	for _, x := range all {
		if x.listens || x.protocol == "packet" || x.protocol == "raw" {
			out = append(out, x)
		}
	}
	return out
}

func (s *Sockets) tell(x socket, owner *bollwerk.Process, now time.Time) {
	e := &bollwerk.Event{Time: now, Process: owner, Outcome: bollwerk.Seen, Source: "procfs",
		Connection: &bollwerk.Connection{Protocol: x.protocol, Local: x.local, Remote: x.remote, NetNS: x.ns}}
	covered := func(area string) bool { return s.Covered != nil && s.Covered(area) }
	switch {
	case x.protocol == "packet" || x.protocol == "raw":
		e.Kind = bollwerk.EventSocket
	case x.listens:
		if covered(AreaListen) {
			return
		}
		e.Kind = bollwerk.EventListen
	case covered(AreaConnect), !x.remote.IsValid() || x.remote.Port() == 0:
		return
	case x.protocol == "tcp" && x.state != stateEstablished && x.state != stateSynSent:
		return
	default:
		e.Kind, e.Connection.Outgoing = bollwerk.EventConnect, true
		if x.protocol == "udp" {
			e.Kind = bollwerk.EventSend
		} else if s.serves(x) {
			e.Kind, e.Connection.Outgoing = bollwerk.EventAccept, false
		}
	}
	s.k.Emit(e)
}

// serves reports whether somebody in the namespace listens on the local port.
func (s *Sockets) serves(x socket) bool {
	_, ok := s.known[servedKey(x)]
	return ok
}

// servedKey marks a port that is listened on, in the same table as the sockets.
func servedKey(x socket) socketKey {
	return socketKey{ns: x.ns, inode: uint64(x.local.Port()), protocol: "port", listens: true}
}

// read takes the sockets of one table that were not there at the last look.
func (s *Sockets) read(ns, pid uint32, t table, fresh *[]socket) error {
	f, err := os.Open("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/net/" + t.file)
	if err != nil {
		return err
	}
	defer f.Close()
	sc := bufio.NewScanner(io.LimitReader(f, tableBytes))
	sc.Scan() // the header
	for sc.Scan() {
		x, ok := parseSocket(sc.Text(), t.protocol)
		if !ok {
			continue
		}
		x.ns = ns
		if x.listens {
			s.known[servedKey(x)] = true
		}
		if x.inode == 0 {
			continue // in its last states: nobody's any more
		}
		if _, ok := s.known[x.socketKey]; !ok {
			if len(s.known) >= socketsMost {
				s.full++
				continue
			}
			*fresh = append(*fresh, x)
		}
		s.known[x.socketKey] = true
	}
	return nil
}

// owners finds which processes hold the sockets.
func (s *Sockets) owners(fresh []socket, spaces map[uint32][]*bollwerk.Process) map[uint64]*bollwerk.Process {
	wanted := map[uint64]bool{}
	where := map[uint32]bool{}
	for _, x := range fresh {
		wanted[x.inode] = true
		where[x.ns] = true
	}
	out := map[uint64]*bollwerk.Process{}
	left := fdsMost
	for ns := range where {
		for _, p := range spaces[ns] {
			if len(out) == len(wanted) || left <= 0 {
				return out
			}
			dir := "/proc/" + strconv.FormatUint(uint64(p.PID), 10) + "/fd"
			d, err := os.Open(dir)
			if err != nil {
				continue
			}
			names, _ := d.Readdirnames(min(left, 4096))
			d.Close()
			left -= len(names)
			for _, n := range names {
				link, err := os.Readlink(dir + "/" + n)
				if err != nil || !strings.HasPrefix(link, "socket:[") {
					continue
				}
				inode, err := strconv.ParseUint(strings.TrimSuffix(link[len("socket:["):], "]"), 10, 64)
				if err == nil && wanted[inode] && out[inode] == nil {
					out[inode] = p
				}
			}
		}
	}
	return out
}

// parseSocket reads a line of /proc/net/{tcp,udp,raw,packet} (proc_net_tcp.rst in the
// kernel's documentation).
func parseSocket(line, protocol string) (x socket, ok bool) {
	f := strings.Fields(line)
	x.protocol = protocol
	if protocol == "packet" { // sk RefCnt Type Proto Iface R Rmem User Inode
		if len(f) < 9 {
			return x, false
		}
		inode, err := strconv.ParseUint(f[8], 10, 64)
		x.inode = inode
		return x, err == nil
	}
	if len(f) < 10 {
		return x, false
	}
	var err error
	if x.local, ok = parseAddr(f[1]); !ok {
		return x, false
	}
	if x.remote, ok = parseAddr(f[2]); !ok {
		return x, false
	}
	state, err := strconv.ParseUint(f[3], 16, 8)
	if err != nil {
		return x, false
	}
	x.state = uint8(state)
	x.listens, x.connected = x.state == stateListen && protocol == "tcp", x.remote.Port() != 0
	x.inode, err = strconv.ParseUint(f[9], 10, 64)
	return x, err == nil
}

// parseAddr reads "0100007F:1F90": words of the address as the machine stores them.
func parseAddr(s string) (netip.AddrPort, bool) {
	a, p, ok := strings.Cut(s, ":")
	if !ok || len(a) != 8 && len(a) != 32 {
		return netip.AddrPort{}, false
	}
	port, err := strconv.ParseUint(p, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	raw, err := hex.DecodeString(a)
	if err != nil {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), true
}
