// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What a policy allows. Part of network.bpf.c.
#ifndef BOLLWERK_NETWORK_GUARD_H
#define BOLLWERK_NETWORK_GUARD_H

// Does the list of networks of one direction allow it?
static __noinline int listed_plain(struct bw_net_set *set, const __u8 *addr, __u16 port, __u8 protocol, int in)
{
	struct bw_net_prefix key __attribute__((aligned(8))) = {.prefixlen = 160};
	struct bw_net_ports *ports;

	if (!set || !addr)
		return 0;
	key.set = set->set * 2 + (in ? 1 : 0);
	copy_addr(key.address, addr);
	ports = bpf_map_lookup_elem(&net_prefixes, &key);
	return ports && ports_allow(ports, key.set, port, protocol);
}

// Allowed by the workload's lists? A list that was not given (yet) allows.
static __noinline int listed(__u64 root, const __u8 *addr, __u16 port, __u8 protocol, int in)
{
	struct bw_net_set *set = bpf_map_lookup_elem(&net_sets, &root);

	if (!addr || !set || !(set->flags & (in ? BW_SET_INGRESS : BW_SET_EGRESS)))
		return 1;
	return listed_plain(set, addr, port, protocol, in) || (!in && named(set, addr, port, protocol));
}

static __noinline int bind_listed(__u64 root, __u16 port, __u8 protocol)
{
	struct bw_net_set *set = bpf_map_lookup_elem(&net_sets, &root);
	struct bw_net_port pk = {.port = port, .protocol = protocol};

	if (!set || !(set->flags & BW_SET_BIND))
		return 1;
	if (set->flags & (protocol == IPPROTO_TCP ? BW_SET_BIND_ANY_TCP : BW_SET_BIND_ANY_UDP))
		return 1;
	if (port >= BW_HIGH_PORT && set->flags & (protocol == IPPROTO_TCP ? BW_SET_BIND_HIGH_TCP : BW_SET_BIND_HIGH_UDP))
		return 1;
	pk.set = set->set | BW_SET_OF_BIND;
	return bpf_map_lookup_elem(&net_ports, &pk) != 0;
}

// Says that a guard spoke. enforce: it was denied.
static __noinline int guard_said(struct bw_sock *st, __u32 kind_source, __u32 guard, __u32 outcome)
{
	struct bw_net_event *e;
	__u16 kind = kind_source >> 8;
	__u64 n;

	if (!st)
		return 0;
	n = fresh_sock(st, deny_kind(kind), st->direction == BW_NET_IN ? st->lport : st->rport, outcome, DENY_AGAIN);
	if (!n)
		return 0;
	e = event_from(st, kind, kind_source & 0xff, n);
	if (!e)
		return 0;
	e->h.guard = guard;
	e->h.outcome = outcome;
	e->h.result = outcome == BW_DENIED ? -EPERM : 0;
	bw_submit(e, 1);
	return 0;
}
#define GUARD_NUMBER(g) ((g) == BW_GUARD_MINER ? 4 : (g) == BW_GUARD_EGRESS ? 9 : (g) == BW_GUARD_INGRESS ? 10 : 11)

BW_INLINE struct bw_policy *policy_by_root(__u64 root)
{
	return root ? bw_in_force(bpf_map_lookup_elem(&policies, &root)) : 0;
}

// connect, and unconnected sends: 0 refuses.
BW_INLINE int allow_egress(struct bw_sock *st, __u32 kind, __u32 source)
{
	struct bw_policy *p = policy_by_root(st->root);
	int deny;

	if (!p || !((p->enforce | p->report) & BW_GUARD_EGRESS))
		return 1;
	// A workload's own loopback is its own business; the host's is not.
	if (is_loopback(st->remote) && st->netns != config.host_net_ns)
		return 1;
	if (listed(p->root, st->remote, st->rport, st->protocol, 0))
		return 1;
	deny = (p->enforce & BW_GUARD_EGRESS) != 0;
	guard_said(st, kind << 8 | source, GUARD_NUMBER(BW_GUARD_EGRESS), deny ? BW_DENIED : BW_SEEN);
	if (deny)
		flow_failed(st);
	return !deny;
}
#endif
