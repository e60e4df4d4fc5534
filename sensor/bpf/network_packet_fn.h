// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What the programs of packets see, seen at functions that a connection without data does
// not pass, where the kernel allows programs there and refusals by LSM: the hooks of
// cgroups run for every packet, and empty ones already cost a connection 3 %. Part of
// network.bpf.c.
#ifndef BOLLWERK_NETWORK_PACKET_FN_H
#define BOLLWERK_NETWORK_PACKET_FN_H

// Four bytes of a packet's headers. Every load through a typed pointer is some instructions
// of its own here, so that neither more nor smaller ones are made than needed.
BW_INLINE __be32 four_at(__u64 at)
{
	__be32 v = 0;

	if (bpf_rdonly_cast) // any type with such a member will do
		return ((struct iphdr *)bpf_rdonly_cast((void *)(at - 12), bpf_core_type_id_kernel(struct iphdr)))->saddr;
	bpf_probe_read_kernel(&v, sizeof(v), (void *)at);
	return v;
}

struct timespec64 {
	__s64 tv_sec;
};

// Ports and length of a datagram, from its header, which the kernel wrote or has checked.
BW_INLINE void ports_of(struct packet *p, __u64 udp, int egress)
{
	__u64 h = 0;

	if (bpf_rdonly_cast) // as above
		h = ((struct timespec64 *)bpf_rdonly_cast((void *)udp, bpf_core_type_id_kernel(struct timespec64)))->tv_sec;
	else
		bpf_probe_read_kernel(&h, sizeof(h), (void *)udp);
	p->lport = bpf_ntohs(egress ? h : h >> 16);
	p->rport = bpf_ntohs(egress ? h >> 16 : h);
	p->bytes = bpf_ntohs(h >> 32);
	p->protocol = IPPROTO_UDP;
	p->l4 = 0;
}

BW_INLINE __u64 packets_of(struct sk_buff___net *skb, __u64 head)
{
	struct skb_shared_info___net *shared = (void *)(head + skb->end);
	__u64 n = BW_READ(shared, gso_segs);

	return n > 1 ? n : 1;
}

static __noinline int message(struct bw_sock *st, struct packet *p, __u64 skb, __u32 skip, __u32 how)
{
	__u32 which = how & DNS_ANSWER ? ROOM_RECEIVED : ROOM_SENT, len;
	struct bw_room *r;

	if (!st || !p || p->bytes < 8 + 17 || st->flags & S_IGNORE)
		return 0;
	len = p->bytes - 8;
	r = room_for(which, st, skip, len, BW_DNS_LARGE, BW_DNS);
	if (!r)
		return 0;
	copy_addr(r->server, p->remote);
	room_packet(which, skb);
	dns_room(which, &r->owner, 0, len, how);
	r->busy = 0;
	return 0;
}

