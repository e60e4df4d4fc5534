// Package network sees what workloads say to the network and holds them to what their
// policy allows: connections with their result, listeners, datagrams, DNS, mining
// protocols, and flows summed up in the kernel.
//
// It owns the sockets: whose they are, and what became of them. It does not know
// containers by name, and it does not judge what it sees.
package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// Config of the source; the zero value is usable.
type Config struct {
	// FlowEvery is how often flows are handed out; 0: 10 seconds.
	FlowEvery time.Duration
	// NoDNS leaves DNS messages alone; connections then have no names.
	NoDNS bool
	// NoProbe leaves the first packets of connections of containers alone; mining
	// protocols are then not seen.
	NoProbe bool
	// NoLSM leaves BPF LSM alone, and with it the programs that see packets at functions.
	NoLSM bool
}

// Source of network events, and enforcer of the guards egress, ingress, bind and miner.
type Source struct {
	config   Config
	k        *sensor.Kernel
	loaded   *sensor.Loaded
	names    *names
	existing []*bollwerk.Event
	cgroup   string // where programs are attached
	attached map[string]error
	lazy     []attachment // attached when a policy needs them
	// functions: the programs of functions are attached, and less of the cgroup's.
	functions bool
	// packets: so are those that see what is sent and received, and those of the cgroup
	// that do the same for every packet are not.
	packets bool

	mu      sync.Mutex
	sets    map[uint64]*set
	nextSet uint32
	dirty   bool // a policy came: the sockets that exist must learn of it
	// together counts callers that apply many policies; owed: one of these came.
	together int
	owed     bool
	// tellAgain: the programs will be told of the policies once more.
	tellAgain, closed bool
	epoch             uint32
	lost              uint64
}

// New returns a source to be given to sensor.Open.
func New(c Config) *Source {
	if c.FlowEvery <= 0 {
		c.FlowEvery = 10 * time.Second
	}
	return &Source{config: c, names: newNames(), attached: map[string]error{}, sets: map[uint64]*set{}}
}

// Name of the source.
func (s *Source) Name() string { return "network" }

// Independent implements sensor.Independent: nothing else tells of sockets, and most of
// the verifier's work at the start is for these programs.
func (s *Source) Independent() {}

// The options of the object (bpf/network.h).
const (
	optNoDNS = 1 << iota
	optNoProbe
)

var errUnattached = errors.New("not attached")

type attachment struct {
	program  string
	to       ebpf.AttachType
	enforces bool
	lazy     bool
	// instead: where the programs of functions are attached, this one is lazy, or not
	// needed at all.
	instead instead
	// guards: which of them need a lazy one.
	guards sensor.Guard
	// packets: yes, only where the programs of packets on functions are attached; no, only
	// where they are not.
	packets answer
}

type answer int

const (
	either answer = iota
	yes
	no
)

type instead int

const (
	needed instead = iota
	lazyInstead
	leftOut
)

func (a attachment) tracing() bool {
	return a.to == ebpf.AttachTraceRawTp || a.to == ebpf.AttachTraceFEntry || a.to == ebpf.AttachTraceFExit || a.to == ebpf.AttachLSMMac
}

// functions see what some cgroup hooks see, at a quarter of the price. Kernels may refuse
// programs on functions, or have none of that name; then all of these are left out.
var functions = []attachment{
	{program: "failed4", to: ebpf.AttachTraceFExit},
	{program: "failed6", to: ebpf.AttachTraceFExit},
	{program: "gone4", to: ebpf.AttachTraceFEntry},
	{program: "gone6", to: ebpf.AttachTraceFEntry},
	{program: "raw_made", to: ebpf.AttachTraceFEntry},
}

// packets see at functions what the cgroup's hooks for packets see, which run also for
// those without data: all of these or none. They need BPF LSM, which alone can refuse what
// a process is about to send.
var packets = []attachment{
	{program: "sent", to: ebpf.AttachLSMMac, enforces: true},
	{program: "pushed", to: ebpf.AttachTraceFEntry, enforces: true},
	{program: "pushed_one", to: ebpf.AttachTraceFEntry, enforces: true},
	{program: "received", to: ebpf.AttachTraceFEntry},
	{program: "udp_sent4", to: ebpf.AttachTraceFEntry, enforces: true}, // whose a datagram socket is
	{program: "udp_sent6", to: ebpf.AttachTraceFEntry, enforces: true},
	{program: "udp_received", to: ebpf.AttachTraceFEntry},
}

