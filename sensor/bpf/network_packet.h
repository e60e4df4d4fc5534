// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Programs that see packets. Part of network.bpf.c.
#ifndef BOLLWERK_NETWORK_PACKET_H
#define BOLLWERK_NETWORK_PACKET_H

struct packet {
	__u8 remote[16];
	__u32 l4;    // offset of the transport header
	__u32 bytes; // behind the IP header
	__u16 rport, lport;
	__u8 protocol;
};

// Addresses and ports; 0 when it is none of TCP and UDP or no first fragment.
BW_INLINE int parse(struct __sk_buff *skb, struct packet *p, int egress)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u16 ports[2];

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data;

		if ((void *)(ip + 1) > end || ip->ihl < 5 || ip->frag_off & bpf_htons(0x1fff))
			return 0;
		p->protocol = ip->protocol;
		p->l4 = ip->ihl * 4;
		map4(p->remote, egress ? ip->daddr : ip->saddr);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data;
		__u8 next, ext[8];

		if ((void *)(ip + 1) > end)
			return 0;
		next = ip->nexthdr;
		__builtin_memcpy(p->remote, egress ? &ip->daddr : &ip->saddr, 16);
		p->l4 = sizeof(*ip);
		// Options that a sender may put before the datagram to be overlooked.
		for (int i = 0; i < 4 && (next == 0 || next == 43 || next == 60); i++) {
			if (bpf_skb_load_bytes(skb, p->l4, ext, sizeof(ext)))
				return 0;
			next = ext[0];
			p->l4 += (ext[1] + 1) * 8;
		}
		p->protocol = next;
	} else {
		return 0;
	}
	if (p->protocol != IPPROTO_UDP && p->protocol != IPPROTO_TCP)
		return 0;
	// Read in place where no option comes before.
	if (p->l4 == sizeof(struct iphdr) && data + sizeof(struct iphdr) + 4 <= end) {
		__builtin_memcpy(ports, data + sizeof(struct iphdr), 4);
	} else if (p->l4 == sizeof(struct ipv6hdr) && data + sizeof(struct ipv6hdr) + 4 <= end) {
		__builtin_memcpy(ports, data + sizeof(struct ipv6hdr), 4);
	} else if (bpf_skb_load_bytes(skb, p->l4, ports, sizeof(ports))) {
		return 0;
	}
	p->rport = bpf_ntohs(egress ? ports[1] : ports[0]);
	p->lport = bpf_ntohs(egress ? ports[0] : ports[1]);
	p->bytes = skb->len - p->l4;
	return 1;
}

#include "network_dns.h"
#include "network_probe.h"

// The event of a first datagram, without the local address; 0 when there is none to tell.
BW_INLINE struct bw_net_event *send_event(struct bw_sock *st, struct packet *p, __u8 source)
{
	struct bw_seen_key key = {.port = p->rport, .protocol = IPPROTO_UDP, .kind = BW_SEND};
	struct bw_net_event *e;
	__u64 n;

	if (st->flags & (S_SERVER | S_IGNORE))
		return 0;
	key.cgroup = st->cgroup;
	key.exe = st->exe;
	copy_addr(key.remote, p->remote);
	n = fresh(&key, 0);
	if (!n)
		return 0;
	e = event_from(st, BW_SEND, source, n);
	if (!e)
		return 0;
	copy_addr(e->remote, p->remote);
	e->rport = p->rport;
	e->lport = p->lport;
	e->direction = BW_NET_OUT;
	return e;
}

static __noinline int first_datagram(struct __sk_buff *skb, struct bw_sock *st, struct packet *p)
{
	struct bw_net_event *e;

	if (!st || !p)
		return 0;
	e = send_event(st, p, BW_NET_EGRESS);
	if (!e)
		return 0;
	remote_in(skb, e->local, 1); // the source of what goes out
	e->cookie = bpf_get_socket_cookie(skb);
	bw_submit(e, 0);
	return 0;
}

