package profile

import (
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// Restriction is a profile as an enforcement reads it: lists of what is allowed, in
// the forms kernels can match (exact paths, prefixes, ports, networks), names for
// whoever watches DNS, workloads for whoever knows their addresses. What is on no
// list is to be refused.
type Restriction struct {
	Workload string `json:"workload"`
	// Open are the categories that must not be restricted, as they are saturated:
	// their lists are empty and mean nothing.
	Open     []Category `json:"open,omitempty"`
	Programs []PathRule `json:"programs"`
	// Memory: programs without a file may run.
	Memory bool       `json:"memory,omitempty"`
	Writes []PathRule `json:"writes"`
	Reads  []PathRule `json:"reads"` // of files that are sensitive
	// Listen are the ports it may listen on, Egress whom it may reach, Ingress who
	// may reach it.
	Listen       []PeerRule `json:"listen"`
	Egress       []PeerRule `json:"egress"`
	Ingress      []PeerRule `json:"ingress"`
	Users        []uint32   `json:"users"`
	Capabilities []string   `json:"capabilities"`
	Syscalls     []string   `json:"syscalls"`
}

// PathRule is a path, or with Prefix everything that begins with it. Of several rules
// that match the longest decides; of two equal ones the one that denies.
type PathRule struct {
	Path   string `json:"path"`
	Prefix bool   `json:"prefix,omitempty"`
	Deny   bool   `json:"deny,omitempty"`
}

// PeerRule is a peer and a range of ports. One of Network, Name, Workload, Socket is
// set, or none of them (Listen).
type PeerRule struct {
	Protocol string       `json:"protocol"`
	From     uint16       `json:"from"` // port; 0 to 65535 where the protocol has none
	To       uint16       `json:"to"`
	Network  netip.Prefix `json:"network,omitzero"`
	// Name is a DNS name. "*." in front stands for everything below the rest, "*"
	// elsewhere for a part that machines make up.
	Name     string `json:"name,omitempty"`
	Workload string `json:"workload,omitempty"`
	Socket   string `json:"socket,omitempty"` // path of a unix socket, "*" as in Name
	Deny     bool   `json:"deny,omitempty"`
}

// Restriction turns the profile into lists. It is as good as the profile is complete;
// Book.Advance guards that, not this.
func (p *Profile) Restriction() *Restriction {
	r := &Restriction{Workload: p.key, Open: p.Saturated(), Programs: []PathRule{}, Writes: []PathRule{}, Reads: []PathRule{}, Listen: []PeerRule{}, Egress: []PeerRule{},
		Ingress: []PeerRule{}, Users: []uint32{}, Capabilities: []string{}, Syscalls: []string{}}
	var s scratch
	for k := range p.entries {
		if p.edits[k] == nil {
			if e := p.edited(k, &s); e == nil || !e.Remove {
				r.add(k, false)
			}
		}
	}
	for k, e := range p.edits {
		r.add(k, e.Remove)
	}
	r.sort()
	return r
}

func (r *Restriction) add(k key, deny bool) {
	if slices.Contains(r.Open, k.cat) {
		return
	}
	switch k.cat {
	case Executable:
		if k.value == memoryProgram {
			r.Memory = !deny
			return
		}
		r.Programs = append(r.Programs, pathRule(k.value, deny))
	case Write:
		r.Writes = append(r.Writes, pathRule(k.value, deny))
	case Read:
		r.Reads = append(r.Reads, pathRule(k.value, deny))
	case Port:
		r.Listen = append(r.Listen, peerRules(k, deny)...)
	case Destination:
		r.Egress = append(r.Egress, peerRules(k, deny)...)
	case Client:
		r.Ingress = append(r.Ingress, peerRules(k, deny)...)
	case User:
		if !deny {
			r.Users = append(r.Users, k.n)
		}
	case Capability:
		if !deny {
			r.Capabilities = append(r.Capabilities, k.value)
		}
	case Syscall:
		if !deny {
			r.Syscalls = append(r.Syscalls, k.value)
		}
	}
}

// pathRule: up to the first part that is general a path is a prefix. A kernel can
// match that; a pattern it cannot.
func pathRule(path string, deny bool) PathRule {
	if i := strings.IndexByte(path, '*'); i >= 0 {
		return PathRule{Path: path[:i], Prefix: true, Deny: deny}
	}
	return PathRule{Path: path, Deny: deny}
}

func peerRules(k key, deny bool) []PeerRule {
	r := PeerRule{Protocol: k.proto.String(), From: uint16(k.n), To: uint16(k.n), Deny: deny}
	if k.n >= highPort {
		r.To = math.MaxUint16
	}
	if k.cat != Port && k.n == 0 {
		r.To = math.MaxUint16
	}
	kind, rest, _ := strings.Cut(k.value, ":")
	switch {
	case k.cat == Port:
	case k.value == "loopback":
		return networks(r, "127.0.0.0/8", "::1/128", "0.0.0.0/32", "::/128")
	case k.value == "multicast":
		return networks(r, "224.0.0.0/4", "ff00::/8", "255.255.255.255/32")
	case kind == "workload":
		r.Workload = rest
	case kind == "name":
		r.Name = rest
	case kind == "unix":
		r.Socket = rest
	default:
		n, ok := parseNet(k.value)
		if !ok {
			return nil // "unknown": an address the sensor could not read
		}
		r.Network = n
	}
	return []PeerRule{r}
}

func networks(r PeerRule, ns ...string) (out []PeerRule) {
	for _, n := range ns {
		r.Network = netip.MustParsePrefix(n)
		out = append(out, r)
	}
	return out
}

func (r *Restriction) sort() {
	for _, l := range []*[]PathRule{&r.Programs, &r.Writes, &r.Reads} {
		slices.SortFunc(*l, func(a, b PathRule) int {
			if c := strings.Compare(a.Path, b.Path); c != 0 {
				return c
			}
			return flag(a.Prefix)*2 + flag(a.Deny) - flag(b.Prefix)*2 - flag(b.Deny)
		})
		*l = slices.Compact(*l)
	}
	for _, l := range []*[]PeerRule{&r.Listen, &r.Egress, &r.Ingress} {
		slices.SortFunc(*l, func(a, b PeerRule) int {
			for _, c := range []int{strings.Compare(a.Protocol, b.Protocol), int(a.From) - int(b.From), int(a.To) - int(b.To), strings.Compare(a.Workload, b.Workload),
				strings.Compare(a.Name, b.Name), strings.Compare(a.Socket, b.Socket), a.Network.Compare(b.Network), flag(a.Deny) - flag(b.Deny)} {
				if c != 0 {
					return c
				}
			}
			return 0
		})
		*l = slices.Compact(*l)
	}
	slices.Sort(r.Users)
	slices.Sort(r.Capabilities)
	slices.Sort(r.Syscalls)
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Allows is the meaning of a restriction, for tests and for whoever enforces without a
// kernel's help: whether an event may happen. Events of kinds that are not restricted
// may.
func (r *Restriction) Allows(e *bollwerk.Event) bool {
	switch e.Kind {
	case bollwerk.EventExec:
		p := e.Process
		if p == nil || slices.Contains(r.Open, Executable) {
			return true
		}
		if p.Fileless || p.Origin == bollwerk.OriginMemory || p.Path == "" {
			return r.Memory
		}
		return allowsPath(r.Programs, string(appendPath(nil, p.Path, false)), p.Path)
	case bollwerk.EventOpen:
		if e.File == nil || e.File.Access&^(bollwerk.AccessRead|bollwerk.AccessExec) == 0 {
			return true
		}
		return r.allowsWrite(e.File.Path)
	case bollwerk.EventCreate, bollwerk.EventUnlink, bollwerk.EventChmod, bollwerk.EventChown, bollwerk.EventSymlink:
		return e.File == nil || r.allowsWrite(e.File.Path)
	case bollwerk.EventRename:
		return e.File == nil || r.allowsWrite(e.File.Path) && r.allowsWrite(e.File.Target)
	case bollwerk.EventListen:
		c := e.Connection
		return c == nil || c.Protocol == "unix" || slices.Contains(r.Open, Port) || allowsPeer(r.Listen, c, c.Local.Port(), true)
	case bollwerk.EventAccept:
		c := e.Connection
		return c == nil || c.Protocol == "unix" || slices.Contains(r.Open, Client) || allowsPeer(r.Ingress, c, c.Local.Port(), false)
	case bollwerk.EventConnect, bollwerk.EventSend:
		c := e.Connection
		return c == nil || slices.Contains(r.Open, Destination) || allowsPeer(r.Egress, c, c.Remote.Port(), false)
	}
	return true
}

func (r *Restriction) allowsWrite(path string) bool {
	return path == "" || slices.Contains(r.Open, Write) || allowsPath(r.Writes, string(appendPath(nil, path, true)), path)
}

// allowsPath asks for the path as it is and in its general form: a rule made of
// "/tmp/build*" has the prefix of both.
func allowsPath(rules []PathRule, general, path string) bool {
	best, allow := -1, false
	for _, r := range rules {
		match := r.Path == path || r.Path == general
		if r.Prefix {
			match = strings.HasPrefix(path, r.Path) || strings.HasPrefix(general, r.Path)
		}
		if !match {
			continue
		}
		weight := 2*len(r.Path) + 1 - flag(r.Prefix)
		if weight > best || weight == best && r.Deny {
			best, allow = weight, !r.Deny
		}
	}
	return allow
}

// AllowsName reports whether the addresses of a DNS name may be reached at a port:
// whoever watches answers adds them for as long as they are valid.
func (r *Restriction) AllowsName(protocol, name string, port uint16) bool {
	return allowsPeer(r.Egress, &bollwerk.Connection{Protocol: protocol, Name: name}, port, false)
}

func allowsPeer(rules []PeerRule, c *bollwerk.Connection, port uint16, any bool) bool {
	proto := protocolOf(c.Protocol).String()
	addr := c.Remote.Addr().Unmap().WithZone("")
	var name, socket, peer string
	if c.Name != "" {
		name = string(appendName(nil, c.Name))
	}
	if c.Path != "" {
		socket = string(appendPath(nil, c.Path, true))
	}
	if c.Peer != "" {
		peer = string(appendText(nil, c.Peer))
	}
	best, allow := -1, false
	for _, r := range rules {
		if r.Protocol != proto || port < r.From || port > r.To {
			continue
		}
		weight := -1
		switch {
		case any:
			weight = 0
		case r.Workload != "":
			// Whoever forbids a network or a name means the workloads there, too.
			if r.Workload == peer && r.Deny {
				weight = 1000
			} else if r.Workload == peer {
				weight = 0
			}
		case r.Name != "":
			if name != "" && (r.Name == name || strings.HasPrefix(r.Name, "*.") && strings.HasSuffix(name, r.Name[1:])) {
				weight = len(r.Name)
			}
		case r.Socket != "":
			if r.Socket == socket {
				weight = 0
			}
		case r.Network.IsValid():
			if addr.IsValid() && r.Network.Contains(addr) {
				weight = r.Network.Bits()
			}
		}
		if weight > best || weight >= 0 && weight == best && r.Deny {
			best, allow = weight, !r.Deny
		}
	}
	return allow
}