// attach says where each program goes. The two for unconnected datagrams cost
// something for each of them and are attached when the first policy needs them.
var attach = []attachment{
	{program: "set_state", to: ebpf.AttachTraceRawTp, enforces: true},
	{program: "sock_release", to: ebpf.AttachCgroupInetSockRelease, instead: leftOut},
	{program: "sock_create", to: ebpf.AttachCGroupInetSockCreate, enforces: true, instead: lazyInstead, guards: sensor.GuardEgress},
	{program: "connect4", to: ebpf.AttachCGroupInet4Connect, enforces: true, instead: lazyInstead, guards: sensor.GuardEgress},
	{program: "connect6", to: ebpf.AttachCGroupInet6Connect, enforces: true, instead: lazyInstead, guards: sensor.GuardEgress},
	{program: "bind4", to: ebpf.AttachCGroupInet4Bind, enforces: true},
	{program: "bind6", to: ebpf.AttachCGroupInet6Bind, enforces: true},
	{program: "post_bind4", to: ebpf.AttachCGroupInet4PostBind},
	{program: "post_bind6", to: ebpf.AttachCGroupInet6PostBind},
	{program: "egress", to: ebpf.AttachCGroupInetEgress, enforces: true, packets: no},
	{program: "ingress", to: ebpf.AttachCGroupInetIngress, enforces: true, packets: no},
	{program: "egress_guard", to: ebpf.AttachCGroupInetEgress, enforces: true, lazy: true, packets: yes, guards: sensor.GuardEgress},
	{program: "ingress_guard", to: ebpf.AttachCGroupInetIngress, enforces: true, lazy: true, packets: yes, guards: sensor.GuardEgress | sensor.GuardIngress},
	{program: "sendmsg4", to: ebpf.AttachCGroupUDP4Sendmsg, enforces: true, lazy: true, guards: sensor.GuardEgress},
	{program: "sendmsg6", to: ebpf.AttachCGroupUDP6Sendmsg, enforces: true, lazy: true, guards: sensor.GuardEgress},
}

// Open loads the programs and attaches them to the root of the version 2 cgroup tree,
// which holds all sockets of the host also where containers live in version 1 trees.
func (s *Source) Open(ctx context.Context, k *sensor.Kernel) ([]sensor.Capability, error) {
	s.k = k
	if err := k.BPF(); err != nil {
		return s.capabilities(err), nil
	}
	spec, err := bpf.LoadNetwork()
	if err != nil {
		return nil, err
	}
	var options uint64
	if s.config.NoDNS {
		options |= optNoDNS
	}
	if s.config.NoProbe {
		options |= optNoProbe
	}
	pages := s.findPages()
	skip := programs(packets)
	if pages != nil {
		skip = nil
	}
	for _, a := range attach {
		if a.packets == yes && pages == nil || a.packets == no && pages != nil {
			skip = append(skip, a.program)
		}
	}
	if s.loaded, err = k.Load(spec, options, skip...); err != nil {
		return s.capabilities(err), nil
	}
	dir, err := s.root()
	if err != nil {
		k.Log.Warn("network hooks need a version 2 cgroup tree", "error", err)
		for _, a := range attach {
			s.attached[a.program] = err
		}
	}
	s.cgroup = dir
	s.decoders()
	s.functions = s.attachFunctions(functions)
	if pages != nil {
		s.packets = s.functions && s.placePages(<-pages) && s.attachFunctions(packets)
		if !s.packets {
			k.LoadMore(s.loaded, spec, "egress", "ingress")
		}
	}
	for _, a := range attach {
		if a.packets == yes && !s.packets || a.packets == no && s.packets {
			continue
		}
		if s.functions && a.instead == leftOut {
			continue
		}
		if s.functions && a.instead == lazyInstead {
			a.lazy = true
		}
		if a.lazy {
			s.lazy = append(s.lazy, a)
		}
		if dir != "" || a.tracing() {
			s.attached[a.program] = s.attach(a)
		}
	}
	for _, p := range []string{"living", "existing"} {
		s.attached[p] = s.loaded.Refusal(p)
	}
	if s.attached["existing"] == nil {
		s.attached["existing"] = s.readExisting()
	}
	return s.capabilities(nil), nil
}

