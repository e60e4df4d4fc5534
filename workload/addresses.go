package workload

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/bollwerk/bollwerk"
)

// Addresses says which workload an address belongs to, or belonged to at a time. It keeps
// what it is told by whoever looks at namespaces (Resolver.Network) or asks a cluster.
//
// Two claims to one address that differ in their workload leave it nobody's for as long as
// both hold: two networks of one range, a container that gave itself another one's address,
// containers of different owners in one namespace.
type Addresses struct {
	mu     sync.RWMutex
	byAddr map[netip.Addr][]claim
	byName map[string]map[netip.Addr]int // live claims
	byWho  map[Claimant][]netip.Addr     // what it claims now
	host   map[netip.Addr]bool
	stats  AddressStats
	silent time.Time // since when clusters say nothing; zero while they do
}

// Claimant is who claims addresses: a container in one of its lives, or an object of a cluster.
type Claimant struct {
	ID     string
	Cgroup uint64
}

type claim struct {
	who   Claimant
	name  string
	space uint64 // of the namespace that shows it, 0 when a cluster says so
	since time.Time
	until time.Time // zero: it lives
}

// AddressStats counts.
type AddressStats struct {
	Addresses int `json:"addresses"` // known now
	// Ambiguous are those that several workloads claim: connections to them are told by address.
	Ambiguous int `json:"ambiguous"`
	// Dropped were not kept for want of room, since the start; Last is when that last happened.
	Dropped uint64    `json:"dropped"`
	Last    time.Time `json:"last_dropped,omitzero"`
}

const (
	mostKnown  = 8192 // addresses; half a kilobyte each
	mostTold   = 7168 // of these, by clusters: what is on this machine has room in any case
	mostClaims = 8    // to one address; of more than these nobody is it
	// claimLife is how long it is known whose an address was: summaries come late.
	claimLife = 2 * time.Minute
	// clusterLife is how long what a cluster said is believed while it says nothing.
	clusterLife = 5 * time.Minute
)

// NewAddresses makes an empty one.
func NewAddresses() *Addresses {
	return &Addresses{byAddr: map[netip.Addr][]claim{}, byName: map[string]map[netip.Addr]int{}, byWho: map[Claimant][]netip.Addr{}, host: map[netip.Addr]bool{}}
}

// Owner is the name of the workload that had an address at a time, "" when nobody known
// here had it, or several did.
func (a *Addresses) Owner(addr netip.Addr, at time.Time) string {
	addr = addr.Unmap()
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.host[addr] {
		return ""
	}
	return owns(a.byAddr[addr], at, a.silent.IsZero() || at.Sub(a.silent) < clusterLife)
}

// Silent says since when clusters say nothing, zero when they do. What they said before
// names nobody any more after a while.
func (a *Addresses) Silent(since time.Time) {
	a.mu.Lock()
	a.silent = since
	a.mu.Unlock()
}

func owns(claims []claim, at time.Time, told bool) (name string) {
	if crowded(claims) {
		return ""
	}
	if name, any := ownsOf(claims, at, true); any || !told {
		return name
	}
	name, _ = ownsOf(claims, at, false)
	return name
}

// ownsOf asks what namespaces of this machine show, or what a cluster says, which comes later.
func ownsOf(claims []claim, at time.Time, seen bool) (name string, any bool) {
	for i := range claims {
		c := &claims[i]
		if (c.space != 0) != seen {
			continue
		}
		// What is long before was told by a clock that was turned back.
		if d := c.since.Sub(at); d > 0 && d < claimLife || !c.until.IsZero() && at.After(c.until) {
			continue
		}
		if name != "" && name != c.name {
			return "", true
		}
		name, any = c.name, true
	}
	return name, any
}

// crowded reports whether there may be claims that were not kept.
func crowded(claims []claim) bool {
	live := 0
	for i := range claims {
		if claims[i].until.IsZero() {
			live++
		}
	}
	return live >= mostClaims
}

