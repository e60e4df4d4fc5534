package network

import (
	"net/netip"
	"sync"
	"time"

	"github.com/bollwerk/bollwerk"
)

// Bounds of what is remembered of names: about 2 MB when all is full.
const (
	namesWorkloads = 256
	namesAddresses = 256  // of one workload
	namesTotal     = 8192 // addresses of all
	namesAsked     = 256  // questions of one workload

	// A connection may come long after the answer, so an address keeps its name longer
	// than the answer says.
	nameFloor   = 5 * time.Minute
	nameCeiling = 24 * time.Hour
)

// names remembers for each workload which name it asked for before it used an
// address. An answer to a question that the workload did not ask is not believed:
// whoever can send it packets could name his address otherwise.
type names struct {
	mu    sync.Mutex
	by    map[uint64]*workloadNames
	netns map[uint32]uint64 // the workload that asked last, for others that share its network
	total int
	now   func() time.Time
}

type workloadNames struct {
	asked   map[string]struct{}
	address map[netip.Addr]name
	used    time.Time
}

type name struct {
	text string
	till time.Time
}

func newNames() *names {
	return &names{by: map[uint64]*workloadNames{}, netns: map[uint32]uint64{}, now: time.Now}
}

func (n *names) workload(cgroup uint64, netns uint32) *workloadNames {
	w := n.by[cgroup]
	if w == nil {
		if len(n.by) >= namesWorkloads {
			n.forgetOldest()
		}
		w = &workloadNames{asked: map[string]struct{}{}, address: map[netip.Addr]name{}}
		n.by[cgroup] = w
	}
	w.used = n.now()
	if netns != 0 && (len(n.netns) < namesWorkloads || n.netns[netns] != 0) {
		n.netns[netns] = cgroup
	}
	return w
}

func (n *names) forgetOldest() {
	var oldest uint64
	var when time.Time
	for c, w := range n.by {
		if when.IsZero() || w.used.Before(when) {
			oldest, when = c, w.used
		}
	}
	n.total -= len(n.by[oldest].address)
	delete(n.by, oldest)
	for ns, c := range n.netns {
		if c == oldest {
			delete(n.netns, ns)
		}
	}
}

func (n *names) question(cgroup uint64, netns uint32, asked string) {
	if asked == "" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.workload(cgroup, netns)
	if len(w.asked) >= namesAsked {
		for k := range w.asked {
			delete(w.asked, k)
			break
		}
	}
	w.asked[asked] = struct{}{}
}

func (n *names) answer(cgroup uint64, netns uint32, d *bollwerk.DNS, at time.Time) {
	if d.Name == "" || len(d.Addresses) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.workload(cgroup, netns)
	if _, ok := w.asked[d.Name]; !ok {
		return
	}
	till := at.Add(min(max(time.Duration(d.TTL)*time.Second, nameFloor), nameCeiling))
	for _, a := range d.Addresses {
		if _, known := w.address[a]; !known {
			if len(w.address) >= namesAddresses || n.total >= namesTotal {
				n.makeRoom(w)
			}
			if n.total >= namesTotal {
				return
			}
			n.total++
		}
		w.address[a] = name{text: d.Name, till: till}
	}
}

// makeRoom forgets what is over, or else the entry that ends first.
func (n *names) makeRoom(w *workloadNames) {
	var first netip.Addr
	var when time.Time
	now := n.now()
	for a, e := range w.address {
		if now.After(e.till) {
			delete(w.address, a)
			n.total--
			continue
		}
		if when.IsZero() || e.till.Before(when) {
			first, when = a, e.till
		}
	}
	if len(w.address) >= namesAddresses || (n.total >= namesTotal && len(w.address) > 0) {
		delete(w.address, first)
		n.total--
	}
}

// of is the name that a workload knew the address by, "" when it did not ask for it. It is
// borrowed when the workload that asked last in the same network did: that may have been a
// container of the same pod, or a stranger who uses the host's network, too.
func (n *names) of(cgroup uint64, netns uint32, a netip.Addr) (text string, borrowed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	for i, c := range [...]uint64{cgroup, n.netns[netns]} {
		if w := n.by[c]; w != nil {
			if e, ok := w.address[a]; ok && now.Before(e.till) {
				return e.text, i > 0 && c != cgroup
			}
		}
	}
	return "", false
}

// all are the addresses that a workload knows by name now.
func (n *names) all(cgroup uint64) map[netip.Addr]name {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := map[netip.Addr]name{}
	if w := n.by[cgroup]; w != nil {
		for a, e := range w.address {
			if n.now().Before(e.till) {
				out[a] = e
			}
		}
	}
	return out
}