// A datagram of another peer than the socket's first: its flow is counted at once. 1: it
// is the first of its flow.
static __noinline int other_peer(struct bw_sock *st, struct packet *p, __u64 bytes, __u64 packets, int egress)
{
	struct bw_flow_key key = {};
	struct bw_flow f = {};

	if (!st || !p)
		return 0;
	key.cgroup = st->cgroup;
	copy_addr(key.remote, p->remote);
	key.protocol = IPPROTO_UDP;
	key.direction = st->flags & S_SERVER ? BW_NET_IN : BW_NET_OUT;
	if (st->flags & S_SERVER)
		key.lport = p->lport;
	else
		key.rport = p->rport;
	flow_begin(&f, st);
	if (egress) {
		f.tx_bytes = bytes;
		f.tx_packets = packets;
	} else {
		f.rx_bytes = bytes;
		f.rx_packets = packets;
	}
	return flow_add(&key, &f);
}

// Counts a datagram. 1: it is the first to this peer, to be told.
BW_INLINE int counted(struct bw_sock *st, struct packet *p, __u64 bytes, __u64 packets, int egress)
{
	if (!st->slot && !__sync_val_compare_and_swap(&st->slot, 0, 1)) {
		copy_addr(st->remote, p->remote);
		st->rport = p->rport;
		st->lport = p->lport;
		st->direction = st->flags & S_SERVER ? BW_NET_IN : BW_NET_OUT;
		st->slot = 2;
	}
	if (st->slot == 2 && st->rport == p->rport && same_addr(st->remote, p->remote)) {
		if (!egress) {
			bw_add(&counts(st)->rx_bytes, bytes);
			bw_add(&counts(st)->rx_packets, packets);
			return 0;
		}
		bw_add(&counts(st)->tx_bytes, bytes);
		bw_add(&counts(st)->tx_packets, packets);
		if (st->flags & S_SENT)
			return 0;
		st->flags |= S_SENT;
		st->lport = p->lport;
		return 1;
	}
	return !(st->flags & S_IGNORE) && other_peer(st, p, bytes, packets, egress) == 1 && egress;
}

BW_INLINE void datagram(struct __sk_buff *skb, struct bw_sock *st, int egress)
{
	struct packet p;

	if (!parse(skb, &p, egress) || p.protocol != IPPROTO_UDP || p.bytes < 8)
		return;
	if (counted(st, &p, p.bytes - 8, skb->gso_segs > 1 ? skb->gso_segs : 1, egress))
		first_datagram(skb, st, &p);
	if (p.rport == 53)
		dns(skb, st, p.l4 + 8, p.bytes - 8, egress ? 0 : DNS_ANSWER);
}

// The payload of a segment: its offset, or 0.
BW_INLINE __u32 segment(struct __sk_buff *skb, struct packet *p, int egress, __u32 *len)
{
	__u8 doff;
	__u32 off;

	if (!parse(skb, p, egress) || p->protocol != IPPROTO_TCP || bpf_skb_load_bytes(skb, p->l4 + 12, &doff, 1))
		return 0;
	off = (doff >> 4) * 4;
	if (off < 20 || off >= p->bytes)
		return 0;
	*len = p->bytes - off;
	return p->l4 + off;
}

BW_INLINE void dns_segment(struct __sk_buff *skb, struct bw_sock *st, __u32 off, __u32 len, __u32 how)
{
	__be16 prefix;

	if (st->flags & S_BARE_LENGTH) {
		st->flags &= ~S_BARE_LENGTH;
		dns(skb, st, off, len, how);
		return;
	}
	if (bpf_skb_load_bytes(skb, off, &prefix, 2))
		return;
	if (len == 2)
		st->flags |= S_BARE_LENGTH;
	else if (bpf_ntohs(prefix) + 2U >= len && len > 2)
		dns(skb, st, off + 2, len - 2, how);
}

#define LONG 64

// A socket of this program's kind, for members that are read by probe.
BW_INLINE struct sock___net *untyped(struct bpf_sock *sk)
{
	return (struct sock___net *)number(sk);
}

BW_INLINE void lasts_of(struct bw_sock *st, struct bw_sock *known, struct sock___net *sk, __u16 lport, __u16 rport)
{
	struct listen_key key;

	if (known) {
		*st = *known;
		known->flags |= S_LONG;
	} else {
		listen_key_of(&key, sk, netns_of(sk));
		known = listener(&key);
		if (!known) {
			st->flags = S_IGNORE | S_LONG; // whose it is was never known; do not ask again
			return;
		}
		*st = *known;
		st->flags &= S_CONTAINED | S_IGNORE;
		st->lport = lport;
		st->rport = rport;
		remote_of(st->remote, sk);
	}
	st->protocol = IPPROTO_TCP;
	st->flags |= S_LONG;
}

