package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
)

// peers knows which workload is at the other end of a connection. Containers are looked at
// when they begin, a few times in their first seconds, as some runtimes give them their
// address then, when an address in a network of this machine is not known, and every two minutes.
type peers struct {
	a    *Agent
	book *workload.Addresses
	wake chan struct{}

	mu      sync.Mutex
	at      map[spot]*located
	young   int       // of these, those in their first seconds
	asked   time.Time // when an unknown address last made us look
	looks   uint64
	routes  *workload.Routes
	routed  time.Time // when they were read
	swept   time.Time
	wanted  bool            // an address of this machine is not known
	changed map[string]bool // names whose addresses are others now; not told yet
	told    time.Time       // when they were
	trouble map[string]string
	silent  map[string]time.Time // parts of clusters that are not known whole, since when
	unheard map[string]bool      // of these, those that never were
	all     bool                 // whatever names a workload is to be put in force anew
}

// located is a container whose addresses are looked at.
type located struct {
	w      *bollwerk.Workload
	who    workload.Claimant
	since  time.Time // no address of it is older
	step   int       // of firstLooks
	next   time.Time
	taken  uint64 // the look whose answer is known
	looked time.Time
	more   bool // it has more addresses than are looked at
}

// firstLooks are the pauses between the first looks at a container.
var firstLooks = []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second, 8 * time.Second}

const (
	lookPause  = 2 * time.Minute       // between two looks at all
	wantPause  = 15 * time.Second      // the same, when an address is not known
	routePause = 50 * time.Millisecond // between two readings of the host's routes that an unknown address asks for
	askPause   = 5 * time.Millisecond  // between two looks that an unknown address asks for
	mostYoung  = 16                    // looked at then
	// followPause is how often lists are put in force anew: a cluster may change all the time.
	followPause = 50 * time.Millisecond
)

func newPeers(a *Agent) *peers {
	p := &peers{a: a, book: workload.NewAddresses(), wake: make(chan struct{}, 1), at: map[spot]*located{}, changed: map[string]bool{}, swept: time.Now(), trouble: map[string]string{}, silent: map[string]time.Time{}, unheard: map[string]bool{}}
	if a.resolver != nil {
		for _, part := range a.resolver.AddressParts() {
			p.silent[part], p.unheard[part] = time.Now(), true
		}
	}
	return p
}

// begin looks at a container that began. since is when, zero for one that ran already.
func (p *peers) begin(w *bollwerk.Workload, since time.Time) {
	if p == nil || w.Kind != bollwerk.WorkloadContainer || w.Cgroup == 0 {
		return
	}
	if s := w.Container.Started; !since.IsZero() && !s.IsZero() && s.Before(since) {
		since = s
	}
	id := place(w)
	p.mu.Lock()
	known := p.at[id] != nil
	if !known {
		p.at[id] = &located{w: w, who: workload.Claimant{ID: id.id, Cgroup: id.cgroup}, since: since, next: time.Now().Add(firstLooks[0])}
		p.young++
	}
	p.mu.Unlock()
	if known {
		return
	}
	p.look(id)
	p.rouse()
}

func (p *peers) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// look takes in the addresses that a container has now.
func (p *peers) look(id spot) {
	p.mu.Lock()
	l := p.at[id]
	if l == nil {
		p.mu.Unlock()
		return
	}
	p.looks++
	number, w := p.looks, l.w
	p.mu.Unlock()
	began := time.Now()
	n, err := p.a.resolver.Network(w)
	if err != nil {
		if exists, _ := p.a.resolver.Lives(w); !exists {
			p.end(w) // nobody told
		}
		return
	}
	p.mu.Lock()
	if p.at[id] != l || l.taken > number {
		p.mu.Unlock()
		return // it ended, or somebody who looked later was faster
	}
	l.taken, l.more = number, n.More
	since := l.since
	if !l.looked.IsZero() && !l.since.IsZero() {
		since = l.looked // what it has now and had not then is younger
	}
	l.looked = began
	name, addrs := workload.PeerName(l.w), p.believed(n.Addresses)
	p.note(p.book.Claim(l.who, name, n.Namespace, addrs, since, time.Now()))
	// Who had one of them before may have ended, and it is only told later.
	var rivals []*located
	for _, who := range p.book.Rivals(name, addrs) {
		if r := p.at[spot{who.ID, who.Cgroup}]; r != nil {
			rivals = append(rivals, r)
		}
	}
	p.mu.Unlock()
	for _, r := range rivals {
		p.dispute(r)
	}
}

