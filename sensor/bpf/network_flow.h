// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Traffic summed up by workload and peer. Part of network.bpf.c.
#ifndef BOLLWERK_NETWORK_FLOW_H
#define BOLLWERK_NETWORK_FLOW_H

BW_INLINE int update_flow(void *table, struct bw_flow_key *key, struct bw_flow *add)
{
	struct bw_flow *f = bpf_map_lookup_elem(table, key);

	if (!f) {
		if (!bpf_map_update_elem(table, key, add, BPF_NOEXIST))
			return 1;
		f = bpf_map_lookup_elem(table, key);
		if (!f)
			return -1;
	}
	if (add->tx_packets) {
		bw_add(&f->tx_bytes, add->tx_bytes);
		bw_add(&f->tx_packets, add->tx_packets);
	}
	if (add->rx_packets) {
		bw_add(&f->rx_bytes, add->rx_bytes);
		bw_add(&f->rx_packets, add->rx_packets);
	}
	if (add->connections)
		bw_add(&f->connections, add->connections);
	if (add->failed)
		bw_add(&f->failed, add->failed);
	f->to = add->to;
	if (f->pid != add->pid) {
		f->pid = add->pid;
		f->start = add->start;
	}
	return 0;
}

// 1: the first of its key in this period, 0: added, -1: uncounted.
static __noinline int flow_add(struct bw_flow_key *key, struct bw_flow *add)
{
	struct bw_net_state *s = state_now();
	__u32 zero = 0;
	__u64 *lost;
	int r;

	if (!s)
		return -1;
	r = s->epoch & 1 ? update_flow(&flows_b, key, add) : update_flow(&flows_a, key, add);
	if (r >= 0)
		return r;
	// No room: the workload's traffic with "everybody else" is still exact.
	((__u64 *)key->remote)[0] = 0;
	((__u64 *)key->remote)[1] = 0;
	key->rport = 0;
	key->lport = 0;
	r = s->epoch & 1 ? update_flow(&flows_b, key, add) : update_flow(&flows_a, key, add);
	lost = bpf_map_lookup_elem(&net_overflow, &zero);
	if (r < 0 && lost)
		bw_add(lost, 1);
	return 0;
}

BW_INLINE void flow_key(struct bw_flow_key *key, struct bw_sock *st)
{
	key->cgroup = st->cgroup;
	copy_addr(key->remote, st->remote);
	key->rport = st->direction == BW_NET_IN ? 0 : st->rport;
	key->lport = st->direction == BW_NET_IN ? st->lport : 0;
	key->protocol = st->protocol;
	key->direction = st->direction;
	key->pad[0] = 0;
	key->pad[1] = 0;
}

BW_INLINE void flow_begin(struct bw_flow *f, struct bw_sock *st)
{
	f->to = bpf_ktime_get_boot_ns();
	f->from = f->to;
	f->start = st->start;
	f->pid = st->pid;
	f->netns = st->netns;
}

// Adds what `now` is ahead of what was said. Two programs may race (the close and the
// iterator): whoever swaps the value adds the difference.
BW_INLINE __u64 ahead(__u64 *said, __u64 now)
{
	__u64 old = *said;

	if (now <= old || __sync_val_compare_and_swap(said, old, now) != old)
		return 0;
	return now - old;
}

static __noinline int flow_report(struct bw_sock *st, __u64 tx_bytes, __u64 rx_bytes, __u64 tx_packets, __u64 rx_packets)
{
	struct bw_flow_key key = {};
	struct bw_flow f = {};

	if (!st || st->flags & S_IGNORE)
		return 0;
	f.tx_bytes = ahead(&counts(st)->said_tx_bytes, tx_bytes);
	f.rx_bytes = ahead(&counts(st)->said_rx_bytes, rx_bytes);
	f.tx_packets = ahead(&counts(st)->said_tx_packets, tx_packets);
	f.rx_packets = ahead(&counts(st)->said_rx_packets, rx_packets);
	f.connections = ahead(&counts(st)->said_connections, 1);
	if (!f.tx_packets && !f.rx_packets && !f.connections)
		return 0;
	flow_begin(&f, st);
	flow_key(&key, st);
	flow_add(&key, &f);
	return 0;
}

static __noinline int flow_failed(struct bw_sock *st)
{
	struct bw_flow_key key = {};
	struct bw_flow f = {.failed = 1};

	if (!st || st->flags & S_IGNORE)
		return 0;
	flow_begin(&f, st);
	flow_key(&key, st);
	flow_add(&key, &f);
	return 0;
}
#endif