BW_INLINE int datagram_sent(struct sk_buff___net *skb, int v6)
{
	struct sock___net *sk = skb->sk;
	struct bw_net_event *e;
	struct bw_net_state *s;
	struct bw_sock *st;
	struct packet p;
	__u8 local[16];
	__u64 head, ip, udp;

	if (!sk || sk->sk_protocol != IPPROTO_UDP)
		return 0;
	st = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (!st) {
		st = bpf_sk_storage_get(&socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		s = state_now();
		if (!st || !s)
			return 0;
		own(st, current_typed(), s);
		st->protocol = IPPROTO_UDP;
		st->type = SOCK_DGRAM;
	}
	if (st->flags & S_SERVER && sk->__sk_common.skc_dport)
		connected(st);
	head = (__u64)skb->head;
	ip = head + skb->network_header;
	udp = head + skb->transport_header;
	if (v6)
		bpf_probe_read_kernel(p.remote, 16, (void *)(ip + 24));
	else
		map4(p.remote, four_at(ip + 16));
	ports_of(&p, udp, 1);
	if (p.bytes < 8)
		return 0;
	if (counted(st, &p, p.bytes - 8, packets_of(skb, head), 1)) {
		e = send_event(st, &p, BW_NET_UDP_OUT);
		if (e) {
			if (v6) {
				bpf_probe_read_kernel(local, 16, (void *)(ip + 8));
				copy_addr(e->local, local);
			} else {
				map4(e->local, four_at(ip + 12));
			}
			e->cookie = cookie_of(sk);
			bw_submit(e, 0);
		}
	}
	if (p.rport == 53)
		message(st, &p, number(skb), udp - ip + 8, BW_NET_UDP_OUT << 8);
	return 0;
}

// Every datagram of version 4 that a process sends passes here, whole, and nothing of TCP.
SEC("fentry/ip_send_skb")
int BPF_PROG(udp_sent4, struct net *net, struct sk_buff___net *skb)
{
	return datagram_sent(skb, 0);
}

SEC("fentry/ip6_send_skb")
int BPF_PROG(udp_sent6, struct sk_buff___net *skb)
{
	return datagram_sent(skb, 1);
}

// A datagram on its way into the queue of its socket; its headers lie before its data.
SEC("fentry/__udp_enqueue_schedule_skb")
int BPF_PROG(udp_received, struct sock___net *sk, struct sk_buff___net *skb)
{
	struct bw_sock *st;
	struct packet p;
	__u64 head, ip;

	st = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (!st || st->protocol != IPPROTO_UDP)
		return 0;
	head = (__u64)skb->head;
	ip = head + skb->network_header;
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		bpf_probe_read_kernel(p.remote, 16, (void *)(ip + 8));
	else
		map4(p.remote, four_at(ip + 12));
	ports_of(&p, head + skb->transport_header, 0);
	if (p.bytes < 8)
		return 0;
	counted(st, &p, p.bytes - 8, packets_of(skb, head), 0);
	if (p.rport == 53)
		message(st, &p, number(skb), 0, DNS_ANSWER | BW_NET_UDP_IN << 8);
	return 0;
}

static __noinline int lasts_here(struct sock___net *sk)
{
	struct bw_sock *st;

	if (!sk)
		return 0;
	st = bpf_sk_storage_get(&socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (st && !(st->flags & S_LONG))
		lasts_of(st, conn_of(number(sk)), sk, sk->__sk_common.skc_num, bpf_ntohs(sk->__sk_common.skc_dport));
	return 0;
}

// What is known of a connection, or of one that is older than the sensor.
BW_INLINE struct bw_sock *connection(struct sock___net *sk)
{
	struct bw_sock *st = conn_of(number(sk));

	return st ? st : bpf_sk_storage_get(&socks, sk, 0, 0);
}

BW_INLINE int grown(struct sock___net *sk, struct bw_sock *c)
{
	struct tcp_sock___net *tp;

	if (c && c->flags & S_LONG)
		return 0;
	tp = (void *)bpf_skc_to_tcp_sock(sk);
	return tp && tp->segs_out + tp->segs_in >= LONG;
}

static __noinline int look_again(struct sock___net *sk)
{
	struct bw_room *r;
	struct bw_sock *c;
	__u64 skb, at;

	if (!sk)
		return 0;
	at = number(sk);
	c = conn_of(at);
	if (!c || !sk->sk_write_queue.qlen)
		return 0;
	skb = number(sk->sk_write_queue.next);
	r = room_for(ROOM_PUSHED, c, 0, BPF_CORE_READ((struct sk_buff___net *)skb, len), BW_PROBE_BYTES, BW_PROTOCOL);
	if (!r)
		return 0;
	room_packet(ROOM_PUSHED, skb);
	probe_room(ROOM_PUSHED, at);
	r->busy = 0;
	return 0;
}

// Where data is about to go out. The first of it was looked at in the call (`sent`)
// already, but not what sendfile sends before 6.5, nor what changed since.
SEC("fentry/__tcp_push_pending_frames")
int BPF_PROG(pushed, struct sock___net *sk)
{
	struct bw_sock *c;

	if (sk->__sk_common.skc_state != ESTABLISHED)
		return 0;
	c = conn_of(number(sk));
	if (c && c->asked)
		look_again(sk);
	if (grown(sk, c))
		lasts_here(sk);
	return 0;
}

// More than a packet holds goes out here before.
SEC("fentry/tcp_push_one")
int BPF_PROG(pushed_one, struct sock___net *sk)
{
	struct bw_sock *c = conn_of(number(sk));

	if (c && c->asked)
		look_again(sk);
	return 0;
}

// The packet that a process reads from its name server stands first in the queue until
// it has read all of it.
static __noinline int read_answer(struct sock___net *sk)
{
	struct bw_sock *st;
	struct bw_room *r;
	__u32 seq = 0, len, off, bare;
	__u64 skb;

	if (!sk)
		return 0;
	st = connection(sk);
	if (!st || st->direction != BW_NET_OUT || !sk->sk_receive_queue.qlen)
		return 0;
	skb = number(sk->sk_receive_queue.next);
	bpf_probe_read_kernel(&seq, sizeof(seq), (void *)(skb + bpf_core_field_offset(struct sk_buff___net, cb)));
	len = BPF_CORE_READ((struct sk_buff___net *)skb, len);
	off = st->slot - seq; // it may have grown since the last time
	if (!st->slot || off > len)
		off = 0;
	if (off == len)
		return 0;
	st->slot = seq + len;
	r = room_for(ROOM_READ, st, off, len - off, ROOM, BW_DNS);
	if (!r)
		return 0;
	room_packet(ROOM_READ, skb);
	bare = dns_stream(ROOM_READ, DNS_ANSWER | DNS_TCP | BW_NET_READ << 8, st->flags & S_BARE_ANSWER);
	if (bare)
		st->flags |= S_BARE_ANSWER;
	else if (st->flags & S_BARE_ANSWER)
		st->flags &= ~S_BARE_ANSWER;
	r->busy = 0;
	return 0;
}

// A process has read data of a connection.
SEC("fentry/tcp_rcv_space_adjust")
int BPF_PROG(received, struct sock___net *sk)
{
	if (sk->__sk_common.skc_dport == bpf_htons(53))
		read_answer(sk);
	if (sk->__sk_common.skc_state == ESTABLISHED && grown(sk, conn_of(number(sk))))
		lasts_here(sk);
	return 0;
}

// A piece of what a connection sends first, or of what goes to a name server. 1 refuses.
static __noinline int look(struct bw_sock *st, __u64 at, __u64 msg, __u32 size)
{
	int name_server, deny = 0, bare;
	struct bw_room *r;

	if (!st)
		return 0;
	name_server = st->rport == 53 && st->direction == BW_NET_OUT;
	r = room_for(ROOM_SENT, st, 0, size, name_server ? ROOM : BW_PROBE_BYTES, name_server ? BW_DNS : BW_PROTOCOL);
	if (!r)
		return 0;
	room_call(ROOM_SENT, msg);
	if (r->owner.probe)
		deny = probe_room(ROOM_SENT, at);
	if (name_server && !deny) {
		bare = dns_stream(ROOM_SENT, DNS_TCP | BW_NET_SENT << 8, r->owner.flags & S_BARE_ASKED);
		if (bare)
			st->flags |= S_BARE_ASKED;
		else if (st->flags & S_BARE_ASKED)
			st->flags &= ~S_BARE_ASKED;
	}
	r->busy = 0;
	return deny;
}

#define MSG_FASTOPEN 0x20000000

// The first data opens its connection, which nothing is known of yet (RFC 7413).
static __noinline int look_opening(__u64 at, __u64 msg, __u32 size)
{
	struct bw_room *r = room_of(ROOM_SENT);
	struct bw_net_state *s = state_now();
	struct msghdr___net *m = (void *)msg;
	struct bw_sockaddr addr = {};
	int deny = 0;

	if (!s || !r || r->busy)
		return 0; // what goes out then is not looked at: `pushed` sees what follows
	r->busy = 1;
	r->owner.flags = 0;
	own(&r->owner, current_typed(), s);
	if ((r->owner.flags & (S_CONTAINED | S_IGNORE)) == S_CONTAINED) {
		bpf_probe_read_kernel(&addr, sizeof(addr), BPF_CORE_READ(m, msg_name));
		if (addr.family == AF_INET)
			map4(r->owner.remote, addr.four);
		else
			copy_addr(r->owner.remote, addr.six);
		r->owner.rport = bpf_ntohs(addr.port);
		r->owner.lport = 0;
		r->owner.protocol = IPPROTO_TCP;
		r->owner.type = SOCK_STREAM;
		r->owner.direction = BW_NET_OUT;
		r->owner.probe = 1;
		r->skip = 0;
		r->want = size < BW_PROBE_BYTES ? size : BW_PROBE_BYTES;
		r->n = 0;
		r->length = size;
		room_call(ROOM_SENT, msg);
		deny = probe_room(ROOM_SENT, at);
	}
	r->busy = 0;
	return deny;
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(sent, struct socket___net *sock, struct msghdr___net *msg, int size)
{
	struct sock___net *sk = sock->sk;
	struct bw_sock *st;
	__u16 protocol;
	__u64 at;

	if (!sk)
		return 0;
	protocol = sk->sk_protocol;
	if (protocol == IPPROTO_TCP)
		at = number(sk);
	else if (protocol == PROTO_MPTCP)
		at = (__u64)BPF_CORE_READ((struct mptcp_sock___net *)sk, first);
	else
		return 0;
	st = conn_of(at);
	if (!st) {
		if (msg->msg_flags & MSG_FASTOPEN && !(config.options & BW_NET_OPT_NO_PROBE) && look_opening(at, number(msg), size)) {
			asm volatile("");
			return -EPERM;
		}
		if (protocol != IPPROTO_TCP || sk->__sk_common.skc_dport != bpf_htons(53))
			return 0;
		st = bpf_sk_storage_get(&socks, sk, 0, 0);
		if (!st)
			return 0;
	}
	if (st->probe == PROBE_REFUSE)
		return -EPERM;
	if (!st->probe && (st->rport != 53 || st->direction != BW_NET_OUT))
		return 0;
	if (look(st, at, number(msg), size)) {
		asm volatile(""); // a branch: the verifier wants a number, not an expression
		return -EPERM;
	}
	return 0;
}
#endif