func programs(of []attachment) (out []string) {
	for _, a := range of {
		out = append(out, a.program)
	}
	return out
}

// attachFunctions attaches programs of functions, all or none.
func (s *Source) attachFunctions(all []attachment) bool {
	links := make([]link.Link, 0, len(all))
	for _, a := range all {
		err := s.loaded.Refusal(a.program)
		if err == nil {
			var l link.Link
			if a.to == ebpf.AttachLSMMac {
				l, err = link.AttachLSM(link.LSMOptions{Program: s.loaded.Programs[a.program]})
			} else {
				l, err = link.AttachTracing(link.TracingOptions{Program: s.loaded.Programs[a.program]})
			}
			if err == nil {
				links = append(links, l)
			}
		}
		if err != nil {
			s.k.Log.Debug("cgroup hooks are used, not functions", "program", a.program, "error", err)
			for _, l := range links {
				l.Close()
			}
			return false
		}
	}
	for i, l := range links {
		var err error
		if all[i].enforces {
			err = s.k.KeepEnforcing("network-"+all[i].program, l, nil)
		} else {
			err = s.k.Keep(l, nil)
		}
		if err != nil {
			return false
		}
	}
	return true
}

func (s *Source) attach(a attachment) error {
	program := s.loaded.Programs[a.program]
	if program == nil {
		return s.loaded.Refusal(a.program)
	}
	var l link.Link
	var err error
	if a.tracing() {
		l, err = link.AttachTracing(link.TracingOptions{Program: program})
	} else {
		l, err = link.AttachCgroup(link.CgroupOptions{Path: s.cgroup, Attach: a.to, Program: program})
	}
	switch {
	case err == nil && a.lazy:
		// Only tried, to know that it would work.
		return l.Close()
	case a.enforces:
		return s.k.KeepEnforcing("network-"+a.program, l, err)
	}
	return s.k.Keep(l, err)
}

// root is a folder that shows the root of the version 2 tree; where none is mounted, a
// mount of its own until Close.
func (s *Source) root() (string, error) {
	if s.k.Unified != "" {
		return s.k.Unified, nil
	}
	dir, err := os.MkdirTemp("", "bollwerk-cgroup")
	if err != nil {
		return "", err
	}
	if err := unix.Mount("none", dir, "cgroup2", 0, ""); err != nil {
		os.Remove(dir)
		return "", fmt.Errorf("mount of a cgroup2 tree: %w", err)
	}
	return dir, nil
}

func unmount(dir string) {
	if unix.Unmount(dir, unix.MNT_DETACH) == nil {
		os.Remove(dir)
	}
}

// whole reports whether the tree's root is the host's: a cgroup namespace hides what is
// above.
func whole(dir string) bool {
	var st unix.Stat_t
	return unix.Stat(dir, &st) == nil && st.Ino == 1
}

// Run hands out what existed before, and the flows.
func (s *Source) Run(ctx context.Context) error {
	for _, e := range s.existing {
		if p := e.Process; p != nil {
			e.Process = s.k.Processes.Get(p.PID, p.Start)
		}
		s.k.Emit(e)
	}
	s.existing = nil
	if s.loaded == nil {
		<-ctx.Done()
		return nil
	}
	t := time.NewTicker(s.config.FlowEvery)
	defer t.Stop()
	read := make(<-chan time.Time)
	for {
		select {
		case <-ctx.Done():
			s.flipFlows()
			s.readFlows()
			return nil
		case <-t.C:
			s.mu.Lock()
			dirty := s.dirty
			s.dirty = false
			s.mu.Unlock()
			if dirty {
				s.refresh()
			}
			s.flipFlows()
			s.expireNamed()
			// A program that began before the change may still write to the old table.
			read = time.After(min(time.Second, s.config.FlowEvery/2))
		case <-read:
			s.readFlows()
		}
	}
}

// Close takes back what the kernel's care does not: a mount of its own.
func (s *Source) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	if s.k != nil && s.k.Unified == "" && s.cgroup != "" {
		unmount(s.cgroup)
	}
	return nil
}

