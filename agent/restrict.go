package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/profile"
	"github.com/bollwerk/bollwerk/sensor"
)

// Held is what mode restrict means for a workload on this host.
type Held struct {
	Workload string `json:"workload"`
	Mode     string `json:"mode"`
	Enforced string `json:"enforced"` // guards that the profile turns on
	// ReportedOnly says what of the profile is not enforced, and why.
	ReportedOnly []string `json:"reported_only"`
	// Peers are the workloads that the profile names, with the addresses they have now.
	Peers []HeldPeer `json:"peers,omitempty"`
}

// HeldPeer is a workload that a profile names as a destination or a client.
type HeldPeer struct {
	Workload  string       `json:"workload"`
	Addresses []netip.Addr `json:"addresses"`
	// Shared are those of its addresses that other workloads claim, too.
	Shared []netip.Addr `json:"shared,omitempty"`
	// Unknown: the cluster has not said yet where it is.
	Unknown bool `json:"unknown,omitempty"`
}

// held answers for `profile show`.
func (l *learning) held(key string) (*Held, error) {
	prof, err := l.book.Profile(key)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(key, "unit ") || key == "host" {
		return &Held{Workload: key, Mode: l.mode(key), Enforced: sensor.Guard(0).String(), ReportedOnly: []string{onlyContainers}}, nil
	}
	h := l.a.guarding.hold(prof.Restriction(), func(b string) bool { return prof.Did(b) })
	return &Held{Workload: key, Mode: l.mode(key), Enforced: h.enforce.String(), ReportedOnly: h.only, Peers: h.peers}, nil
}

// onlyContainers is why a profile of a service or of the host holds nobody.
const onlyContainers = "everything: processes of the host are never stopped by the agent"

// restrict adds to a policy what the profile allows and turns on the guards that hold
// the workload to it. What is held is returned, nil when the mode is another.
func (l *learning) restrict(w *bollwerk.Workload, p *sensor.Policy, set *guardSet) *holds {
	if l.mode(profile.Key(w)) != profile.Restrict.String() {
		return nil
	}
	prof, err := l.book.Profile(profile.Key(w))
	if err != nil {
		return &holds{only: []string{"everything: " + err.Error()}}
	}
	h := l.a.guarding.hold(prof.Restriction(), func(b string) bool { return prof.Did(b) })
	set.enforce |= h.enforce
	set.report = (set.report | h.report) &^ set.enforce
	p.Exec, p.Write, p.Read, p.Bind, p.Egress, p.EgressNames, p.Ingress = h.policy.Exec, h.policy.Write, h.policy.Read, h.policy.Bind, h.policy.Egress, h.policy.EgressNames, h.policy.Ingress
	return h
}

// holds is a profile as this host can enforce it.
type holds struct {
	guardSet
	policy sensor.Policy // only its lists
	only   []string
	means  map[string]sensor.Means
	peers  []HeldPeer
}

func (h *holds) peerNames() (names []string) {
	for _, p := range h.peers {
		names = append(names, p.Workload)
	}
	return names
}

// turn puts a guard in force, or says why it only reports.
func (h *holds) turn(g sensor.Guard, why string) {
	if m := h.means[g.String()]; why == "" && (m.Outcome == bollwerk.Seen || m.Outcome == "") {
		why = m.Cause
		if why == "" {
			why = "nothing on this host can refuse it"
		}
	}
	if why == "" {
		h.enforce |= g
		return
	}
	h.report |= g
	h.only = append(h.only, g.String()+": "+why)
}

const saturated = "too varied to be learned; once the cause is gone, `profile reset` the category"

