// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Iterators: sockets that are older than the sensor, and those that live long. Part of
// network.bpf.c.
#ifndef BOLLWERK_NETWORK_ITER_H
#define BOLLWERK_NETWORK_ITER_H

struct bw_iter_meta {
	void *seq;
};
struct bw_iter_task_file {
	struct bw_iter_meta *meta;
	struct task_struct *task;
	__u64 fd;
	struct file___net *file;
};
struct bw_iter_storage {
	struct bw_iter_meta *meta;
	void *map;
	struct sock___net *sk;
	void *value;
};

BW_INLINE void existing_event(struct bw_iter_meta *meta, struct bw_sock *st, struct sock___net *sk, __u8 state)
{
	struct bw_net_event e;

	header_from(&e.h, st,
		    st->protocol == IPPROTO_UDP	      ? BW_BIND
		    : state == LISTEN		      ? BW_LISTEN
		    : st->direction == BW_NET_IN      ? BW_ACCEPT
						      : BW_CONNECT,
		    sizeof(e), BW_NET_ITER);
	copy_addr(e.remote, st->remote);
	__builtin_memset(e.local, 0, 16);
	local_of(e.local, sk);
	e.cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	e.count = 1;
	e.lport = st->lport;
	e.rport = st->rport;
	e.netns = st->netns;
	e.protocol = st->protocol;
	e.type = st->type;
	e.direction = st->direction;
	e.state = state;
	e.pad = 0;
	bpf_seq_write(meta->seq, &e, sizeof(e));
}

// A listener; of multipath TCP, which Go's speak, it is the inner socket, found by its
// address only.
BW_INLINE void existing_listener(struct bw_iter_meta *meta, struct sock___net *sk, struct task_struct *task, struct bw_net_state *s)
{
	struct bw_sock st = {}, *known;
	struct listen_key key;

	if (!sk || BPF_CORE_READ(sk, __sk_common.skc_state) != LISTEN)
		return;
	listen_key_of(&key, sk, netns_of(sk));
	known = bpf_map_lookup_elem(&listeners, &key);
	if (known) {
		if (known->flags & S_EXISTING && !(known->flags & S_IGNORE))
			existing_event(meta, known, sk, LISTEN);
		known->flags &= ~S_EXISTING;
		if (known->pid == BPF_CORE_READ(task, tgid)) // its policy or cgroup may be another now
			own(known, task, s);
		return;
	}
	own(&st, task, s);
	st.protocol = IPPROTO_TCP;
	st.type = SOCK_STREAM;
	st.direction = BW_NET_IN;
	st.flags |= S_LISTENER | S_EXISTING;
	st.lport = key.port;
	bpf_map_update_elem(&listeners, &key, &st, BPF_NOEXIST);
}

