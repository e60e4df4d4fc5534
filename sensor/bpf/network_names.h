// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Destinations that a policy knows by name. Part of network.bpf.c.
//
// The answer of a name server is read on its way in, before whoever asked can read it:
// an agent that adds addresses later loses the race against the connection that follows
// within microseconds.
//
// What an attacker in the workload gains: only answers that belong to a question count,
// by server, port, number and name, once each; the server must be on the workload's list
// for port 53, its own loopback not excepted. A datagram from port 53 needs a bind to
// it, or a raw socket, which the guards refuse. Whoever holds the name server, or the
// network in between, can still lie: DNS itself does not prove anything.
#ifndef BOLLWERK_NETWORK_NAMES_H
#define BOLLWERK_NETWORK_NAMES_H

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct bw_net_name);
	__type(value, struct bw_net_ports);
} net_names SEC(".maps");

// No LRU table: one workload with many addresses must not push out those of another.
// Each has BW_NAMED_MOST; the agent takes out what is over.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct bw_net_named_key);
	__type(value, struct bw_net_named);
} net_named SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct bw_net_question);
	__type(value, struct bw_net_asked);
} net_asked SEC(".maps");

// Does a row allow the port?
BW_INLINE int ports_allow(struct bw_net_ports *ports, __u32 set, __u16 port, __u8 protocol)
{
	struct bw_net_port pk = {.set = set, .id = ports->id, .port = port, .protocol = protocol};
	__u32 flags = ports->flags, any, high;

	any = protocol == IPPROTO_TCP ? BW_PORTS_ANY_TCP : protocol == IPPROTO_UDP ? BW_PORTS_ANY_UDP : BW_PORTS_ANY_TCP | BW_PORTS_ANY_UDP;
	high = protocol == IPPROTO_TCP ? BW_PORTS_HIGH_TCP : BW_PORTS_HIGH_UDP;
	if ((flags & any) == any || (port >= BW_HIGH_PORT && flags & high))
		return 1;
	return bpf_map_lookup_elem(&net_ports, &pk) != 0;
}

// An address that a name of the list led to, not long ago.
static __noinline int named(struct bw_net_set *set, const __u8 *addr, __u16 port, __u8 protocol)
{
	struct bw_net_named_key key __attribute__((aligned(8))) = {};
	struct bw_net_named *v;
	__u64 now;

	if (!set || !addr || !(set->flags & BW_SET_NAMES))
		return 0;
	key.set = set->set;
	copy_addr(key.address, addr);
	v = bpf_map_lookup_elem(&net_named, &key);
	if (!v)
		return 0;
	now = bpf_ktime_get_boot_ns();
	for (int i = 0; i < BW_NAMED_RULES; i++)
		if (v->till[i] > now && ports_allow(&v->rule[i], set->set * 2, port, protocol))
			return 1;
	return 0;
}
#endif