// dispute takes its addresses from a container in which nobody lives.
func (p *peers) dispute(r *located) {
	p.mu.Lock()
	w := r.w
	p.mu.Unlock()
	if _, populated := p.a.resolver.Lives(w); populated {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(p.book.Claim(r.who, workload.PeerName(r.w), 0, nil, time.Time{}, time.Now()))
}

// believed are the addresses to which this host sends what is meant for a container. p.mu is held.
func (p *peers) believed(addrs []netip.Addr) []netip.Addr {
	out := make([]netip.Addr, 0, len(addrs))
	for _, addr := range addrs {
		if p.within(addr) {
			out = append(out, addr)
		}
	}
	return out
}

// within asks the host's routes; of a network that was just made they are read again. p.mu is held.
func (p *peers) within(addr netip.Addr) bool {
	if p.routes != nil && p.routes.Within(addr) {
		return true
	}
	if p.routes != nil && time.Since(p.routed) < routePause {
		return false
	}
	p.readRoutes()
	return p.routes != nil && p.routes.Within(addr)
}

// readRoutes reads the host's routes and addresses. p.mu is held.
func (p *peers) readRoutes() {
	p.routed = time.Now()
	host, err := p.a.resolver.HostNetwork()
	var routes *workload.Routes
	if err == nil {
		routes, err = p.a.resolver.Routes(host)
	}
	if err != nil {
		p.trouble["routes"] = fmt.Sprintf("workloads of this machine are not known by address: %v", err)
		return
	}
	delete(p.trouble, "routes")
	p.routes = routes
	p.book.Host(host.Addresses)
}

// note remembers names whose addresses changed. p.mu is held.
func (p *peers) note(names []string) {
	for _, n := range names {
		p.changed[n] = true
	}
	if len(names) > 0 {
		p.rouse()
	}
}

// end says that a container ended: its addresses are nobody's.
func (p *peers) end(w *bollwerk.Workload) {
	if p == nil {
		return
	}
	id := place(w)
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.at[id]
	if l == nil {
		return
	}
	delete(p.at, id)
	if l.step < len(firstLooks) {
		p.young--
	}
	p.note(p.book.Claim(l.who, workload.PeerName(l.w), 0, nil, time.Time{}, time.Now()))
}

// renamed says that a container is known by another name.
func (p *peers) renamed(before, after *bollwerk.Workload) {
	if p == nil {
		return
	}
	from, to := place(before), place(after)
	p.mu.Lock()
	l := p.at[from]
	if l == nil || from != to && p.at[to] != nil {
		p.mu.Unlock()
		return
	}
	delete(p.at, from)
	p.at[to] = l
	same := workload.PeerName(l.w) == workload.PeerName(after)
	l.w = after
	p.mu.Unlock()
	if !same {
		p.look(to)
	}
}

// name says of an event who is at the other end.
func (p *peers) name(e *bollwerk.Event) {
	c := e.Connection
	if p == nil || c == nil || c.Peer != "" || !c.Remote.IsValid() || c.Path != "" {
		return
	}
	addr := c.Remote.Addr()
	if addr.IsLoopback() || addr.IsUnspecified() {
		return
	}
	c.Peer = p.book.Owner(addr, e.Time)
	if c.Peer == "" && p.ask(addr) {
		c.Peer = p.book.Owner(addr, e.Time)
	}
	if f := e.Flow; f != nil && c.Peer != "" {
		// A sum over a time in which the address was another one's is nobody's.
		if first := p.book.Owner(addr, f.From); first != "" && first != c.Peer {
			c.Peer = ""
		}
	}
}

// ask looks at the containers that began a moment ago, as one of them may have the address.
func (p *peers) ask(addr netip.Addr) bool {
	p.mu.Lock()
	now := time.Now()
	// The routes are read again when a container begins, not for each stranger out there.
	if now.Sub(p.asked).Abs() < askPause || p.routes == nil || !p.routes.Within(addr.Unmap()) {
		p.mu.Unlock()
		return false
	}
	if !p.wanted {
		p.wanted = true
		p.rouse()
	}
	p.asked = now
	var ids []spot
	for id, l := range p.at {
		if l.step < len(firstLooks) && len(ids) < mostYoung {
			ids = append(ids, id)
		}
	}
	p.mu.Unlock()
	for _, id := range ids {
		p.look(id)
	}
	return len(ids) > 0
}

// run looks again when it is time, and has lists that name a workload follow its addresses.
func (p *peers) run(ctx context.Context) error {
	t := time.NewTimer(lookPause)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		case <-t.C:
		}
		now := time.Now()
		for _, id := range p.due(now) {
			p.look(id)
		}
		p.follow()
		t.Reset(p.nextLook(time.Now()))
	}
}

// due are the containers to look at now.
func (p *peers) due(now time.Time) (ids []spot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := now.Sub(p.swept).Abs()
	all := since >= lookPause || p.wanted && since >= wantPause
	if all {
		p.swept, p.wanted = now, false
		p.readRoutes()
		p.book.Forget(now)
	}
	for id, l := range p.at {
		switch {
		case l.step == len(firstLooks):
			if all {
				ids = append(ids, id)
			}
		case !now.Before(l.next):
			if l.step++; l.step == len(firstLooks) {
				p.young--
			} else {
				l.next = now.Add(firstLooks[l.step])
			}
			ids = append(ids, id)
		}
	}
	return ids
}

