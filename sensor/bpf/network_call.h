// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Programs that run where a process calls: connect, bind, sendmsg, socket, close. Part of
// network.bpf.c.
#ifndef BOLLWERK_NETWORK_CALL_H
#define BOLLWERK_NETWORK_CALL_H

BW_INLINE void not_sent(struct bw_sock *st)
{
	struct bw_net_event *e;
	__u64 n;

	st->flags &= ~S_ASKED;
	flow_failed(st);
	n = fresh_sock(st, BW_CONNECT, st->rport, ENETUNREACH, 0);
	if (!n)
		return;
	e = event_from(st, BW_CONNECT, BW_NET_RELEASE, n);
	if (!e)
		return;
	e->h.result = -ENETUNREACH;
	bw_submit(e, 0);
}

BW_INLINE void address_of(__u8 *to, struct bpf_sock_addr *ctx, int v6)
{
	if (v6) {
		__u32 w[4] = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]};
		__builtin_memcpy(to, w, 16);
	} else {
		map4(to, ctx->user_ip4);
	}
}

// A policy's word on a call that leaves no trace on the socket: unconnected datagrams,
// and multipath TCP, whose inner sockets are told of by their state changes.
BW_INLINE int allow_passing(struct bpf_sock_addr *ctx, int v6, __u8 protocol, __u32 kind, __u32 source)
{
	struct bw_net_state *s = state_now();
	struct bw_sock st = {};

	if (!s || !s->egress)
		return 1;
	own(&st, current_typed(), s);
	if (!st.root)
		return 1;
	address_of(st.remote, ctx, v6);
	st.rport = bpf_ntohs(ctx->user_port);
	st.protocol = protocol;
	st.type = protocol == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM;
	st.direction = BW_NET_OUT;
	if (protocol == IPPROTO_UDP) {
		struct bw_sock *server = bpf_sk_storage_get(&socks, ctx->sk, 0, 0);
		struct asker who = {.root = st.root, .rport = st.rport, .netns = st.netns};

		if (server && server->flags & S_SERVER) {
			who.lport = server->lport;
			copy_addr(who.remote, st.remote);
			if (bpf_map_lookup_elem(&askers, &who))
				return 1;
		}
	}
	return allow_egress(&st, kind, source);
}

BW_INLINE int connecting(struct bpf_sock_addr *ctx, int v6)
{
	struct bw_net_state *s = state_now();
	__u32 protocol = ctx->protocol;
	struct bw_sock *st, fresh_conn = {};
	__u64 at = number(ctx->sk);

	if (protocol == PROTO_MPTCP)
		return allow_passing(ctx, v6, IPPROTO_TCP, BW_CONNECT, BW_NET_CONNECT);
	if (!s || (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP))
		return 1;
	if (protocol == IPPROTO_TCP) {
		st = conn_of(at);
		if (st && st->flags & S_ASKED)
			not_sent(st);
		st = &fresh_conn;
		st->flags = S_ASKED;
		st->slot = 0;
	} else {
		st = bpf_sk_storage_get(&socks, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (!st)
			return 1;
		if (st->slot == 2)
			flow_report(st, counts(st)->tx_bytes, counts(st)->rx_bytes, counts(st)->tx_packets, counts(st)->rx_packets);
		st->flags &= ~(S_SENT | S_SERVER);
		counts(st)->said_connections = 0;
		st->slot = 2;
	}
	own(st, current_typed(), s);
	address_of(st->remote, ctx, v6);
	st->rport = bpf_ntohs(ctx->user_port);
	st->protocol = protocol;
	st->type = ctx->type;
	st->direction = BW_NET_OUT;
	if (s->egress && !allow_egress(st, BW_CONNECT, BW_NET_CONNECT))
		return 0;
	if (protocol == IPPROTO_TCP) {
		st->probe = st->flags & S_CONTAINED && !(config.options & BW_NET_OPT_NO_PROBE) ? 3 : 0;
		st->asked = st->probe;
		remember(at, st);
	}
	return 1;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return connecting(ctx, 0);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	return connecting(ctx, 1);
}

// Attached when the first policy restricts what a workload may send to.
SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	return allow_passing(ctx, 0, IPPROTO_UDP, BW_SEND, BW_NET_SENDMSG);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	return allow_passing(ctx, 1, IPPROTO_UDP, BW_SEND, BW_NET_SENDMSG);
}