// Of are the addresses that workloads of a name have now. An address that others claim
// too is among them: it is not known to be another one's.
func (a *Addresses) Of(name string) []netip.Addr {
	a.mu.RLock()
	defer a.mu.RUnlock()
	out := make([]netip.Addr, 0, len(a.byName[name]))
	for addr := range a.byName[name] {
		if !a.host[addr] {
			out = append(out, addr)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// Shared are those of a list that several workloads claim now.
func (a *Addresses) Shared(list []netip.Addr) (out []netip.Addr) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, addr := range list {
		if ambiguous(a.byAddr[addr]) {
			out = append(out, addr)
		}
	}
	return out
}

func ambiguous(claims []claim) bool {
	if crowded(claims) {
		return true
	}
	var names [2]string // as in ownsOf
	var several [2]bool
	for i := range claims {
		c, from := &claims[i], 0
		if c.space == 0 {
			from = 1
		}
		if c.until.IsZero() {
			several[from] = several[from] || names[from] != "" && names[from] != c.name
			names[from] = c.name
		}
	}
	return several[0] || several[1] && names[0] == ""
}

// Rivals are those who claim one of a list of addresses now for another workload than name.
func (a *Addresses) Rivals(name string, list []netip.Addr) (out []Claimant) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, addr := range list {
		for i := range a.byAddr[addr] {
			if c := &a.byAddr[addr][i]; c.until.IsZero() && c.name != name && !slices.Contains(out, c.who) {
				out = append(out, c.who)
			}
		}
	}
	return out
}

// Claim says what a claimant has now: all of it. since is when what is new of it began at
// the earliest. It returns the names whose addresses changed by it.
func (a *Addresses) Claim(who Claimant, name string, space uint64, addrs []netip.Addr, since, now time.Time) (changed []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.byWho[who]
	note := func(n string) {
		if !slices.Contains(changed, n) {
			changed = append(changed, n)
		}
	}
	var kept []netip.Addr
	for _, addr := range before {
		list := a.byAddr[addr]
		i := slices.IndexFunc(list, func(c claim) bool { return c.who == who && c.until.IsZero() })
		if i < 0 {
			continue
		}
		c := &list[i]
		if slices.Contains(addrs, addr) && c.space == space {
			if c.name != name { // it is known by another name from now on, and always was
				note(c.name)
				note(name)
				a.count(c.name, addr, -1)
				a.count(name, addr, 1)
				c.name = name
			}
			kept = append(kept, addr)
			continue
		}
		note(c.name)
		a.count(c.name, addr, -1)
		c.until = now
	}
	for _, addr := range addrs {
		if slices.Contains(kept, addr) {
			continue
		}
		list := a.byAddr[addr]
		if len(list) >= mostClaims { // those that are over make room, the oldest first
			if i := slices.IndexFunc(list, func(c claim) bool { return !c.until.IsZero() }); i >= 0 {
				list = slices.Delete(list, i, i+1)
			}
		}
		room := mostKnown
		if space == 0 {
			room = mostTold
		}
		if list == nil && len(a.byAddr) >= room || len(list) >= mostClaims {
			a.stats.Dropped++
			a.stats.Last = now
			continue
		}
		a.byAddr[addr] = append(list, claim{who: who, name: name, space: space, since: since})
		a.count(name, addr, 1)
		note(name)
		kept = append(kept, addr)
	}
	if len(kept) == 0 {
		delete(a.byWho, who)
	} else {
		a.byWho[who] = kept
	}
	return changed
}

func (a *Addresses) count(name string, addr netip.Addr, by int) {
	m := a.byName[name]
	if m == nil {
		m = map[netip.Addr]int{}
		a.byName[name] = m
	}
	if m[addr] += by; m[addr] <= 0 {
		delete(m, addr)
	}
	if len(m) == 0 {
		delete(a.byName, name)
	}
}

// Host says which addresses are the host's own: no workload has them for itself.
func (a *Addresses) Host(addrs []netip.Addr) {
	m := make(map[netip.Addr]bool, len(addrs))
	for _, addr := range addrs {
		m[addr] = true
	}
	a.mu.Lock()
	a.host = m
	a.mu.Unlock()
}

// Forget takes out what is over for long.
func (a *Addresses) Forget(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for addr, list := range a.byAddr {
		list = slices.DeleteFunc(list, func(c claim) bool { return !c.until.IsZero() && now.Sub(c.until).Abs() > claimLife })
		if len(list) == 0 {
			delete(a.byAddr, addr)
		} else {
			a.byAddr[addr] = list
		}
	}
}

// Stats returns the counts.
func (a *Addresses) Stats() AddressStats {
	a.mu.RLock()
	defer a.mu.RUnlock()
	s := a.stats
	for _, list := range a.byAddr {
		if slices.ContainsFunc(list, func(c claim) bool { return c.until.IsZero() }) {
			s.Addresses++
		}
		if ambiguous(list) {
			s.Ambiguous++
		}
	}
	return s
}

// PeerName is what those know a workload by who speak with it: what stays when it is
// replaced by another one of its kind, under another address or with a newer image.
//
//	service shop/cart              what stands in front of pods (ServiceName)
//	pod shop/Deployment/cart       all containers of a pod: they share its addresses
//	container docker/web           a container that stands alone
//	container docker/shop/web of registry.example/shop/web
//	                               a service: labels say so, which an image may bring along,
//	                               so that its repository is a part of the name
func PeerName(w *bollwerk.Workload) string {
	switch {
	case w == nil:
		return ""
	case w.Pod != nil && w.Pod.Name != "":
		kind, name := w.Pod.OwnerKind, w.Pod.OwnerName
		if name == "" {
			kind, name = "Pod", w.Pod.Name
		}
		return plainText("pod " + w.Pod.Namespace + "/" + kind + "/" + name)
	case w.Container != nil:
		c := w.Container
		if c.Owner != "" {
			s := "container " + c.Runtime + "/" + c.Owner
			if image := repository(c.Image); image != "" {
				s += " of " + image
			}
			return plainText(s)
		}
		name := c.Name
		if name == "" {
			name = c.ID
		}
		return plainText("container " + c.Runtime + "/" + name)
	}
	return ""
}

// ServiceName is what a service of a cluster is called that stands in front of pods.
func ServiceName(namespace, name string) string {
	return plainText("service " + namespace + "/" + name)
}

// repository is an image's name without its tag and digest.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		image = image[:i]
	}
	return image
}

// plainText is a text as profiles keep it: what is in a profile must be found here again.
func plainText(s string) string {
	const most = 256
	s = strings.Map(func(c rune) rune {
		if c < 0x20 || c == 0x7f || c == '*' || c == utf8.RuneError {
			return '?'
		}
		return c
	}, s)
	if len(s) > most {
		s = s[:most]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return s
}
