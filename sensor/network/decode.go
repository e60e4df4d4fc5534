package network

import (
	"net/netip"
	"strconv"
	"unsafe"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// The programs that see (enum bw_net_source) and how an event names them.
const (
	fromConnect = 161 + iota
	fromSendmsg
	fromBind
	fromPostBind
	fromState
	fromEgress
	fromIngress
	fromSockCreate
	fromRelease
	fromIter
	fromFailed
	fromRaw
	fromUDPOut
	fromUDPIn
	fromSent
	fromPushed
	fromRead
)

func sourceName(n uint8, v6 bool) string {
	family := "4"
	if v6 {
		family = "6"
	}
	switch n {
	case fromConnect:
		return "cgroup/connect" + family
	case fromSendmsg:
		return "cgroup/sendmsg" + family
	case fromBind:
		return "cgroup/bind" + family
	case fromPostBind:
		return "cgroup/post_bind" + family
	case fromState:
		return "tp_btf/inet_sock_set_state"
	case fromEgress:
		return "cgroup_skb/egress"
	case fromIngress:
		return "cgroup_skb/ingress"
	case fromSockCreate:
		return "cgroup/sock_create"
	case fromRelease:
		return "cgroup/sock_release"
	case fromIter:
		return "iter/task_file"
	case fromFailed:
		return "fexit/tcp_v" + family + "_connect"
	case fromRaw:
		return "fentry/raw_hash_sk"
	case fromUDPOut:
		if v6 {
			return "fentry/ip6_send_skb"
		}
		return "fentry/ip_send_skb"
	case fromUDPIn:
		return "fentry/__udp_enqueue_schedule_skb"
	case fromSent:
		return "lsm/socket_sendmsg"
	case fromPushed:
		return "fentry/__tcp_push_pending_frames"
	case fromRead:
		return "fentry/tcp_rcv_space_adjust"
	}
	return ""
}

func (s *Source) decoders() {
	for n := uint8(fromConnect); n <= fromRead; n++ {
		s.k.DecodeFrom(n, s.decode)
	}
}

// decode makes an event of any record of this object.
func (s *Source) decode(h *sensor.Header, raw []byte) *bollwerk.Event {
	switch bollwerk.EventKind(h.Kind) {
	case bollwerk.EventDNS:
		return s.decodeDNS(h, raw)
	case bollwerk.EventProtocol:
		return s.decodeProbe(raw)
	}
	r := record[bpf.NetworkBwNetEvent](raw)
	if r == nil {
		return nil
	}
	return s.event(r)
}

// record is the beginning of raw as a T, nil when it is too short. The bytes are the
// ring's and may lie at any address, so they are copied.
func record[T any](raw []byte) *T {
	var t T
	if len(raw) < int(unsafe.Sizeof(t)) {
		return nil
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&t)), unsafe.Sizeof(t)), raw)
	return &t
}

func (s *Source) event(r *bpf.NetworkBwNetEvent) *bollwerk.Event {
	remote := address(r.Remote)
	c := &bollwerk.Connection{
		Protocol: protocol(r.Protocol, r.Type), Outgoing: r.Direction == 1,
		Cookie: r.Cookie, NetNS: r.Netns,
	}
	if local := address(r.Local); r.Lport != 0 || !local.IsUnspecified() {
		c.Local = netip.AddrPortFrom(local, r.Lport)
	}
	if r.Rport != 0 || !remote.IsUnspecified() {
		c.Remote = netip.AddrPortFrom(remote, r.Rport)
		c.Name, c.Borrowed = s.names.of(r.H.Cgroup, r.Netns, remote)
	}
	e := &bollwerk.Event{Connection: c, Source: sourceName(r.H.Source, remote.Is6() && !remote.IsUnspecified())}
	if r.Count > 1 {
		e.Count = r.Count
	}
	return e
}

// address reads 16 bytes; version 4 comes mapped and is handed out plain.
func address(b [16]byte) netip.Addr { return netip.AddrFrom16(b).Unmap() }

// protocol names an IPPROTO_* number, or the raw socket.
func protocol(n, kind uint8) string {
	if kind == 3 {
		return "raw"
	}
	switch n {
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 1, 58:
		return "icmp"
	case 132:
		return "sctp"
	}
	return "ip" + strconv.Itoa(int(n))
}

// decodeProbe reads what the first packets of a connection gave away.
func (s *Source) decodeProbe(raw []byte) *bollwerk.Event {
	r := record[bpf.NetworkBwProbeEvent](raw)
	if r == nil {
		return nil
	}
	e := s.event(&r.N)
	kind := "stratum"
	payload := r.Payload[:min(int(r.Kept), len(r.Payload))]
	o := &bollwerk.Object{Name: kind, Type: "stratum v1"}
	if r.What == 2 {
		o.Type = "stratum v2"
	} else {
		for i, b := range payload {
			if b == '\n' {
				payload = payload[:i]
				break
			}
		}
		o.Value = string(payload)
	}
	e.Object = o
	return e
}
