// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The program that follows the states of TCP. Part of network.bpf.c.
#ifndef BOLLWERK_NETWORK_STATE_H
#define BOLLWERK_NETWORK_STATE_H

// What the kernel counted for a connection: payload, without retransmissions; the
// received count holds one for the peer's FIN, which SOCK_DONE says has come.
BW_INLINE void tcp_counts(struct sock___net *sk, struct tcp_sock___net *tp, struct bw_flow *f)
{
	f->tx_bytes = tp->bytes_sent - tp->bytes_retrans;
	f->rx_bytes = tp->bytes_received;
	if (f->rx_bytes && sk->__sk_common.skc_flags & 2)
		f->rx_bytes--;
	f->tx_packets = tp->segs_out;
	f->rx_packets = tp->segs_in;
}

static __noinline int tcp_report_first(struct bw_sock *st, struct sock___net *sk)
{
	struct tcp_sock___net *tp = (void *)bpf_skc_to_tcp_sock(sk);
	struct bw_flow_key key = {};
	struct bw_flow f = {.connections = 1};

	if (!tp || !st)
		return 0;
	tcp_counts(sk, tp, &f);
	flow_begin(&f, st);
	flow_key(&key, st);
	flow_add(&key, &f);
	return 0;
}

// Adds a connection that closes to its flow; in place, when there is one already.
BW_INLINE void tcp_report(struct bw_sock *st, struct sock___net *sk)
{
	struct bw_net_state *s = state_now();
	struct bw_flow_place *p;
	struct tcp_sock___net *tp;
	struct bw_flow_key key;
	struct bw_flow *f, add;

	if (st->flags & S_IGNORE || !s)
		return;
	flow_key(&key, st);
	p = flow_place(&key, s);
	if (p && (p->state != BW_FLOW_HELD || !same_flow(&p->key, &key)))
		p = 0;
	f = p ? &p->flow : flow_listed(&key, s);
	tp = f ? (void *)bpf_skc_to_tcp_sock(sk) : 0;
	if (!f || !tp) {
		tcp_report_first(st, sk);
		return;
	}
	tcp_counts(sk, tp, &add);
	if (add.tx_bytes)
		bw_add(&f->tx_bytes, add.tx_bytes);
	if (add.rx_bytes)
		bw_add(&f->rx_bytes, add.rx_bytes);
	bw_add(&f->tx_packets, add.tx_packets);
	bw_add(&f->rx_packets, add.rx_packets);
	bw_add(&f->connections, 1);
	if (p)
		place_used(p);
	else
		f->to = bpf_ktime_get_boot_ns();
	if (f->pid != st->pid) {
		f->pid = st->pid;
		f->start = st->start;
	}
}

// The same for a socket with storage, of which a part may have been told before.
BW_INLINE void tcp_report_long(struct bw_sock *st, struct sock___net *sk)
{
	struct tcp_sock___net *tp = (void *)bpf_skc_to_tcp_sock(sk);
	struct bw_flow f;

	if (!tp)
		return;
	tcp_counts(sk, tp, &f);
	flow_report(st, f.tx_bytes, f.rx_bytes, f.tx_packets, f.rx_packets);
}

// Programs of this kind may make a cookie since 5.12; before it is read if there is one.
BW_INLINE __u64 cookie_of(struct sock___net *sk)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_check_mtu))
		return bpf_get_socket_cookie(sk);
	return BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
}

BW_INLINE int state_event(struct bw_sock *st, struct sock___net *sk, __u16 kind, __u16 port, int result)
{
	struct bw_net_event *e;
	__u64 n = fresh_sock(st, kind, port, result, 0);

	if (!n)
		return 0;
	e = event_from(st, kind, BW_NET_STATE, n);
	if (!e)
		return 0;
	local_of(e->local, sk);
	e->cookie = cookie_of(sk);
	e->h.result = -result;
	bw_submit(e, 0);
	return 0;
}