BW_INLINE int binding(struct bpf_sock_addr *ctx)
{
	struct bw_net_state *s = state_now();
	__u32 protocol = ctx->protocol == PROTO_MPTCP ? IPPROTO_TCP : ctx->protocol;
	__u16 port = bpf_ntohs(ctx->user_port);
	struct bw_sock *st;
	struct bw_policy *p;
	int deny;

	// Port 0 is what clients bind to.
	if (!s || !port || (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP))
		return 1;
	st = bpf_sk_storage_get(&socks, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!st)
		return 1;
	own(st, current_typed(), s);
	st->asked = port;
	st->lport = port;
	st->protocol = protocol;
	st->type = ctx->type;
	st->direction = BW_NET_IN;
	if (protocol == IPPROTO_UDP)
		st->flags |= S_SERVER;
	p = policy_by_root(st->root);
	if (!p || !((p->enforce | p->report) & BW_GUARD_BIND) || bind_listed(p->root, port, protocol))
		return 1;
	deny = (p->enforce & BW_GUARD_BIND) != 0;
	guard_said(st, BW_BIND << 8 | BW_NET_BIND, GUARD_NUMBER(BW_GUARD_BIND), deny ? BW_DENIED : BW_SEEN);
	if (deny)
		st->asked = 0;
	return !deny;
}

SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *ctx)
{
	return binding(ctx);
}

SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *ctx)
{
	return binding(ctx);
}

BW_INLINE int bound(struct bpf_sock *ctx, int v6)
{
	struct bw_sock *st = bpf_sk_storage_get(&socks, ctx, 0, 0);
	struct bw_net_event *e;
	__u8 local[16];
	__u32 w[4];
	__u64 n;

	if (!st || !st->asked)
		return 1;
	st->asked = 0;
	n = fresh_sock(st, BW_BIND, st->lport, 0, 0);
	if (!n)
		return 1;
	e = event_from(st, BW_BIND, BW_NET_POST_BIND, n);
	if (!e)
		return 1;
	if (v6) {
		w[0] = ctx->src_ip6[0];
		w[1] = ctx->src_ip6[1];
		w[2] = ctx->src_ip6[2];
		w[3] = ctx->src_ip6[3];
		__builtin_memcpy(local, w, 16);
	} else {
		map4(local, ctx->src_ip4);
	}
	copy_addr(e->local, local);
	e->cookie = bpf_get_socket_cookie(ctx);
	bw_submit(e, 0);
	return 1;
}

SEC("cgroup/post_bind4")
int post_bind4(struct bpf_sock *ctx)
{
	return bound(ctx, 0);
}

SEC("cgroup/post_bind6")
int post_bind6(struct bpf_sock *ctx)
{
	return bound(ctx, 1);
}

// Raw sockets: seen, and refused where destinations are restricted, as their packets
// pass no connect and no sendmsg hook.
SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *ctx)
{
	struct bw_net_state *s;
	struct bw_policy *p;
	struct bw_sock st = {};
	struct bw_net_event *e;
	__u32 protocol = ctx->protocol;
	int deny;
	__u64 n;

	if (ctx->type != SOCK_RAW && (ctx->type == SOCK_STREAM || ctx->type == SOCK_DGRAM) &&
	    (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6 ||
	     protocol == PROTO_MPTCP))
		return 1;
	s = state_now();
	if (!s)
		return 1;
	own(&st, current_typed(), s);
	st.protocol = protocol;
	st.type = ctx->type;
	st.lport = 0;
	p = policy_by_root(st.root);
	if (p && (p->enforce | p->report) & BW_GUARD_EGRESS) {
		deny = (p->enforce & BW_GUARD_EGRESS) != 0;
		guard_said(&st, BW_SOCKET << 8 | BW_NET_SOCK_CREATE, GUARD_NUMBER(BW_GUARD_EGRESS), deny ? BW_DENIED : BW_SEEN);
		return !deny;
	}
	if (st.type != SOCK_RAW)
		return 1;
	n = fresh_sock(&st, BW_SOCKET, 0, 0, 0);
	if (!n)
		return 1;
	e = event_from(&st, BW_SOCKET, BW_NET_SOCK_CREATE, n);
	if (e)
		bw_submit(e, 0);
	return 1;
}

SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *ctx)
{
	struct bw_sock *st;
	__u64 at = number(ctx);

	if (ctx->protocol == IPPROTO_TCP) {
		st = conn_of(at);
		if (st && st->flags & S_ASKED) {
			not_sent(st);
			forget(at);
		}
		return 1;
	}
	if (ctx->protocol != IPPROTO_UDP)
		return 1;
	st = bpf_sk_storage_get(&socks, ctx, 0, 0);
	if (!st)
		return 1;
	if (st->protocol == IPPROTO_UDP && st->slot == 2 && (counts(st)->tx_packets || counts(st)->rx_packets))
		flow_report(st, counts(st)->tx_bytes, counts(st)->rx_bytes, counts(st)->tx_packets, counts(st)->rx_packets);
	return 1;
}
#endif