// hold compiles a restriction. Where the kernel cannot match what was learned the guard
// only reports, and says so.
func (g *guarding) hold(r *profile.Restriction, did func(string) bool) *holds {
	h := &holds{means: g.means}
	open := func(c profile.Category) bool { return slices.Contains(r.Open, c) }
	p := &h.policy

	why := ""
	for _, rule := range r.Programs {
		switch {
		case rule.Deny:
		case rule.Prefix:
			why = fmt.Sprintf("%s* is a program whose name changes; forbid it, or build it into the image", rule.Path)
		case len(rule.Path) >= longestPath:
			why = fmt.Sprintf("the path %.40s… is too long for the kernel's list", rule.Path)
		default:
			p.Exec = append(p.Exec, rule.Path)
		}
	}
	switch {
	case open(profile.Executable):
		why = saturated
	case r.Memory && why == "":
		why = "it runs programs without a file, which no list can name"
	}
	h.turn(sensor.GuardExec, why)

	p.Write, why = paths(r.Writes)
	// Folders on the way to what is written may be made.
	for _, w := range slices.Clone(p.Write) {
		for i := strings.LastIndexByte(w, '/'); i > 0; i = strings.LastIndexByte(w[:i], '/') {
			p.Write = append(p.Write, w[:i])
		}
	}
	slices.Sort(p.Write)
	p.Write = slices.Compact(p.Write)
	if open(profile.Write) {
		why = saturated
	}
	h.turn(sensor.GuardFile, why)

	p.Read, why = paths(r.Reads)
	if open(profile.Read) {
		why = saturated
	}
	h.turn(sensor.GuardRead, why)

	why = ""
	servesNames := false
	for _, rule := range r.Listen {
		switch {
		case rule.Deny && allowed(r.Listen, rule):
			why = forbidden(rule)
		case rule.Deny, rule.Protocol != "tcp" && rule.Protocol != "udp":
		default:
			p.Bind = append(p.Bind, sensor.Port{Protocol: rule.Protocol, Port: rule.From, High: high(rule)})
			servesNames = servesNames || rule.Protocol == "udp" && rule.From == 53
		}
	}
	if open(profile.Port) {
		why = saturated
	}
	h.turn(sensor.GuardBind, why)

	h.meet(g.a, r)
	p.Egress, p.EgressNames, why = h.peersOf(r.Egress)
	switch {
	case open(profile.Destination):
		why = saturated
	case why == "" && len(p.EgressNames) > 0 && h.enforce&sensor.GuardBind == 0:
		why = "destinations are known by name, and it may listen on any port: it could answer itself"
	case why == "" && len(p.EgressNames) > 0 && servesNames:
		why = "destinations are known by name, and it is a name server itself: it could answer itself"
	}
	h.turn(sensor.GuardEgress, why)

	var names []sensor.NamedPeer
	p.Ingress, names, why = h.peersOf(r.Ingress)
	if len(names) > 0 && why == "" {
		why = "clients cannot be known by name"
	}
	if open(profile.Client) {
		why = saturated
	}
	h.turn(sensor.GuardIngress, why)

	for _, b := range []struct {
		guard     sensor.Guard
		behaviour string
	}{{sensor.GuardPtrace, profile.Traces}, {sensor.GuardMount, profile.Mounts}, {sensor.GuardBPF, profile.LoadsBPF}} {
		if !did(b.behaviour) {
			h.turn(b.guard, "")
		}
	}
	h.only = append(h.only, "start, name: which program starts which, and what it asks name servers for, is not refused",
		"user, capability, syscall: no guard of the agent refuses them; `profile render` makes lists for the container runtime")
	return h
}

// longestPath of the kernel's lists (lsm.h).
const longestPath = 240

// paths makes what the kernel can match: whole paths, and beginnings with a "*" at the end.
func paths(rules []profile.PathRule) (out []string, why string) {
	for _, r := range rules {
		if r.Deny {
			for _, a := range rules {
				if !a.Deny && a.Prefix && strings.HasPrefix(r.Path, a.Path) {
					why = fmt.Sprintf("%s is forbidden inside of %s*, which no list of the kernel can say", r.Path, a.Path)
				}
			}
			continue
		}
		if len(r.Path) >= longestPath { // its beginning says enough
			r.Path, r.Prefix = r.Path[:longestPath-2], true
		}
		if r.Prefix {
			out = append(out, r.Path+"*")
		} else {
			out = append(out, r.Path)
		}
	}
	return out, why
}

// mostPeerAddresses of workloads stand in one list of the kernel.
const mostPeerAddresses = 1024

// meet finds the addresses of the workloads that a restriction names.
func (h *holds) meet(a *Agent, r *profile.Restriction) {
	for _, list := range [...][]profile.PeerRule{r.Egress, r.Ingress} {
		for _, rule := range list {
			if rule.Workload == "" || rule.Deny || slices.ContainsFunc(h.peers, func(p HeldPeer) bool { return p.Workload == rule.Workload }) {
				continue
			}
			p := HeldPeer{Workload: rule.Workload, Addresses: []netip.Addr{}}
			if a != nil && a.peers != nil {
				p.Addresses = a.peers.of(rule.Workload)
				p.Shared = a.peers.book.Shared(p.Addresses)
				p.Unknown = a.peers.unknown(rule.Workload)
			}
			h.peers = append(h.peers, p)
		}
	}
}