BW_INLINE __u32 netns_of(struct sock___net *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

// The listener that an accepted connection came from.
static __noinline struct bw_sock *listener(struct listen_key *key)
{
	struct bw_sock *l = bpf_map_lookup_elem(&listeners, key);

	if (l)
		return l;
	((__u64 *)key->local)[0] = 0;
	((__u64 *)key->local)[1] = 0;
	l = bpf_map_lookup_elem(&listeners, key);
	if (l)
		return l;
	key->port = 0;
	return bpf_map_lookup_elem(&listeners, key);
}

BW_INLINE void listen_key_of(struct listen_key *key, struct sock___net *sk, __u32 netns)
{
	local_of(key->local, sk);
	if (is_unspecified(key->local))
		__builtin_memset(key->local, 0, 16);
	key->netns = netns;
	key->port = BPF_CORE_READ(sk, __sk_common.skc_num);
}

// Fills in what is known of an accepted connection. sk is a typed pointer.
BW_INLINE int accepted(struct bw_sock *st, struct sock___net *sk, int newstate)
{
	struct tcp_sock___net *tp;
	struct listen_key key;
	struct bw_sock *l;

	if (sk->__sk_common.skc_family == AF_INET)
		map4(key.local, sk->__sk_common.skc_rcv_saddr);
	else
		local_of(key.local, sk);
	key.netns = sk->__sk_common.skc_net.net->ns.inum;
	key.port = sk->__sk_common.skc_num;
	if (newstate != ESTABLISHED) { // that is gone when the socket closes
		tp = (void *)bpf_skc_to_tcp_sock(sk);
		if (!tp)
			return 0;
		key.port = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
	}
	st->lport = key.port;
	l = listener(&key);
	if (!l)
		return 0;
	st->cgroup = l->cgroup;
	st->start = l->start;
	st->exe = l->exe;
	st->root = l->root;
	st->pid = l->pid;
	st->tid = l->tid;
	st->netns = l->netns;
	st->flags = l->flags & (S_CONTAINED | S_IGNORE);
	st->protocol = IPPROTO_TCP;
	st->type = SOCK_STREAM;
	st->direction = BW_NET_IN;
	if (sk->__sk_common.skc_family == AF_INET)
		map4(st->remote, sk->__sk_common.skc_daddr);
	else
		remote_of(st->remote, sk);
	st->rport = bpf_ntohs(sk->__sk_common.skc_dport);
	return 1;
}

static __noinline int began_to_listen(struct sock___net *sk)
{
	struct bw_net_state *s = state_now();
	struct bw_sock st = {};
	struct listen_key key;
	struct bw_policy *p;
	int kill;

	if (!s)
		return 0;
	own(&st, current_typed(), s);
	st.protocol = IPPROTO_TCP;
	st.type = SOCK_STREAM;
	st.direction = BW_NET_IN;
	st.lport = sk->__sk_common.skc_num;
	st.flags |= S_LISTENER;
	listen_key_of(&key, sk, st.netns);
	bpf_map_update_elem(&listeners, &key, &st, BPF_ANY);
	p = policy_by_root(st.root);
	// bind to a listed port was allowed before; this one took whatever the kernel gave.
	if (p && (p->enforce | p->report) & BW_GUARD_BIND && !bind_listed(p->root, st.lport, IPPROTO_TCP)) {
		kill = p->enforce & BW_GUARD_BIND && !bpf_send_signal(9);
		guard_said(&st, BW_LISTEN << 8 | BW_NET_STATE, GUARD_NUMBER(BW_GUARD_BIND), kill ? BW_KILLED : BW_SEEN);
		return 0;
	}
	return state_event(&st, sk, BW_LISTEN, st.lport, 0);
}

// The kernel tells of a listener before it asks whether the port is still free (others may be
// bound to it, too). Where it is not, the socket is closed in the same call: what was told is
// followed by how it ended. Not before 5.15, where programs cannot know the call.
static __noinline int listen_failed(struct sock___net *sk)
{
	struct bw_net_state *s = state_now();
	struct bw_sock st = {};

	if (!s || !bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return 0;
	if (number_of(bpf_get_current_task_btf(), (void *)bpf_task_pt_regs((void *)bpf_get_current_task_btf())) != NR_listen)
		return 0; // a listener that is closed
	own(&st, current_typed(), s);
	st.protocol = IPPROTO_TCP;
	st.type = SOCK_STREAM;
	st.direction = BW_NET_IN;
	st.lport = sk->__sk_common.skc_num;
	return state_event(&st, sk, BW_LISTEN, st.lport, EADDRINUSE);
}

// The inner socket of multipath TCP may be made by a thread of the kernel: its traffic is
// the outer one's.
BW_INLINE int is_inner(struct sock___net *sk)
{
	struct tcp_sock___net *tp = (void *)bpf_skc_to_tcp_sock(sk);

	return tp && (!bpf_core_field_exists(tp->is_mptcp) || tp->is_mptcp);
}

// A connection that passed no connect hook: there is none, or it is the inner socket of
// multipath TCP.
static __noinline int began(struct sock___net *sk)
{
	struct bw_net_state *s = state_now();
	struct task_struct *t = current_typed();
	struct bw_sock st = {};

	if (!s)
		return 0;
	own(&st, t, s);
	if ((typed() ? t->flags : BPF_CORE_READ(t, flags)) & BW_PF_KTHREAD && is_inner(sk))
		st.flags |= S_IGNORE;
	if (sk->__sk_common.skc_family == AF_INET)
		map4(st.remote, sk->__sk_common.skc_daddr);
	else
		remote_of(st.remote, sk);
	st.rport = bpf_ntohs(sk->__sk_common.skc_dport);
	st.protocol = IPPROTO_TCP;
	st.type = SOCK_STREAM;
	st.direction = BW_NET_OUT;
	st.probe = st.flags & S_CONTAINED && !(config.options & BW_NET_OPT_NO_PROBE) ? 3 : 0;
	st.asked = st.probe;
	remember(number(sk), &st);
	return 0;
}

static __noinline int accepted_state(struct sock___net *sk, int newstate)
{
	struct bw_sock in = {};

	if (!accepted(&in, sk, newstate))
		return 0;
	if (newstate == ESTABLISHED) {
		placed(number(sk), &in);
		return state_event(&in, sk, BW_ACCEPT, in.lport, 0);
	}
	tcp_report(&in, sk);
	return 0;
}

static __noinline int closed(struct sock___net *sk, int oldstate)
{
	__u64 at = number(sk);
	struct bw_sock *st = conn_of(at), *stored;
	int result;

	// A connection that nothing was noted of may be one that is older than the sensor. The
	// storage is closed to programs of this kind before 5.11: there all is told here.
	if (!st || (st->flags & S_LONG && typed())) {
		stored = typed() ? bpf_sk_storage_get(&socks, sk, 0, 0) : 0;
		if (stored && stored->flags & S_LONG)
			tcp_report_long(stored, sk);
		else if (!st && oldstate != SYN_SENT)
			return accepted_state(sk, CLOSED);
	} else if (oldstate == SYN_SENT) {
		result = sk->sk_err;
		if (!result)
			result = ECANCELED; // closed by its owner before an answer came
		flow_failed(st);
		state_event(st, sk, BW_CONNECT, st->rport, result);
	} else {
		tcp_report(st, sk);
	}
	if (st)
		forget(at);
	return 0;
}

static __noinline int established(struct sock___net *sk)
{
	struct bw_sock *st = conn_of(number(sk));

	if (!st)
		return 0;
	st->lport = sk->__sk_common.skc_num;
	return state_event(st, sk, BW_CONNECT, st->rport, 0);
}

// Needs no stack itself: those that it calls need all that 6.1 gives.
static __noinline int changed(struct sock___net *sk, int oldstate, int newstate)
{
	struct bw_sock *st;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (newstate == LISTEN)
		return began_to_listen(sk);
	if (newstate == CLOSED)
		return oldstate == LISTEN ? listen_failed(sk) : closed(sk, oldstate);
	if (newstate == ESTABLISHED)
		return oldstate == SYN_RECV ? accepted_state(sk, newstate) : established(sk);
	st = conn_of(number(sk));
	if (st && st->flags & S_ASKED) {
		st->flags &= ~S_ASKED;
		return 0;
	}
	return began(sk);
}

// Half of the changes of a connection say nothing new: they leave before anything else.
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock___net *sk, int oldstate, int newstate)
{
	__u32 old = 1u << oldstate, new = 1u << newstate;

	if (!(new & (1 << ESTABLISHED | 1 << SYN_SENT | 1 << CLOSED | 1 << LISTEN)))
		return 0;
	if (new & 1 << ESTABLISHED ? !(old & (1 << SYN_SENT | 1 << SYN_RECV))
				   : new & 1 << CLOSED && old & (1 << SYN_RECV | 1 << CLOSED))
		return 0;
	return changed(sk, oldstate, newstate);
}
#endif