// Sockets that are older than the sensor get their owner by the descriptors of all
// processes. It runs twice at the start: listeners first tell their ports, by which
// the second pass knows who began an established connection; and again when a policy
// comes, so that sockets know its root.
SEC("iter/task_file")
int existing(struct bw_iter_task_file *ctx)
{
	struct file___net *file = ctx->file;
	struct task_struct *task = ctx->task;
	struct bw_net_state *s = state_now();
	struct tcp_sock___net *tp;
	struct socket___net *sock;
	struct sock___net *sk;
	struct listen_key key;
	struct bw_sock *st;
	__u64 at;
	__u8 family, state;

	if (!file || !task || !s)
		return 0;
	if (!typed()) { // of sockets there are no typed pointers before 5.11: listeners at least
		if ((BPF_CORE_READ(file, f_inode, i_mode) & 0170000) != 0140000)
			return 0;
		if (s->policies && bw_contained(task))
			bw_policy_of(task); // for the other iterator, as below
		sock = BPF_CORE_READ(file, private_data);
		sk = BPF_CORE_READ(sock, sk);
		family = BPF_CORE_READ(sk, __sk_common.skc_family);
		if ((family == AF_INET || family == AF_INET6) && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP)
			existing_listener(ctx->meta, sk, task, s);
		return 0;
	}
	sock = (void *)bpf_sock_from_file((void *)file);
	if (!sock)
		return 0;
	sk = sock->sk;
	if (!sk)
		return 0;
	if (sk->sk_protocol == PROTO_MPTCP) {
		existing_listener(ctx->meta, BPF_CORE_READ((struct mptcp_sock___net *)sk, first), task, s);
		return 0;
	}
	family = sk->__sk_common.skc_family;
	if ((family != AF_INET && family != AF_INET6) || (sk->sk_protocol != IPPROTO_TCP && sk->sk_protocol != IPPROTO_UDP))
		return 0;
	if (s->policies && bw_contained(task))
		bw_policy_of(task); // notes the root of the cgroup, for the other iterator
	if (sk->sk_protocol == IPPROTO_TCP && sk->__sk_common.skc_state == LISTEN) {
		existing_listener(ctx->meta, sk, task, s);
		return 0;
	}
	st = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (st && !(st->flags & S_EXISTING)) {
		if (st->pid == task->tgid)
			st->cgroup = bw_cgroup(task); // it may have been moved
		return 0;
	}
	state = sk->__sk_common.skc_state;
	if (sk->sk_protocol == IPPROTO_TCP && state == CLOSED)
		return 0; // nothing done with it yet
	if (!st) {
		at = number(sk);
		if (conn_of(at) || s->told)
			return 0; // known by another means
		st = bpf_sk_storage_get(&socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (!st)
			return 0;
		own(st, task, s);
		st->flags |= S_EXISTING;
		st->protocol = sk->sk_protocol;
		st->type = sk->sk_type;
		st->lport = sk->__sk_common.skc_num;
		st->rport = bpf_ntohs(sk->__sk_common.skc_dport);
		remote_of(st->remote, sk);
		if (st->protocol == IPPROTO_UDP) {
			st->direction = st->rport ? BW_NET_OUT : BW_NET_IN;
			if (!st->rport)
				st->flags |= S_SERVER;
			else
				st->slot = 2;
			st->flags |= S_SENT;
		} else {
			st->flags |= S_LONG;
			tp = (void *)bpf_skc_to_tcp_sock(sk);
			if (tp) { // traffic before now is not ours to tell
				counts(st)->said_tx_bytes = tp->bytes_sent - tp->bytes_retrans;
				counts(st)->said_rx_bytes = tp->bytes_received;
				counts(st)->said_tx_packets = tp->segs_out;
				counts(st)->said_rx_packets = tp->segs_in;
				counts(st)->said_connections = 1;
			}
		}
		return 0;
	}
	// second pass
	if (!st->direction) {
		listen_key_of(&key, sk, st->netns);
		st->direction = listener(&key) ? BW_NET_IN : BW_NET_OUT;
	}
	st->flags &= ~S_EXISTING;
	if (st->flags & S_IGNORE)
		return 0;
	existing_event(ctx->meta, st, sk, state);
	return 0;
}

// Puts what living sockets counted since the last time into the flow table, and tells
// them of the policy that came after them.
SEC("iter/bpf_sk_storage_map")
int living(struct bw_iter_storage *ctx)
{
	struct bw_net_state *s = state_now();
	struct sock___net *sk = ctx->sk;
	struct bw_sock *st = ctx->value;
	__u64 *root, cgroup;
	__u8 state;

	if (!sk || !s)
		return 0;
	if (typed())
		st = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (!st)
		return 0;
	if (s->policies && st->flags & S_CONTAINED) {
		cgroup = st->cgroup; // what the iterator lends is no key
		root = bpf_map_lookup_elem(&policy_roots, &cgroup);
		if (root)
			st->root = *root;
	}
	if (st->protocol == IPPROTO_UDP) {
		if (st->slot == 2 && (counts(st)->tx_packets || counts(st)->rx_packets))
			flow_report(st, counts(st)->tx_bytes, counts(st)->rx_bytes, counts(st)->tx_packets, counts(st)->rx_packets);
		return 0;
	}
	if (!typed())
		return 0; // its end tells all, as that cannot see what was told
	state = sk->__sk_common.skc_state;
	if (st->direction && st->flags & S_LONG && state != SYN_SENT && state != SYN_RECV && state != CLOSED && state != LISTEN)
		tcp_report_long(st, sk);
	return 0;
}
#endif
