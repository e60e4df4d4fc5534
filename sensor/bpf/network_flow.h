// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Traffic summed up by workload and peer. Part of network.bpf.c.
#ifndef BOLLWERK_NETWORK_FLOW_H
#define BOLLWERK_NETWORK_FLOW_H

BW_INLINE int same_flow(const struct bw_flow_key *a, const struct bw_flow_key *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}
_Static_assert(sizeof(struct bw_flow_key) == 32, "compared as four words");

// The place of a flow, whoever has it. Older kernels do with the table alone: before 5.12
// they cannot give a place to one of two, and before 6.2 every byte of the stack is used.
BW_INLINE struct bw_flow_place *flow_place(struct bw_flow_key *key, struct bw_net_state *s)
{
	__u64 *w = (__u64 *)key, h = w[0] ^ w[1] * 0x9e3779b97f4a7c15ULL;
	__u32 i;

	if (!bpf_rdonly_cast)
		return 0;
	h = (h ^ w[2]) * 0xff51afd7ed558ccdULL;
	h = (h ^ w[3] ^ h >> 32) * 0x9e3779b97f4a7c15ULL;
	i = h >> (64 - FLOW_BITS);
	return s->epoch & 1 ? bpf_map_lookup_elem(&flow_places_b, &i) : bpf_map_lookup_elem(&flow_places_a, &i);
}

BW_INLINE struct bw_flow *flow_listed(struct bw_flow_key *key, struct bw_net_state *s)
{
	return s->epoch & 1 ? bpf_map_lookup_elem(&flows_b, key) : bpf_map_lookup_elem(&flows_a, key);
}

// When it was used last, to a tick of the kernel's clock: asking for more costs ten times
// as much.
BW_INLINE void place_used(struct bw_flow_place *p)
{
	__u64 tick = bpf_jiffies64();

	if (p->tick == tick)
		return;
	p->tick = tick;
	p->flow.to = bpf_ktime_get_boot_ns();
}

BW_INLINE void flow_sum(struct bw_flow *f, struct bw_flow *add)
{
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
}

BW_INLINE int update_flow(struct bw_flow_key *key, struct bw_flow *add, struct bw_net_state *s)
{
	struct bw_flow *f = flow_listed(key, s);

	if (!f) {
		if (!(s->epoch & 1 ? bpf_map_update_elem(&flows_b, key, add, BPF_NOEXIST) : bpf_map_update_elem(&flows_a, key, add, BPF_NOEXIST)))
			return 1;
		f = flow_listed(key, s);
		if (!f)
			return -1;
	}
	flow_sum(f, add);
	return 0;
}

// 1: the first of its key in this period, 0: added, -1: uncounted.
static __noinline int flow_add(struct bw_flow_key *key, struct bw_flow *add)
{
	struct bw_net_state *s = state_now();
	struct bw_flow_place *p;
	__u32 zero = 0;
	__u64 *lost;
	int r;

	if (!s)
		return -1;
	p = flow_place(key, s);
	if (p && p->state == BW_FLOW_HELD && same_flow(&p->key, key)) {
		flow_sum(&p->flow, add);
		return 0;
	}
	if (p && !p->state && !__sync_val_compare_and_swap(&p->state, BW_FLOW_FREE, BW_FLOW_FILLING)) {
		p->key = *key;
		p->flow = *add;
		p->tick = 0;
		// Whoever sees it held sees what it holds: an exchange is a barrier.
		__sync_val_compare_and_swap(&p->state, BW_FLOW_FILLING, BW_FLOW_HELD);
		return 1;
	}
	r = update_flow(key, add, s);
	if (r >= 0)
		return r;
	// No room: the workload's traffic with "everybody else" is still exact.
	((__u64 *)key->remote)[0] = 0;
	((__u64 *)key->remote)[1] = 0;
	key->rport = 0;
	key->lport = 0;
	r = update_flow(key, add, s);
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
