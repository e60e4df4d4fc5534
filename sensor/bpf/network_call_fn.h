// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The same as hooks of functions, where the kernel lets programs be attached to these: a
// cgroup hook costs each call four times as much, and that of the release runs for every
// socket. Part of network.bpf.c.
#ifndef BOLLWERK_NETWORK_CALL_FN_H
#define BOLLWERK_NETWORK_CALL_FN_H

struct bw_sockaddr {
	__u16 family;
	__be16 port;
	union {
		__be32 four;
		struct {
			__u32 flow;
			__u8 six[16];
		};
	};
} __attribute__((aligned(8)));

// A connect that ended before the socket changed its state: no way there, or an address
// that cannot be.
static __noinline int not_begun(struct sock___net *sk, void *to, int err)
{
	struct bw_net_state *s = state_now();
	__u64 at = number(sk), n;
	struct bw_sockaddr addr = {};
	struct bw_sock st = {}, *known = conn_of(at);
	struct bw_net_event *e;

	// These come later, when the change was told.
	if (!s || err == -EADDRNOTAVAIL || err == -ENOBUFS || err == -ENOMEM)
		return 0;
	if (known && known->flags & S_ASKED) {
		st = *known;
		forget(at);
	} else {
		if (bpf_probe_read_kernel(&addr, sizeof(addr), to))
			return 0;
		own(&st, current_typed(), s);
		if (addr.family == AF_INET)
			map4(st.remote, addr.four);
		else
			copy_addr(st.remote, addr.six);
		st.rport = bpf_ntohs(addr.port);
		st.protocol = IPPROTO_TCP;
		st.type = SOCK_STREAM;
		st.direction = BW_NET_OUT;
	}
	flow_failed(&st);
	n = fresh_sock(&st, BW_CONNECT, st.rport, -err, 0);
	if (!n)
		return 0;
	e = event_from(&st, BW_CONNECT, BW_NET_FAILED, n);
	if (!e)
		return 0;
	e->h.result = err;
	bw_submit(e, 0);
	return 0;
}

SEC("fexit/tcp_v4_connect")
int BPF_PROG(failed4, struct sock___net *sk, void *to, int len, int err)
{
	return err < 0 && len >= 16 ? not_begun(sk, to, err) : 0;
}

SEC("fexit/tcp_v6_connect")
int BPF_PROG(failed6, struct sock___net *sk, void *to, int len, int err)
{
	__u32 w[3] = {};

	if (err >= 0 || len < 24)
		return 0;
	// Mapped addresses pass the other function.
	if (bpf_probe_read_kernel(w, sizeof(w), to + 8) || (!w[0] && !w[1] && w[2] == bpf_htonl(0xffff)))
		return 0;
	return not_begun(sk, to, err);
}

BW_INLINE int gone(struct sock___net *sk)
{
	struct bw_sock *st = bpf_sk_storage_get(&socks, sk, 0, 0);

	if (st && st->protocol == IPPROTO_UDP && st->slot == 2 && (counts(st)->tx_packets || counts(st)->rx_packets))
		flow_report(st, counts(st)->tx_bytes, counts(st)->rx_bytes, counts(st)->tx_packets, counts(st)->rx_packets);
	return 0;
}

SEC("fentry/udp_destroy_sock")
int BPF_PROG(gone4, struct sock___net *sk)
{
	return gone(sk);
}

SEC("fentry/udpv6_destroy_sock")
int BPF_PROG(gone6, struct sock___net *sk)
{
	return gone(sk);
}

SEC("fentry/raw_hash_sk")
int BPF_PROG(raw_made, struct sock___net *sk)
{
	struct bw_net_state *s = state_now();
	struct bw_sock st = {};
	struct bw_net_event *e;
	__u64 n;

	if (!s)
		return 0;
	own(&st, current_typed(), s);
	st.protocol = sk->sk_protocol;
	st.type = SOCK_RAW;
	n = fresh_sock(&st, BW_SOCKET, 0, 0, 0);
	if (!n)
		return 0;
	e = event_from(&st, BW_SOCKET, BW_NET_RAW, n);
	if (e)
		bw_submit(e, 0);
	return 0;
}
#endif