// meets reports whether a rule that denies stands inside of one that allows a workload.
func (h *holds) meets(rules []profile.PeerRule, deny profile.PeerRule) bool {
	for _, r := range rules {
		if r.Deny || r.Workload == "" || r.Protocol != deny.Protocol || r.From > deny.To || r.To < deny.From {
			continue
		}
		i := slices.IndexFunc(h.peers, func(p HeldPeer) bool { return p.Workload == r.Workload })
		if slices.ContainsFunc(h.peers[i].Addresses, deny.Network.Contains) {
			return true
		}
	}
	return false
}

// peersOf makes what the kernel can match of learned peers.
func (h *holds) peersOf(rules []profile.PeerRule) (out []sensor.Peer, names []sensor.NamedPeer, why string) {
	addresses := 0
	for _, r := range rules {
		port := r.From
		if r.From == 0 && r.To == 65535 {
			port = 0
		}
		switch {
		case r.Deny && (allowed(rules, r) || h.meets(rules, r)):
			why = forbidden(r)
		case r.Deny, r.Socket != "", r.Protocol != "tcp" && r.Protocol != "udp":
			// Unix sockets are files; other protocols have no ports, and no hook.
		case r.Workload != "":
			i := slices.IndexFunc(h.peers, func(p HeldPeer) bool { return p.Workload == r.Workload })
			for _, addr := range h.peers[i].Addresses {
				out = append(out, sensor.Peer{Network: netip.PrefixFrom(addr, addr.BitLen()), Port: port, Protocol: r.Protocol, High: high(r)})
			}
			if h.peers[i].Unknown {
				why = "where " + r.Workload + " is was not said yet: the API server does not answer, or not about it"
			}
			if addresses += len(h.peers[i].Addresses); addresses > mostPeerAddresses {
				why = fmt.Sprintf("the workloads it names have %d addresses, more than the %d that fit", addresses, mostPeerAddresses)
			}
		case r.Name != "":
			for _, n := range suffixes(r.Name) {
				names = append(names, sensor.NamedPeer{Name: n, Port: port, Protocol: r.Protocol, High: high(r)})
			}
		case r.Network.IsValid():
			out = append(out, sensor.Peer{Network: r.Network, Port: port, Protocol: r.Protocol, High: high(r)})
		}
	}
	return out, names, why
}

func high(r profile.PeerRule) bool { return r.From == sensor.HighPort && r.To == 65535 }

// suffixes are the names that the kernel can look for: from the last label that
// machines make up on, a name is known by what follows.
func suffixes(name string) []string {
	labels := strings.Split(name, ".")
	for i := len(labels) - 1; i >= 0; i-- {
		if strings.Contains(labels[i], "*") {
			if i == len(labels)-1 {
				return nil
			}
			return []string{"*." + strings.Join(labels[i+1:], ".")}
		}
	}
	if len(labels) >= profile.MaxLabels { // longer ones were cut to this
		return []string{name, "*." + name}
	}
	return []string{name}
}

// allowed reports whether a rule that denies stands inside of one that allows: alone it
// says no more than the list without it.
func allowed(rules []profile.PeerRule, deny profile.PeerRule) bool {
	for _, a := range rules {
		if a.Deny || a.Protocol != deny.Protocol || a.From > deny.To || a.To < deny.From {
			continue
		}
		switch {
		case deny.Network.IsValid() && a.Network.IsValid() && deny.Network.Overlaps(a.Network),
			deny.Name != "" && (a.Name == deny.Name || strings.HasPrefix(a.Name, "*.") && strings.HasSuffix(deny.Name, a.Name[1:])),
			deny.Workload != "" && deny.Workload == a.Workload,
			!deny.Network.IsValid() && deny.Name == "" && deny.Workload == "" && deny.Socket == "":
			return true
		}
	}
	return false
}

func forbidden(r profile.PeerRule) string {
	what := r.Name
	if r.Network.IsValid() {
		what = r.Network.String()
	}
	return strings.TrimSpace(fmt.Sprintf("%s/%d %s", r.Protocol, r.From, what)) + " is forbidden inside of what is allowed, which no list of the kernel can say"
}
