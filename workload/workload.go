// Package workload says which workload a process belongs to: a container (of a pod),
// a unit of the host, or the host itself.
//
// It owns the reading of cgroup paths and of the OCI run-time configuration, the
// cache of what is known, and the rules of waiting: an event waits for a name at most
// Config.Wait, whatever a container runtime does. It does not own the runtimes'
// dialects: each is a Source in a folder of its own. It does not see the kernel's
// events: whoever has them asks the Resolver.
package workload

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/cgroup"
)

// Part is what a source can tell about.
type Part uint8

const (
	// PartContainer: name, image, mounts, … A runtime.
	PartContainer Part = iota
	// PartPod: owner, labels, service account. Kubernetes.
	PartPod
)

// Source is one way to learn about containers. All methods may be called at the same
// time from several goroutines.
type Source interface {
	// Name in messages and metrics: "containerd".
	Name() string
	// Part says which half of the answer the source is asked for.
	Part() Part
	// Local answers from memory or from the disk of this machine, within a
	// millisecond and without asking any process. The error is ErrUnknown when the
	// source does not have the container; others are reported.
	Local(Ref) (Found, error)
	// Lookup may ask a daemon and obeys ctx. ErrUnknown: it does not have the
	// container. ErrAbsent: the runtime is not on this machine.
	Lookup(context.Context, Ref) (Found, error)
	// List returns everything the source has. ErrAbsent as with Lookup.
	List(context.Context) ([]Found, error)
	// Watch calls fn for what begins, changes or ends until ctx is done; fn does not
	// block. ErrAbsent: there is nothing to watch (yet); it is tried again later.
	Watch(ctx context.Context, fn func(Found)) error
}

// AddressSource is a Source that knows addresses which no namespace of this machine shows:
// of pods elsewhere, of services.
type AddressSource interface {
	// Parts are what it tells of, as trouble calls them; none when it only adds to what is
	// seen here. Until it knew a part once, nobody can say where the workloads of it are.
	Parts() []string
	// Addresses calls fn for each object with all its addresses, and none when it is gone,
	// until ctx is done; fn does not block. trouble is called with what keeps it from knowing
	// a part, nil when it is known whole. ErrAbsent as with Watch.
	Addresses(ctx context.Context, fn func(Located), trouble func(part string, err error)) error
}

// Located is an object of a cluster and where it is.
type Located struct {
	ID        string // "" for nothing
	Name      string // as PeerName
	Addresses []netip.Addr
}

// ErrUnknown: the source does not have this container.
var ErrUnknown = errors.New("no such container")

// ErrAbsent: what the source speaks to is not on this machine.
var ErrAbsent = errors.New("not on this machine")

// Ref is what is known of a container before a source was asked.
type Ref struct {
	ID      string
	Runtime string // a guess from the cgroup path, or ""
	Path    string // cgroup path of the container, "" when unknown
	PodUID  string
	// Pod is what another source said, nil when none did.
	Pod *bollwerk.Pod
	PID uint32 // some process in it, 0 when unknown
}

// Found is what one source knows about one container. Parts it does not know are empty.
type Found struct {
	Container bollwerk.Container
	Pod       *bollwerk.Pod
	// CgroupPath is where the runtime put it, "" when it does not say. Only this
	// proves that a name inside of another container's cgroup is not made up.
	CgroupPath string
	// Below restricts the claim to cgroups below this prefix: what a user's own
	// runtime says holds for that user's processes only.
	Below string
	// More says what Lookup would add ("image digest and labels"), "" for nothing.
	More string
	// Gone: the container ended (Watch only).
	Gone bool
}

// Config of a Resolver. The zero value is usable.
type Config struct {
	Node string
	// Wait is how long an event may wait for the name of its workload, from the
	// moment the workload was first heard of; at most and by default 50 ms.
	// Negative: not at all.
	Wait time.Duration
	// Timeout of one question to one source, 2 s by default.
	Timeout time.Duration
	// Grace is how long what ended is still known, as its last events arrive late; 30 s by default.
	Grace time.Duration
	// Capacity is the number of cgroups remembered, 4096 by default. The one not
	// used for longest is forgotten first, and counted.
	Capacity int
	// Hierarchy of this host; detected when nil.
	Hierarchy *cgroup.Hierarchy
	// Changed is called, by Run, when more became known about a workload already handed
	// out (same Cgroup and container).
	Changed func(before, after *bollwerk.Workload)
	// Ended is called, by Run, when the cgroup of a container that was handed out is gone:
	// at once where the kernel tells of it (inotify), else after the next sweep.
	Ended func(*bollwerk.Workload)
	Log   *slog.Logger
	Now   func() time.Time
}

// MaxWait is the most an event ever waits for its workload.
const MaxWait = 50 * time.Millisecond

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Wait < 0:
		c.Wait = 0
	case c.Wait == 0 || c.Wait > MaxWait:
		c.Wait = MaxWait
	}
	if c.Timeout <= 0 {
		c.Timeout = 2 * time.Second
	}
	if c.Grace <= 0 {
		c.Grace = 30 * time.Second
	}
	if c.Capacity <= 0 {
		c.Capacity = 4096
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Hierarchy == nil {
		h, err := cgroup.Detect("", "")
		if err != nil {
			return c, err
		}
		c.Hierarchy = h
	}
	return c, nil
}

// Stats counts since the start. Every number is a metric and a reason to degrade.
type Stats struct {
	Cgroups    int // remembered now
	Workloads  int
	Containers int // known from the runtimes, also those without a process yet
	Pending    int // not complete yet

	Asked      uint64 // cgroups seen for the first time
	Waited     uint64 // events that waited for a name
	Expired    uint64 // of these: in vain
	Unresolved uint64 // workloads given up with less than they should have
	Vanished   uint64 // of these: gone before they could be named
	Evicted    uint64 // forgotten for want of room
	Reused     uint64 // a cgroup id that meant another cgroup than before
	Forged     uint64 // names inside of a container's cgroup that no runtime stands by
}

// SourceStatus is how a source does.
type SourceStatus struct {
	Name     string           `json:"name"`
	Verdict  bollwerk.Verdict `json:"verdict"` // pass; not_evaluated: absent; degraded: failing or slow
	Cause    string           `json:"cause,omitempty"`
	Asked    uint64           `json:"asked"`
	Failed   uint64           `json:"failed,omitempty"`
	TimedOut uint64           `json:"timed_out,omitempty"`
	Watching bool             `json:"watching"`
}

// Missed are the workloads that were not, or not wholly, named since the last look.
type Missed struct {
	// Gone ended before they could be named: as far as they are known.
	Gone []*bollwerk.Workload
	// More of these than are listed, and what was forgotten for want of room.
	More, Evicted uint64
}