// A connection that lasts gets storage, which the iterator finds.
static __noinline int lasts(struct bpf_sock *sk)
{
	struct bw_sock *st;

	if (!sk || sk->state != ESTABLISHED)
		return 0;
	st = bpf_sk_storage_get(&socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (st && !(st->flags & S_LONG))
		lasts_of(st, conn_of(number(sk)), untyped(sk), sk->src_port, bpf_ntohs(sk->dst_port));
	return 0;
}

// What a packet of TCP without options of IP is: nothing to look at, or not.
enum { TCP_OTHER, TCP_EMPTY, TCP_DATA };

// Most packets are told from their headers alone, before their socket is asked for: this
// runs for every packet of the machine.
BW_INLINE int tcp_kind(struct __sk_buff *skb, __u8 **header)
{
	__u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end, *tcp;

	if (data + sizeof(struct iphdr) + sizeof(struct tcphdr) > end)
		return TCP_OTHER;
	if (data[0] == 0x45) {
		if (data[9] != IPPROTO_TCP || data[6] & 0x1f || data[7])
			return TCP_OTHER;
		tcp = data + sizeof(struct iphdr);
	} else {
		if (data[0] >> 4 != 6 || data[6] != IPPROTO_TCP || data + sizeof(struct ipv6hdr) + sizeof(struct tcphdr) > end)
			return TCP_OTHER;
		tcp = data + sizeof(struct ipv6hdr);
	}
	*header = tcp;
	return skb->len == (__u32)(tcp - data) + (tcp[12] >> 4) * 4 ? TCP_EMPTY : TCP_DATA;
}

// A datagram socket with a peer of its own asks, whatever port it was bound to. Where no
// hook of the call told of it, the packets do.
static __noinline int connected(struct bw_sock *st)
{
	if (!st || !(st->flags & S_SERVER))
		return 0;
	if (st->slot == 2)
		flow_report(st, counts(st)->tx_bytes, counts(st)->rx_bytes, counts(st)->tx_packets, counts(st)->rx_packets);
	st->flags &= ~(S_SERVER | S_SENT);
	counts(st)->said_connections = 0;
	st->slot = 0;
	return 0;
}

// In functions of their own, as what is called from here needs the rest of the stack.
static __noinline int sent_datagram(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct bw_sock *st;
	struct bw_net_state *s;

	if (!sk)
		return 1;
	st = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (!st) {
		st = bpf_sk_storage_get(&socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		s = state_now();
		if (!st || !s)
			return 1;
		own(st, current_typed(), s);
		st->protocol = IPPROTO_UDP;
		st->type = SOCK_DGRAM;
	}
	if (sk->dst_port)
		connected(st);
	datagram(skb, st, 1);
	return 1;
}

static __noinline int sent_segment(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct bpf_tcp_sock *tp;
	struct bw_sock *st, *c;
	struct packet p;
	__u32 off, len = 0, long_known = 0, look = 0;
	int name_server;

	if (!sk)
		return 1;
	c = conn_of(number(sk));
	if (c) {
		if (c->flags & S_BLOCKED)
			return 0;
		long_known = c->flags & S_LONG;
		look = c->probe;
	}
	tp = bpf_tcp_sock(sk);
	if (!tp)
		return 1;
	if (!tp->data_segs_out || tp->data_segs_out > 3)
		look = 0;
	name_server = sk->dst_port == bpf_htons(53);
	if (!long_known && (name_server || tp->segs_out + tp->segs_in >= LONG))
		lasts(sk);
	if (!name_server && !look)
		return 1;
	off = segment(skb, &p, 1, &len);
	if (!off)
		return 1;
	if (name_server) {
		st = bpf_sk_storage_get(&socks, sk, 0, 0);
		if (st && st->direction == BW_NET_OUT)
			dns_segment(skb, st, off, len, DNS_TCP);
	}
	if (!look)
		return 1;
	off = probe(skb, off, len);
	asm volatile("" : "+r"(off)); // the compiler knows what it returns, the verifier does not
	return off & 1;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk;
	__u8 *tcp = 0;

	// Without payload a packet only shows that its connection lasts: some of them do.
	if (tcp_kind(skb, &tcp) == TCP_EMPTY && (tcp[13] & 7 || tcp[10] & 0x1c))
		return 1;
	sk = skb->sk;
	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 1;
	if (sk->protocol == IPPROTO_UDP)
		return sent_datagram(skb, sk) & 1;
	return sk->protocol == IPPROTO_TCP ? sent_segment(skb, sk) & 1 : 1;
}

// A SYN to a listener, or a datagram to a server: 0 refuses.
static __noinline int allow_ingress(struct bw_sock *st, struct packet *k, __u32 kind)
{
	struct bw_policy *p;
	struct bw_sock s = {};
	int deny;

	if (!st || !k)
		return 1;
	p = policy_by_root(st->root);
	if (!p || !((p->enforce | p->report) & BW_GUARD_INGRESS))
		return 1;
	if (is_loopback(k->remote) && st->netns != config.host_net_ns)
		return 1;
	if (listed(p->root, k->remote, k->lport, k->protocol, 1))
		return 1;
	deny = (p->enforce & BW_GUARD_INGRESS) != 0;
	s.cgroup = st->cgroup;
	s.start = st->start;
	s.exe = st->exe;
	s.pid = st->pid;
	s.tid = st->tid;
	s.netns = st->netns;
	s.flags = st->flags;
	s.protocol = k->protocol;
	s.type = st->type;
	s.direction = BW_NET_IN;
	s.rport = k->rport;
	s.lport = k->lport;
	copy_addr(s.remote, k->remote);
	guard_said(&s, kind << 8 | BW_NET_INGRESS, GUARD_NUMBER(BW_GUARD_INGRESS), deny ? BW_DENIED : BW_SEEN);
	if (deny)
		flow_failed(&s);
	return !deny;
}

BW_INLINE void remember_asker(struct bw_sock *st, struct packet *p)
{
	struct asker who = {.root = st->root, .rport = p->rport, .lport = st->lport, .netns = st->netns};
	__u64 now = bpf_ktime_get_boot_ns();

	copy_addr(who.remote, p->remote);
	bpf_map_update_elem(&askers, &who, &now, BPF_ANY);
}

// What asks a listener for a connection.
static __noinline int asked_for(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct bw_net_state *s = state_now();
	struct listen_key key;
	struct bw_sock *st;
	struct packet p;
	__u8 flags;

	if (!sk || !s || !s->ingress || !parse(skb, &p, 0) || p.protocol != IPPROTO_TCP)
		return 1;
	if (bpf_skb_load_bytes(skb, p.l4 + 13, &flags, 1) || (flags & 0x12) != 2)
		return 1;
	listen_key_of(&key, untyped(sk), netns_of(untyped(sk)));
	st = listener(&key);
	return st && st->root ? allow_ingress(st, &p, BW_ACCEPT) & 1 : 1;
}

static __noinline int received_segment(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct bw_sock *st;
	struct packet p;
	__u32 off, len = 0;

	if (!sk)
		return 1;
	if (sk->state == LISTEN)
		return asked_for(skb, sk);
	if (sk->dst_port != bpf_htons(53))
		return 1;
	st = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (!st || st->direction != BW_NET_OUT)
		return 1;
	off = segment(skb, &p, 0, &len);
	if (off)
		dns_segment(skb, st, off, len, DNS_TCP | DNS_ANSWER);
	return 1;
}

// A datagram to a server of a workload whose policy says who may ask, or who is answered.
static __noinline int allow_datagram(struct __sk_buff *skb, struct bw_sock *st)
{
	struct bw_policy *policy;
	struct packet p;
	__u64 on;

	if (!st)
		return 1;
	policy = policy_by_root(st->root);
	on = policy ? policy->enforce | policy->report : 0;
	if (!(on & (BW_GUARD_INGRESS | BW_GUARD_EGRESS)) || !parse(skb, &p, 0))
		return 1;
	if (on & BW_GUARD_INGRESS && !allow_ingress(st, &p, BW_ACCEPT))
		return 0;
	if (on & BW_GUARD_EGRESS)
		remember_asker(st, &p);
	return 1;
}

static __noinline int received_datagram(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct bw_net_state *s = state_now();
	struct bw_sock *st;

	if (!sk || !s)
		return 1;
	st = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (!st || st->protocol != IPPROTO_UDP)
		return 1;
	if (st->root && st->flags & S_SERVER && (s->ingress || s->egress) && !allow_datagram(skb, st))
		return 0;
	datagram(skb, st, 0);
	return 1;
}

// Of TCP only answers of name servers count, and what asks for a connection where a
// policy says who may; that may bring data along.
SEC("cgroup_skb/ingress")
int ingress(struct __sk_buff *skb)
{
	struct bw_net_state *s;
	struct bpf_sock *sk;
	__u8 *tcp = 0;

	if (tcp_kind(skb, &tcp) != TCP_OTHER && *(__be16 *)tcp != bpf_htons(53)) {
		if ((tcp[13] & 0x12) != 2)
			return 1;
		s = state_now();
		if (!s || !s->ingress)
			return 1;
	}
	sk = skb->sk;
	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 1;
	return (sk->protocol == IPPROTO_TCP ? received_segment(skb, sk) : received_datagram(skb, sk)) & 1;
}

// A question or an answer of a workload whose policy knows names.
BW_INLINE int named_datagram(struct __sk_buff *skb, __u32 how)
{
	struct packet p;

	if (parse(skb, &p, !how) && p.protocol == IPPROTO_UDP && p.rport == 53 && p.bytes >= 8)
		names_message(skb, p.l4 + 8, p.bytes - 8, how);
	return 1;
}

BW_INLINE int named_segment(struct __sk_buff *skb, struct bpf_sock *sk, __u32 how)
{
	struct packet p;
	struct bw_sock *st;
	__u32 off, len = 0;
	__be16 prefix;

	if (sk->dst_port != bpf_htons(53))
		return 1;
	st = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (!st || st->direction != BW_NET_OUT || !st->root)
		return 1;
	off = segment(skb, &p, !how, &len);
	if (!off)
		return 1;
	if (st->flags & S_BARE_LENGTH) {
		st->flags &= ~S_BARE_LENGTH;
		names_message(skb, off, len, DNS_TCP | how);
	} else if (!bpf_skb_load_bytes(skb, off, &prefix, 2)) {
		if (len == 2)
			st->flags |= S_BARE_LENGTH;
		else if (bpf_ntohs(prefix) + 2U >= len && len > 2)
			names_message(skb, off + 2, len - 2, DNS_TCP | how);
	}
	return 1;
}

// Where functions tell of packets (network_packet_fn.h), these two are attached only when
// a policy comes that needs them: a hook at all packets is dear for those it does not want.
SEC("cgroup_skb/egress")
int egress_guard(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 1;
	if (sk->protocol == IPPROTO_UDP)
		return named_datagram(skb, 0);
	if (sk->protocol != IPPROTO_TCP || sk->dst_port != bpf_htons(53))
		return 1;
	lasts(sk);
	return named_segment(skb, sk, 0);
}

static __noinline int guarded_datagram(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct bw_net_state *s = state_now();
	struct bw_sock *st;

	if (!sk || !s)
		return 1;
	st = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (!st || st->protocol != IPPROTO_UDP || !st->root)
		return 1;
	if (st->flags & S_SERVER && (s->ingress || s->egress) && !allow_datagram(skb, st))
		return 0;
	return named_datagram(skb, DNS_ANSWER);
}

SEC("cgroup_skb/ingress")
int ingress_guard(struct __sk_buff *skb)
{
	struct bpf_sock *sk;
	__u8 *tcp = 0;

	if (tcp_kind(skb, &tcp) != TCP_OTHER && *(__be16 *)tcp != bpf_htons(53) && (tcp[13] & 0x12) != 2)
		return 1;
	sk = skb->sk;
	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 1;
	if (sk->protocol != IPPROTO_TCP)
		return guarded_datagram(skb, sk) & 1;
	return sk->state == LISTEN ? asked_for(skb, sk) & 1 : named_segment(skb, sk, DNS_ANSWER);
}
#endif