func (p *peers) nextLook(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := p.swept.Add(lookPause)
	if p.wanted {
		next = p.swept.Add(wantPause)
	}
	if soon := p.told.Add(followPause); (p.all || len(p.changed) > 0) && soon.Before(next) {
		next = soon
	}
	for _, l := range p.at {
		if l.step < len(firstLooks) && l.next.Before(next) {
			next = l.next
		}
	}
	return max(10*time.Millisecond, next.Sub(now))
}

// follow puts the lists anew in force that name a workload whose addresses changed.
func (p *peers) follow() {
	p.mu.Lock()
	changed, all := p.changed, p.all
	if len(changed) == 0 && !all || time.Since(p.told).Abs() < followPause {
		p.mu.Unlock()
		return
	}
	p.changed, p.all, p.told = map[string]bool{}, false, time.Now()
	p.mu.Unlock()
	for _, w := range p.a.guarding.naming(func(name string) bool { return all || changed[name] }) {
		p.a.guarding.protect(w)
	}
}

// watch takes in what clusters say of addresses elsewhere.
func (p *peers) watch(ctx context.Context) error {
	p.a.resolver.WatchAddresses(ctx, func(source string, l workload.Located) {
		names := p.book.Claim(workload.Claimant{ID: source + " " + l.ID}, l.Name, 0, l.Addresses, time.Time{}, time.Now())
		p.mu.Lock()
		p.note(names)
		p.mu.Unlock()
	}, func(part string, err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.heard(part, err == nil, time.Now())
		if err == nil {
			delete(p.trouble, part)
			return
		}
		if p.trouble[part] == "" {
			p.a.log.Warn("addresses in the cluster", "error", err)
		}
		p.trouble[part] = fmt.Sprintf("workloads elsewhere are not known by address: %v", err)
	})
	return nil
}

// heard notes whether a part of a cluster is known whole. p.mu is held.
func (p *peers) heard(part string, known bool, now time.Time) {
	switch _, silent := p.silent[part]; {
	case known:
		delete(p.silent, part)
		if p.unheard[part] {
			if delete(p.unheard, part); len(p.unheard) == 0 {
				p.all = true
				p.rouse()
			}
		}
	case !silent:
		p.silent[part] = now
	}
	var since time.Time
	for _, t := range p.silent {
		if since.IsZero() || t.Before(since) {
			since = t
		}
	}
	p.book.Silent(since)
}

// unknown reports whether nobody can say yet where a workload is: it may be elsewhere in a
// cluster that was never heard.
func (p *peers) unknown(name string) bool {
	if p == nil || !strings.HasPrefix(name, "pod ") && !strings.HasPrefix(name, "service ") {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.unheard) > 0
}

// of are the addresses that workloads of a name have now.
func (p *peers) of(name string) []netip.Addr {
	if p == nil {
		return nil
	}
	return p.book.Of(name)
}

// stats counts addresses.
func (p *peers) stats() workload.AddressStats {
	if p == nil {
		return workload.AddressStats{}
	}
	return p.book.Stats()
}

// late counts connections that a list refused although it names the workload at the other
// end: it is there under an address that the list did not have yet, or no more.
func (p *peers) late(e *bollwerk.Event) {
	if p == nil || e.Outcome != bollwerk.Denied || e.Connection == nil || e.Connection.Peer == "" || e.Workload == nil {
		return
	}
	if slices.Contains(p.a.guarding.set(e.Workload).peers, e.Connection.Peer) && slices.Contains(p.of(e.Connection.Peer), e.Connection.Remote.Addr().Unmap()) {
		p.a.metrics.late.Inc()
		// Whoever tries again and again must not fill the log.
		p.a.log.Debug("refused to reach a workload that the profile names; its address or port was not in the list then", "workload", e.Workload.String(), "peer", e.Connection.Peer, "address", e.Connection.Remote)
	}
}

// troubles are standing reasons to be degraded.
func (p *peers) troubles() []string {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, t := range p.trouble {
		out = append(out, t)
	}
	for _, l := range p.at {
		if l.more && len(out) < 8 {
			out = append(out, fmt.Sprintf("%s has more addresses than are looked at; connections to the others are told by address", l.w))
		}
	}
	slices.Sort(out)
	if s := p.book.Stats(); s.Dropped > 0 && time.Since(s.Last).Abs() < ledgerWindow {
		out = append(out, fmt.Sprintf("there was no room for %d addresses of workloads; connections to them are told by address", s.Dropped))
	}
	return out
}