// ok reports whether all these programs are attached; else why not.
func (s *Source) ok(programs ...string) error {
	for _, p := range programs {
		err, tried := s.attached[p]
		if !tried {
			err = errUnattached
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

// What older kernels keep, in the words of the doctor.
const (
	flowsAtTheEnd    = "flows of connections are told when they end, not while they last, before Linux 5.11"
	noCookie         = "without the number of a socket (cookie), unless somebody else asked for it, before Linux 5.12"
	olderOnlyListens = "only what listens for connections: connections and UDP sockets that are older than the agent are not told, and who may ask such a UDP socket is not restricted; a UDP socket stays with the cgroup in which it was bound; before Linux 5.11"
)

func (s *Source) capabilities(all error) []sensor.Capability {
	var rows []sensor.Capability
	row := func(area, means string, outcome bollwerk.Outcome, note string, programs ...string) {
		c := sensor.Capability{Area: area, Means: means, Verdict: bollwerk.Pass, Outcome: outcome}
		err := all
		if err == nil {
			err = s.ok(programs...)
		}
		switch {
		case err != nil:
			c.Verdict, c.Cause = bollwerk.NotEvaluated, err.Error()
			c.Remedy = "run as root with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN on Linux 5.10 or later with a cgroup2 tree"
			c.Outcome = ""
		case note != "":
			c.Verdict, c.Cause = bollwerk.Degraded, note
		case s.cgroup != "" && !whole(s.cgroup) && strings.Contains(means, "cgroup"):
			c.Verdict, c.Cause = bollwerk.Degraded, "the agent sees only a part of the cgroup tree: what is above is not covered"
			c.Remedy = "start the agent in the host's cgroup namespace"
		}
		rows = append(rows, c)
	}
	// Programs that follow connections may look into their storage since 5.11.
	older, long, cookie := "", "", ""
	if s.k != nil && s.k.Before(5, 12) {
		cookie = noCookie
	}
	if s.k != nil && s.k.Before(5, 11) {
		older = olderOnlyListens
		long = flowsAtTheEnd
	}
	if s.functions {
		row("connect", "tp_btf inet_sock_set_state, fexit/tcp_v4_connect, tcp_v6_connect", bollwerk.Seen, cookie, "set_state")
	} else {
		row("connect", "cgroup/connect4, connect6, tp_btf inet_sock_set_state", bollwerk.Seen, cookie, "connect4", "connect6", "set_state")
	}
	row("accept", "tp_btf inet_sock_set_state", bollwerk.Seen, cookie, "set_state")
	row("listen", "tp_btf inet_sock_set_state", bollwerk.Seen, "", "set_state")
	row("bind", "cgroup/post_bind4, post_bind6", bollwerk.Seen, "", "bind4", "bind6", "post_bind4", "post_bind6")
	see := []string{"egress", "ingress"}
	send, both, mine, in := "cgroup_skb/egress", "cgroup_skb/egress, ingress", "egress", "ingress"
	probe := send
	if s.packets {
		// Not for every packet: only where data goes.
		send, see = "fentry/ip_send_skb, ip6_send_skb, __udp_enqueue_schedule_skb", nil
		both = send + ", tcp_rcv_space_adjust, lsm/socket_sendmsg"
		probe, mine, in = "lsm/socket_sendmsg, fentry/__tcp_push_pending_frames, tcp_push_one", "set_state", "ingress_guard"
	}
	row("udp", send, bollwerk.Seen, "", see...)
	row("dns", both, bollwerk.Seen, map[bool]string{true: "switched off by configuration"}[s.config.NoDNS], see...)
	row("flow", "tp_btf inet_sock_set_state, "+send+", iter/bpf_sk_storage_map", bollwerk.Seen, long, append(see, "set_state", "living")...)
	row("raw socket", map[bool]string{false: "cgroup/sock_create", true: "fentry/raw_hash_sk"}[s.functions], bollwerk.Seen, "", "sock_create")
	row("mining protocol", probe, bollwerk.Denied, map[bool]string{true: "switched off by configuration"}[s.config.NoProbe], mine)
	row("existing sockets", "iter/task_file", bollwerk.Seen, older, "existing")
	row("deny egress", "cgroup/connect4, connect6, sendmsg4, sendmsg6", bollwerk.Denied, "", "connect4", "connect6", "sendmsg4", "sendmsg6", "sock_create")
	row("deny ingress", "cgroup_skb/ingress", bollwerk.Denied, "", in, "set_state")
	row("deny bind", "cgroup/bind4, bind6", bollwerk.Denied, "", "bind4", "bind6")
	return rows
}
