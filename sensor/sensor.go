// Package sensor owns what the agent knows of the kernel: it loads the programs that
// see and refuse, reads their records, keeps the table of processes, and hands out
// complete events. It says what this kernel allows and what is lost by it.
//
// It does not know containers by name, judge events or store them. What sees what
// stands in plug-ins (sensor/process, sensor/network, …), each a Source.
package sensor

import (
	"context"
	"net/netip"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// Source is a plug-in that feeds events: a BPF object with its decoders, fanotify, a
// netlink socket, a poll of /proc.
type Source interface {
	Name() string
	// Open loads and attaches what this kernel allows and returns what it covers, also
	// what was refused and why. An error means that the agent cannot work at all.
	// Sources open in the order of their list, before the processes that already run are read;
	// an Independent one opens at the same time as the others.
	Open(ctx context.Context, k *Kernel) ([]Capability, error)
	// Run feeds events until the context ends. A source without a loop of its own
	// returns nil at once.
	Run(ctx context.Context) error
	// Close detaches what is not pinned and frees everything. Called once, after Run.
	Close() error
}

// Independent is a Source whose Open neither asks nor tells any other source anything.
// It is opened in a goroutine of its own.
type Independent interface {
	Independent()
}

// Enforcer is a Source that takes part in prevention.
type Enforcer interface {
	// Apply puts a policy in force for one workload, replacing the one before.
	Apply(p *Policy) error
	// Remove lifts it.
	Remove(cgroup uint64) error
}

// Batcher is an Enforcer for which many policies at once are less work than one by one.
type Batcher interface {
	// Together begins such a batch. What was applied until end is in force as a whole when
	// end returns.
	Together() (end func())
}

// Means is how far a guard can be held on this host.
type Means struct {
	Guard   Guard
	Outcome bollwerk.Outcome // denied, killed, or seen when it can only be reported
	Means   string           // "bpf-lsm bprm_check_security", "kill at sched_process_exec"
	Cause   string           // why no more than that
}

// MeansTeller is a Source that says what of the guards it holds. Asked after Open.
type MeansTeller interface {
	Means() []Means
}

// Capability is one row of the doctor's table: one thing a sensor should be able to do.
type Capability struct {
	// Area names it: "exec", "file open", "connect", "deny exec", "dns", …
	Area string `json:"area"`
	// Means is how it is done here: "bpf-lsm bprm_check_security", "tp_btf sched_process_exec".
	Means string `json:"means"`
	// Verdict: pass (as good as it gets), degraded (works, with the loss that Cause
	// says) or not_evaluated (this kernel cannot).
	Verdict bollwerk.Verdict `json:"verdict"`
	// Outcome is the most that can be done about it: seen, denied or killed.
	Outcome bollwerk.Outcome `json:"outcome"`
	Cause   string           `json:"cause,omitempty"`  // what is lost, and why
	Remedy  string           `json:"remedy,omitempty"` // how to get it
}

// Guard is a set of things that a policy may enforce or report.
type Guard uint64

// The guards, as in bpf/event.h.
const (
	GuardFileless Guard = 1 << iota
	GuardDrift
	GuardReverseShell
	GuardMiner
	GuardSetting
	GuardModule
	GuardExec
	GuardFile
	GuardEgress
	GuardIngress
	GuardBind
	GuardRead
	GuardBPF
	GuardPtrace
	GuardMount
)

var guardWords = [...]string{
	"fileless", "drift", "reverse-shell", "miner", "setting", "module", "exec", "file",
	"egress", "ingress", "bind", "read", "bpf", "ptrace", "mount",
}

// Guards lists all guards.
func Guards() []Guard {
	out := make([]Guard, len(guardWords))
	for i := range guardWords {
		out[i] = 1 << i
	}
	return out
}

// String lists the words of the set, joined by a comma.
func (g Guard) String() string {
	var out []string
	for i, w := range guardWords {
		if g&(1<<i) != 0 {
			out = append(out, w)
		}
	}
	return strings.Join(out, ",")
}

// ParseGuard reads one word.
func ParseGuard(s string) (Guard, bool) {
	for i, w := range guardWords {
		if w == s {
			return 1 << i, true
		}
	}
	return 0, false
}

// guardByNumber is the guard of bw_header.guard (number of the bit + 1).
func guardByNumber(n uint32) string {
	if n == 0 || int(n) > len(guardWords) {
		return ""
	}
	return guardWords[n-1]
}

// Policy is what one workload may do, as far as the kernel can hold it to that. A
// source enforces the guards it can; Sensor.Means says which and how.
type Policy struct {
	// Cgroup is the id of the cgroup at which the workload begins. Never a cgroup of
	// the host, the container runtime, kubelet or the agent: Sensor.Apply refuses these.
	Cgroup uint64
	// CgroupPath is its folder below the hierarchy's mount point, for sources that attach there.
	CgroupPath string
	// PID is a process of the workload, through whose /proc/PID/root paths are resolved.
	PID uint32
	// Enforce are denied (or killed, by what the kernel can); Report are only recorded.
	Enforce, Report Guard
	// Builders are names of executables of the image whose descendants may run files
	// made at run time (compilers, package managers); GuardDrift.
	Builders []string
	// Exec are the absolute paths that may run; GuardExec.
	Exec []string
	// Write are paths that may be written (a "/" at the end means everything below, a "*"
	// all that begins so); GuardFile. Read are sensitive files that may be read nevertheless; GuardRead.
	Write, Read []string
	// Egress, Ingress: allowed peers. Bind: ports that may be listened on (0: any).
	Egress, Ingress []Peer
	// EgressNames are peers known by name: the addresses that a name server on the list
	// Egress gave the workload for one of them, for as long as its answer holds.
	EgressNames []NamedPeer
	Bind        []Port
	// Outlive keeps the policy in force when the agent ends (pinned); else it falls open.
	Outlive bool
	// Failed, if set, is called when a part could not be put in force after all, later than
	// Apply returned: the workload's first process was gone before it had a root of its own.
	// Who gave the policy may give one with another PID.
	Failed func(error) `json:"-"`
}

// Peer is a network and a port; Port 0 means any, Protocol "" both tcp and udp.
type Peer struct {
	Network  netip.Prefix
	Port     uint16
	Protocol string
	High     bool // Port is HighPort, and every one above is meant too
}

// NamedPeer is a DNS name and a port, as in Peer. "*." in front of the name stands for
// everything below the rest.
type NamedPeer struct {
	Name     string
	Port     uint16
	Protocol string
	High     bool
}

// Port of a protocol.
type Port struct {
	Protocol string
	Port     uint16
	High     bool // as in Peer
}

// HighPort is the first of the ports that programs take as they come.
const HighPort = 32768
