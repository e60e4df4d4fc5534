//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The network: connections with their result, listeners, datagrams, DNS, flows, and the
// refusal of what a workload's policy does not allow.
//
// Who a socket belongs to is noted where a process uses it (connect, listen, first
// datagram); packets and state changes, which come in interrupts, find it there. TCP is
// counted by the kernel already, so its flows cost nothing per packet: they are read at
// the close. A socket gets storage of its own only when it lasts (datagrams, connections
// of more than LONG segments), as making and freeing that costs more than all the rest:
// an iterator reads those while they live.
// bpf2go-type: bw_net_event bw_dns_event bw_probe_event bw_flow_key bw_flow bw_seen_key
// bpf2go-type: bw_seen bw_net_set bw_net_prefix bw_net_ports bw_net_port bw_net_state
#include "bollwerk.h"
#include "network.h"
#include <bpf/bpf_endian.h>
#include <linux/in.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

// Their types reach the Go side by these.
struct bw_net_event *unused_net_event __attribute__((unused));
struct bw_dns_event *unused_dns_event __attribute__((unused));
struct bw_probe_event *unused_probe_event __attribute__((unused));

#define AF_INET 2
#define PROTO_MPTCP 262
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define EPERM 1
#define ENETUNREACH 101
#define ECANCELED 125
enum { ESTABLISHED = 1, SYN_SENT = 2, SYN_RECV = 3, CLOSED = 7, LISTEN = 10 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct in6_addr___net {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};
typedef struct {
	struct net *net;
} possible_net_t___net;
struct sock_common___net {
	__be32 skc_daddr, skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t___net skc_net;
	struct in6_addr___net skc_v6_daddr, skc_v6_rcv_saddr;
	struct {
		__s64 counter;
	} skc_cookie;
	unsigned long skc_flags;
};
struct sock___net {
	struct sock_common___net __sk_common;
	__u16 sk_protocol, sk_type;
	int sk_err;
};
struct socket___net {
	struct sock___net *sk;
};
struct inet_sock___net {
	__be16 inet_sport;
};
struct inet_connection_sock___net {
	struct inet_sock___net icsk_inet;
};
struct tcp_sock___net {
	struct inet_connection_sock___net inet_conn;
	__u64 bytes_sent, bytes_retrans, bytes_received;
	__u32 segs_out, segs_in;
};
struct mptcp_sock___net {
	struct sock___net *first;
};
struct inode___net {
	unsigned long i_ino;
};
struct file___net {
	struct inode___net *f_inode;
};
struct mm_struct___net {
	struct file___net *exe_file;
};
struct task_struct___net {
	struct mm_struct___net *mm;
};
#pragma clang attribute pop

// What is known of a socket.
struct bw_sock {
	__u64 cgroup, start, exe;
	__u64 root; // of the policy, 0 for none
	__u32 pid, tid;
	__u32 netns;
	__u32 flags;
	__u8 remote[16]; // of the connection, or of the first peer
	__u16 rport, lport;
	__u8 protocol, direction, type;
	__u8 probe;  // data packets of a new connection still to look at
	__u32 slot;  // datagrams: 0 no peer yet, 1 being set, 2 remote and rport hold
	__u32 asked; // bind: the port asked for
	__u64 tx_bytes, rx_bytes, tx_packets, rx_packets; // datagrams of the slot, only rising
	__u64 said_tx_bytes, said_rx_bytes, said_tx_packets, said_rx_packets; // already in a flow
	__u64 said_connections;
};
#define S_CONTAINED 1
#define S_IGNORE 2    // the agent's own
#define S_LISTENER 4
#define S_LONG 512    // storage of a connection: what was said of it stands there
#define S_SERVER 8    // datagrams: bound to a port of its choice
#define S_ASKED 16    // connect called, no state change yet
#define S_SENT 32     // first datagram to the slot's peer was seen
#define S_BLOCKED 64  // refused by content
#define S_EXISTING 128
#define S_BARE_LENGTH 256 // DNS over TCP: the length came alone

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct bw_sock);
} socks SEC(".maps");

// Two tables in turn: one is filled while the other is read and emptied.
struct bw_flow_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct bw_flow_key);
	__type(value, struct bw_flow);
} flows_a SEC(".maps"), flows_b SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct bw_seen_key);
	__type(value, struct bw_seen);
} net_seen SEC(".maps");

struct rate {
	__u64 window;
	__u64 count;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct rate);
} dns_rates SEC(".maps");

// Outgoing connections, by the address of the socket, from connect to the close.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct bw_sock);
} conns SEC(".maps");

// Who listens: the owner of what is accepted. The address is zero for all addresses; the
// port is zero for a socket that listens without bind, as it has none yet.
struct listen_key {
	__u8 local[16];
	__u32 netns;
	__u32 port;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct listen_key);
	__type(value, struct bw_sock);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct bw_net_set);
} net_sets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct bw_net_prefix);
	__type(value, struct bw_net_ports);
} net_prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct bw_net_port);
	__type(value, __u8);
} net_ports SEC(".maps");

struct bw_net_state {
	__u32 epoch;    // which flow table is filled
	__u32 policies; // how many network policies are in force
	__u32 told;     // the sockets that are older than the sensor are known
	__u32 pad;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bw_net_state);
} net_state SEC(".maps");

// Flow updates that found no room, not even in the workload's rest.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} net_overflow SEC(".maps");

// Who sent datagrams to a server of a restricted workload: it may answer.
struct asker {
	__u64 root;
	__u8 remote[16];
	__u16 rport, lport;
	__u32 netns;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct asker);
	__type(value, __u64);
} askers SEC(".maps");

#define IDLE (300ULL * 1000000000)
#define AGAIN (60ULL * 1000000000)
#define DENY_AGAIN (10ULL * 1000000000)
#define DNS_RATE 500 // records a second and workload

BW_INLINE struct bw_net_state *state_now(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&net_state, &zero);
}

BW_INLINE void map4(__u8 *to, __be32 a)
{
	__u32 *w = (__u32 *)to;

	w[0] = 0;
	w[1] = 0;
	w[2] = bpf_htonl(0xffff);
	w[3] = a;
}

BW_INLINE int same_addr(const __u8 *a, const __u8 *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1];
}

BW_INLINE void copy_addr(__u8 *to, const __u8 *from)
{
	((__u64 *)to)[0] = ((const __u64 *)from)[0];
	((__u64 *)to)[1] = ((const __u64 *)from)[1];
}

BW_INLINE int is_loopback(const __u8 *a)
{
	const __u32 *w = (const __u32 *)a;

	if (w[0] || w[1])
		return 0;
	if (w[2] == bpf_htonl(0xffff))
		return a[12] == 127 || !w[3];
	return !w[2] && (w[3] == bpf_htonl(1) || !w[3]);
}

BW_INLINE int is_unspecified(const __u8 *a)
{
	const __u32 *w = (const __u32 *)a;

	return !w[0] && !w[1] && !w[3] && (!w[2] || w[2] == bpf_htonl(0xffff));
}

// Reading through typed pointers costs a load each, by bpf_probe_read_kernel twenty
// times that. Kernels before 5.11 have only the latter.
BW_INLINE int typed(void)
{
	return bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf);
}

BW_INLINE struct task_struct *current_typed(void)
{
	return typed() ? bpf_get_current_task_btf() : bw_current();
}

BW_INLINE __u64 cgroup_typed(struct task_struct *t)
{
	struct css_set *set = t->cgroups;
	struct cgroup_subsys_state *css;
	struct cgroup *c;
	void *at;

	if (!set)
		return 0;
	at = &set->subsys[0];
	switch (config.hierarchy) {
	case BW_CGROUP_MEMORY: css = *(void **)(at + 8 * bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id)); break;
	case BW_CGROUP_PIDS: css = *(void **)(at + 8 * bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id)); break;
	case BW_CGROUP_CPU: css = *(void **)(at + 8 * bpf_core_enum_value(enum cgroup_subsys_id, cpu_cgrp_id)); break;
	default: c = set->dfl_cgrp; return c && c->kn ? c->kn->id : 0;
	}
	if (!css)
		return 0;
	c = css->cgroup;
	return c && c->kn ? c->kn->id : 0;
}

// Fills in whose socket it is; t is a typed pointer where typed().
BW_INLINE void own_typed(struct bw_sock *st, struct task_struct *t)
{
	struct task_struct___net *n = (void *)t;
	struct mm_struct___net *mm = n->mm;
	struct nsproxy *ns = t->nsproxy;
	struct task_struct *leader = t->group_leader;
	struct mnt_namespace *mnt = 0;
	struct pid_namespace *pid = 0;
	struct net *net = 0;
	struct file___net *exe = 0;
	struct inode___net *inode = 0;

	st->pid = t->tgid;
	st->tid = t->pid;
	if (leader)
		st->start = leader->start_boottime;
	st->cgroup = cgroup_typed(t);
	if (mm)
		exe = mm->exe_file;
	if (exe)
		inode = exe->f_inode;
	if (inode)
		st->exe = inode->i_ino;
	if (!ns)
		return;
	mnt = ns->mnt_ns;
	pid = ns->pid_ns_for_children;
	net = ns->net_ns;
	if (net)
		st->netns = net->ns.inum;
	if (mnt && pid && (mnt->ns.inum != config.host_mnt_ns || pid->ns.inum != config.host_pid_ns))
		st->flags |= S_CONTAINED;
}

BW_INLINE void own_untyped(struct bw_sock *st, struct task_struct *t)
{
	struct task_struct___net *n = (void *)t;

	st->cgroup = bw_cgroup(t);
	st->pid = BPF_CORE_READ(t, tgid);
	st->tid = BPF_CORE_READ(t, pid);
	st->start = BPF_CORE_READ(t, group_leader, start_boottime);
	st->exe = BPF_CORE_READ(n, mm, exe_file, f_inode, i_ino);
	st->netns = BPF_CORE_READ(t, nsproxy, net_ns, ns.inum);
	if (bw_contained(t))
		st->flags |= S_CONTAINED;
}

// Whose socket this is from now on.
BW_INLINE int own(struct bw_sock *st, struct task_struct *t, __u32 policies)
{
	struct bw_policy *p;

	st->exe = 0;
	st->flags &= ~(S_CONTAINED | S_IGNORE);
	if (typed())
		own_typed(st, t);
	else
		own_untyped(st, t);
	if (st->pid == config.agent_pid)
		st->flags |= S_IGNORE;
	st->root = 0;
	// What shares the host's namespaces is never held to a policy, wherever it sits:
	// container runtimes leave helpers of theirs in the container's cgroup.
	if (policies && st->flags & S_CONTAINED) {
		p = bw_policy_of(t);
		if (p)
			st->root = p->root;
	}
	return 0;
}

BW_INLINE void header_from(struct bw_header *h, struct bw_sock *st, __u16 kind, __u32 size, __u8 source)
{
	h->time = bpf_ktime_get_boot_ns();
	h->cgroup = st->cgroup;
	h->start = st->start;
	h->pid = st->pid;
	h->tid = st->tid;
	h->size = size;
	h->kind = kind;
	h->outcome = BW_SEEN;
	h->source = source;
	h->result = 0;
	h->flags = st->flags & S_CONTAINED ? BW_F_CONTAINED : 0;
	h->guard = 0;
	h->pad = 0;
}

// How many equal events to report now; 0 for one that is only counted. With `every`
// it is reported again that long after the last report, else after that much quiet.
static __noinline __u64 fresh(struct bw_seen_key *key, __u64 idle, __u64 every)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct bw_seen *s = bpf_map_lookup_elem(&net_seen, key), first = {.last = now, .total = 1};
	__u64 n;

	if (!s) {
		bpf_map_update_elem(&net_seen, key, &first, BPF_ANY);
		return 1;
	}
	__sync_fetch_and_add(&s->total, 1);
	if (every ? now - s->last > every : now - s->last > idle) {
		n = s->count + 1;
		s->count = 0;
		s->last = now;
		return n;
	}
	if (!every)
		s->last = now;
	__sync_fetch_and_add(&s->count, 1);
	return 0;
}

BW_INLINE __u64 fresh_sock(struct bw_sock *st, __u8 kind, __u16 port, int result, __u64 every)
{
	struct bw_seen_key key = {
		.cgroup = st->cgroup, .exe = st->exe, .port = port, .protocol = st->protocol, .kind = kind, .result = result,
	};

	if (st->flags & S_IGNORE)
		return 0;
	copy_addr(key.remote, st->remote);
	return fresh(&key, IDLE, every);
}

#define deny_kind(kind) (0x80 | (kind))

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
		__sync_fetch_and_add(&f->tx_bytes, add->tx_bytes);
		__sync_fetch_and_add(&f->tx_packets, add->tx_packets);
	}
	if (add->rx_packets) {
		__sync_fetch_and_add(&f->rx_bytes, add->rx_bytes);
		__sync_fetch_and_add(&f->rx_packets, add->rx_packets);
	}
	if (add->connections)
		__sync_fetch_and_add(&f->connections, add->connections);
	if (add->failed)
		__sync_fetch_and_add(&f->failed, add->failed);
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
		__sync_fetch_and_add(lost, 1);
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
	f.tx_bytes = ahead(&st->said_tx_bytes, tx_bytes);
	f.rx_bytes = ahead(&st->said_rx_bytes, rx_bytes);
	f.tx_packets = ahead(&st->said_tx_packets, tx_packets);
	f.rx_packets = ahead(&st->said_rx_packets, rx_packets);
	f.connections = ahead(&st->said_connections, 1);
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

BW_INLINE struct bw_net_event *event_from(struct bw_sock *st, __u16 kind, __u8 source, __u64 count)
{
	struct bw_net_event *e = bw_reserve(sizeof(*e));

	if (!e) {
		bw_lost(st->cgroup, kind);
		return 0;
	}
	header_from(&e->h, st, kind, sizeof(*e), source);
	copy_addr(e->remote, st->remote);
	__builtin_memset(e->local, 0, 16);
	e->cookie = 0;
	e->count = count;
	e->rport = st->rport;
	e->lport = st->lport;
	e->netns = st->netns;
	e->protocol = st->protocol;
	e->type = st->type;
	e->direction = st->direction;
	e->state = 0;
	e->pad = 0;
	return e;
}

BW_INLINE void local_of(__u8 *to, struct sock___net *sk)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET)
		map4(to, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
	else
		BPF_CORE_READ_INTO((__u8(*)[16])to, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
}

BW_INLINE void remote_of(__u8 *to, struct sock___net *sk)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET)
		map4(to, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	else
		BPF_CORE_READ_INTO((__u8(*)[16])to, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
}

// Allowed by the workload's lists? A list that was not given (yet) allows.
static __noinline int listed(__u64 root, const __u8 *addr, __u16 port, __u8 protocol, int in)
{
	struct bw_net_set *set = bpf_map_lookup_elem(&net_sets, &root);
	struct bw_net_prefix key = {.prefixlen = 160};
	struct bw_net_port pk = {.port = port, .protocol = protocol};
	struct bw_net_ports *ports;
	__u32 any;

	if (!addr || !set || !(set->flags & (in ? BW_SET_INGRESS : BW_SET_EGRESS)))
		return 1;
	key.set = set->set * 2 + (in ? 1 : 0);
	copy_addr(key.address, addr);
	ports = bpf_map_lookup_elem(&net_prefixes, &key);
	if (!ports)
		return 0;
	any = protocol == IPPROTO_TCP ? BW_PORTS_ANY_TCP : protocol == IPPROTO_UDP ? BW_PORTS_ANY_UDP : BW_PORTS_ANY_TCP | BW_PORTS_ANY_UDP;
	if ((ports->flags & any) == any)
		return 1;
	pk.set = key.set;
	pk.id = ports->id;
	return bpf_map_lookup_elem(&net_ports, &pk) != 0;
}

static __noinline int bind_listed(__u64 root, __u16 port, __u8 protocol)
{
	struct bw_net_set *set = bpf_map_lookup_elem(&net_sets, &root);
	struct bw_net_port pk = {.port = port, .protocol = protocol};

	if (!set || !(set->flags & BW_SET_BIND))
		return 1;
	if (set->flags & (protocol == IPPROTO_TCP ? BW_SET_BIND_ANY_TCP : BW_SET_BIND_ANY_UDP))
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

	if (!s || !s->policies)
		return 1;
	own(&st, current_typed(), 1);
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

BW_INLINE void remember(__u64 at, struct bw_sock *st)
{
	if (bpf_map_update_elem(&conns, &at, st, BPF_ANY))
		bw_lost(st->cgroup, BW_CONNECT); // more connections at once than there is room for
}

BW_INLINE int connecting(struct bpf_sock_addr *ctx, int v6)
{
	struct bw_net_state *s = state_now();
	__u32 protocol = ctx->protocol;
	struct bw_sock *st, fresh_conn = {};
	__u64 at = (__u64)ctx->sk;

	if (protocol == PROTO_MPTCP)
		return allow_passing(ctx, v6, IPPROTO_TCP, BW_CONNECT, BW_NET_CONNECT);
	if (!s || (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP))
		return 1;
	if (protocol == IPPROTO_TCP) {
		st = bpf_map_lookup_elem(&conns, &at);
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
			flow_report(st, st->tx_bytes, st->rx_bytes, st->tx_packets, st->rx_packets);
		st->flags &= ~(S_SENT | S_SERVER);
		st->said_connections = 0;
		st->slot = 2;
	}
	own(st, current_typed(), s->policies);
	address_of(st->remote, ctx, v6);
	st->rport = bpf_ntohs(ctx->user_port);
	st->protocol = protocol;
	st->type = ctx->type;
	st->direction = BW_NET_OUT;
	if (!allow_egress(st, BW_CONNECT, BW_NET_CONNECT))
		return 0;
	if (protocol == IPPROTO_TCP) {
		st->probe = st->flags & S_CONTAINED && !(config.options & BW_NET_OPT_NO_PROBE) ? 3 : 0;
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
	own(st, current_typed(), s->policies);
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
	own(&st, current_typed(), s->policies);
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
	__u64 at = (__u64)ctx;

	if (ctx->protocol == IPPROTO_TCP) {
		st = bpf_map_lookup_elem(&conns, &at);
		if (st && st->flags & S_ASKED) {
			not_sent(st);
			bpf_map_delete_elem(&conns, &at);
		}
		return 1;
	}
	if (ctx->protocol != IPPROTO_UDP)
		return 1;
	st = bpf_sk_storage_get(&socks, ctx, 0, 0);
	if (!st)
		return 1;
	if (st->protocol == IPPROTO_UDP && st->slot == 2 && (st->tx_packets || st->rx_packets))
		flow_report(st, st->tx_bytes, st->rx_bytes, st->tx_packets, st->rx_packets);
	return 1;
}

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

BW_INLINE void tcp_report(struct bw_sock *st, struct sock___net *sk)
{
	struct tcp_sock___net *tp = (void *)bpf_skc_to_tcp_sock(sk);
	struct bw_flow_key key = {};
	struct bw_flow f = {.connections = 1};

	if (!tp || st->flags & S_IGNORE)
		return;
	tcp_counts(sk, tp, &f);
	if (st->flags & S_LONG) {
		flow_report(st, f.tx_bytes, f.rx_bytes, f.tx_packets, f.rx_packets);
		return;
	}
	flow_begin(&f, st);
	flow_key(&key, st);
	flow_add(&key, &f);
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
	e->cookie = bpf_get_socket_cookie(sk);
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
BW_INLINE int accepted(struct bw_sock *st, struct sock___net *sk)
{
	struct tcp_sock___net *tp;
	struct listen_key key;
	struct bw_sock *l;

	if (sk->__sk_common.skc_family == AF_INET)
		map4(key.local, sk->__sk_common.skc_rcv_saddr);
	else
		local_of(key.local, sk);
	key.netns = sk->__sk_common.skc_net.net->ns.inum;
	// skc_num is gone when the socket closes.
	tp = (void *)bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	key.port = bpf_ntohs(tp->inet_conn.icsk_inet.inet_sport);
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
	own(&st, current_typed(), s->policies);
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

// A connection that passed no connect hook: the inner socket of multipath TCP.
static __noinline int began_inside(struct sock___net *sk)
{
	struct bw_net_state *s = state_now();
	struct task_struct *t = current_typed();
	struct bw_sock st = {};

	if (!s)
		return 0;
	own(&st, t, s->policies);
	if (BPF_CORE_READ(t, flags) & BW_PF_KTHREAD)
		st.flags |= S_IGNORE;
	remote_of(st.remote, sk);
	st.rport = bpf_ntohs(sk->__sk_common.skc_dport);
	st.protocol = IPPROTO_TCP;
	st.type = SOCK_STREAM;
	st.direction = BW_NET_OUT;
	st.probe = st.flags & S_CONTAINED && !(config.options & BW_NET_OPT_NO_PROBE) ? 3 : 0;
	remember((__u64)sk, &st);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock___net *sk, int oldstate, int newstate)
{
	struct bw_sock *st, in = {};
	__u64 at = (__u64)sk;
	int result;

	if (newstate != ESTABLISHED && newstate != CLOSED && newstate != LISTEN && newstate != SYN_SENT)
		return 0;
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (newstate == LISTEN)
		return began_to_listen(sk);
	if (newstate == SYN_SENT) {
		st = bpf_map_lookup_elem(&conns, &at);
		if (st && st->flags & S_ASKED) {
			st->flags &= ~S_ASKED;
			return 0;
		}
		return began_inside(sk);
	}
	if (newstate == ESTABLISHED) {
		if (oldstate == SYN_SENT) {
			st = bpf_map_lookup_elem(&conns, &at);
			if (!st)
				return 0;
			st->lport = sk->__sk_common.skc_num;
			return state_event(st, sk, BW_CONNECT, st->rport, 0);
		}
		if (oldstate != SYN_RECV || !accepted(&in, sk))
			return 0;
		return state_event(&in, sk, BW_ACCEPT, in.lport, 0);
	}
	if (oldstate == LISTEN || oldstate == SYN_RECV || oldstate == CLOSED)
		return 0;
	st = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (st && st->flags & S_LONG) {
		tcp_report(st, sk);
		if (st->direction == BW_NET_OUT)
			bpf_map_delete_elem(&conns, &at);
		return 0;
	}
	st = bpf_map_lookup_elem(&conns, &at);
	if (!st) {
		if (oldstate != SYN_SENT && accepted(&in, sk))
			tcp_report(&in, sk);
		return 0;
	}
	if (oldstate == SYN_SENT) {
		result = sk->sk_err;
		if (!result)
			result = ECANCELED; // closed by its owner before an answer came
		flow_failed(st);
		state_event(st, sk, BW_CONNECT, st->rport, result);
	} else {
		tcp_report(st, sk);
	}
	bpf_map_delete_elem(&conns, &at);
	return 0;
}

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
	if (bpf_skb_load_bytes(skb, p->l4, ports, sizeof(ports)))
		return 0;
	p->rport = bpf_ntohs(egress ? ports[1] : ports[0]);
	p->lport = bpf_ntohs(egress ? ports[0] : ports[1]);
	p->bytes = skb->len - p->l4;
	return 1;
}

// The end is read from memory, not passed in a register: else the verifier follows every
// length by itself.
BW_INLINE __u64 hash(const __u8 *b, const volatile __u16 *to, __u32 from, __u32 cap)
{
	__u32 end = *to;
	__u64 h = 0x9e3779b97f4a7c15ULL ^ end;

	for (__u32 i = from; i + 8 <= cap; i += 8) {
		if (i + 8 > end)
			break;
		h = (h ^ *(const __u64 *)(b + i)) * 0xff51afd7ed558ccdULL;
		h ^= h >> 32;
	}
	// The tail, with some bytes for the second time.
	end = *to;
	if (end >= 8 && end <= cap)
		h = (h ^ *(const __u64 *)(b + end - 8)) * 0xc4ceb9fe1a85ec53ULL;
	return h ^ h >> 29;
}

static __noinline int dns_within_rate(__u64 cgroup)
{
	struct rate *r = bpf_map_lookup_elem(&dns_rates, &cgroup), fresh_rate = {};
	__u64 window = bpf_ktime_get_boot_ns() >> 30;

	if (!r) {
		fresh_rate.window = window;
		fresh_rate.count = 1;
		bpf_map_update_elem(&dns_rates, &cgroup, &fresh_rate, BPF_ANY);
		return 1;
	}
	if (r->window != window) {
		r->window = window;
		r->count = 0;
	}
	__sync_fetch_and_add(&r->count, 1);
	return r->count <= DNS_RATE;
}

BW_INLINE void remote_in(struct __sk_buff *skb, __u8 *to, int ingress)
{
	__be32 a;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (!bpf_skb_load_bytes(skb, ingress ? 12 : 16, &a, 4))
			map4(to, a);
	} else {
		bpf_skb_load_bytes(skb, ingress ? 8 : 24, to, 16);
	}
}

#define DNS_ANSWER 1
#define DNS_TCP 2

// Copies a message into a record of one of two sizes. A question is known by its name
// and type, an answer by all its bytes but the number of the transaction, so that new
// addresses always come through. Functions with names the linker sees are verified once,
// not at every call; they may take the packet and numbers only.
#define DNS_TAKE(name, type_, CAP)                                                                                \
	__attribute__((noinline)) int name(struct __sk_buff *skb, __u32 off, __u32 len, __u32 how)               \
	{                                                                                                        \
		struct bpf_sock *sk = skb->sk;                                                                   \
		struct bw_seen_key key = {.kind = BW_DNS};                                                       \
		struct bw_sock *st;                                                                              \
		struct type_ *r;                                                                                 \
		__u32 n = len, q = 12;                                                                           \
                                                                                                                 \
		if (!sk)                                                                                         \
			return 0;                                                                                \
		st = bpf_sk_storage_get(&socks, sk, 0, 0);                                                       \
		if (!st)                                                                                         \
			return 0;                                                                                \
		r = bw_reserve(sizeof(*r));                                                                      \
		if (!r) {                                                                                        \
			bw_lost(st->cgroup, BW_DNS);                                                             \
			return 0;                                                                                \
		}                                                                                                \
		asm volatile("" : "+r"(n));                                                                      \
		if (n > CAP)                                                                                     \
			n = CAP;                                                                                 \
		if (n < 17 || bpf_skb_load_bytes(skb, off, r->message, n))                                       \
			goto discard;                                                                            \
		r->kept = n;                                                                                     \
		r->port = n;                                                                                     \
		if (!(how & DNS_ANSWER)) {                                                                       \
			for (int i = 0; i < 24; i++) {                                                           \
				__u8 l;                                                                          \
                                                                                                                 \
				if (q >= CAP - 6)                                                                \
					break;                                                                   \
				l = r->message[q];                                                               \
				if (!l) {                                                                        \
					if (q + 5 < n)                                                           \
						r->port = q + 5;                                                 \
					break;                                                                   \
				}                                                                                \
				q += (l & 63) + 1;                                                               \
			}                                                                                        \
		}                                                                                                \
		key.exe = hash(r->message, &r->port, how & DNS_ANSWER ? 2 : 12, CAP);                            \
		key.port = *(volatile __u16 *)&r->port;                                                          \
		key.cgroup = st->cgroup;                                                                         \
		key.protocol = how & DNS_ANSWER;                                                                 \
		r->count = fresh(&key, IDLE, AGAIN);                                                             \
		if (!r->count)                                                                                   \
			goto discard;                                                                            \
		if (!dns_within_rate(st->cgroup)) {                                                              \
			bw_lost(st->cgroup, BW_DNS);                                                             \
			goto discard;                                                                            \
		}                                                                                                \
		header_from(&r->h, st, BW_DNS, sizeof(*r), how & DNS_ANSWER ? BW_NET_INGRESS : BW_NET_EGRESS);   \
		if (len > CAP)                                                                                   \
			r->h.flags |= BW_F_TRUNCATED;                                                            \
		r->netns = st->netns;                                                                            \
		r->length = len;                                                                                 \
		r->answer = how & DNS_ANSWER;                                                                    \
		r->tcp = (how & DNS_TCP) != 0;                                                                   \
		r->pad[0] = 0;                                                                                   \
		r->pad[1] = 0;                                                                                   \
		r->port = 53;                                                                                    \
		__builtin_memset(r->server, 0, 16);                                                              \
		remote_in(skb, r->server, how & DNS_ANSWER);                                                     \
		bw_submit(r, 0);                                                                                 \
		return 0;                                                                                        \
	discard:                                                                                                 \
		bpf_ringbuf_discard(r, BPF_RB_NO_WAKEUP);                                                        \
		return 0;                                                                                        \
	}

DNS_TAKE(dns_small, bw_dns_event, BW_DNS_SMALL)
DNS_TAKE(dns_large, bw_dns_large, BW_DNS_LARGE)

BW_INLINE void dns(struct __sk_buff *skb, struct bw_sock *st, __u32 off, __u32 len, __u32 how)
{
	if (config.options & BW_NET_OPT_NO_DNS || st->flags & S_IGNORE || len < 17)
		return;
	if (len <= BW_DNS_SMALL)
		dns_small(skb, off, len, how);
	else
		dns_large(skb, off, len, how);
}

static __noinline int first_datagram(struct __sk_buff *skb, struct bw_sock *st, struct packet *p)
{
	struct bw_seen_key key = {.port = p->rport, .protocol = IPPROTO_UDP, .kind = BW_SEND};
	struct bw_net_event *e;
	__u64 n;

	if (!st || !p || st->flags & (S_SERVER | S_IGNORE))
		return 0;
	key.cgroup = st->cgroup;
	key.exe = st->exe;
	copy_addr(key.remote, p->remote);
	n = fresh(&key, IDLE, 0);
	if (!n)
		return 0;
	e = event_from(st, BW_SEND, BW_NET_EGRESS, n);
	if (!e)
		return 0;
	copy_addr(e->remote, p->remote);
	e->rport = p->rport;
	e->lport = p->lport;
	e->direction = BW_NET_OUT;
	remote_in(skb, e->local, 1); // the source of what goes out
	e->cookie = bpf_get_socket_cookie(skb);
	bw_submit(e, 0);
	return 0;
}

BW_INLINE void datagram(struct __sk_buff *skb, struct bw_sock *st, int egress)
{
	struct packet p;
	struct bw_flow_key key = {};
	struct bw_flow f = {};
	__u64 bytes, packets;

	if (!parse(skb, &p, egress) || p.protocol != IPPROTO_UDP || p.bytes < 8)
		return;
	bytes = p.bytes - 8;
	packets = skb->gso_segs > 1 ? skb->gso_segs : 1;
	if (!st->slot && !__sync_val_compare_and_swap(&st->slot, 0, 1)) {
		copy_addr(st->remote, p.remote);
		st->rport = p.rport;
		st->lport = p.lport;
		st->direction = st->flags & S_SERVER ? BW_NET_IN : BW_NET_OUT;
		st->slot = 2;
	}
	if (st->slot == 2 && st->rport == p.rport && same_addr(st->remote, p.remote)) {
		if (egress) {
			__sync_fetch_and_add(&st->tx_bytes, bytes);
			__sync_fetch_and_add(&st->tx_packets, packets);
			if (!(st->flags & S_SENT)) {
				st->flags |= S_SENT;
				st->lport = p.lport;
				first_datagram(skb, st, &p);
			}
		} else {
			__sync_fetch_and_add(&st->rx_bytes, bytes);
			__sync_fetch_and_add(&st->rx_packets, packets);
		}
	} else if (!(st->flags & S_IGNORE)) {
		key.cgroup = st->cgroup;
		copy_addr(key.remote, p.remote);
		key.protocol = IPPROTO_UDP;
		key.direction = st->flags & S_SERVER ? BW_NET_IN : BW_NET_OUT;
		if (st->flags & S_SERVER)
			key.lport = p.lport;
		else
			key.rport = p.rport;
		flow_begin(&f, st);
		if (egress) {
			f.tx_bytes = bytes;
			f.tx_packets = packets;
		} else {
			f.rx_bytes = bytes;
			f.rx_packets = packets;
		}
		if (flow_add(&key, &f) == 1 && egress)
			first_datagram(skb, st, &p);
	}
	if (p.rport == 53)
		dns(skb, st, p.l4 + 8, bytes, egress ? 0 : DNS_ANSWER);
}

#define WORD(a, b, c, d, e, f, g, h)                                                                                  \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 |      \
	 (__u64)(g) << 48 | (__u64)(h) << 56)
#define SEVEN 0x00ffffffffffffffULL

// 1 when equal, without a branch: the verifier would follow each by itself.
BW_INLINE __u64 equal(__u64 a, __u64 b)
{
	__u64 x = a ^ b;

	asm volatile("" : "+r"(x));
	x |= -x;
	asm volatile("" : "+r"(x));
	return (x >> 63) ^ 1;
}

BW_INLINE __u32 words_of(const __u8 *b, const volatile __u32 *end)
{
	__u64 mining = 0, eth = 0, method = 0, login = 0, agent = 0, pass = 0;
	__u32 n = *end;

	for (__u32 i = 0; i < BW_PROBE_BYTES - 8; i++) {
		__u64 w;

		if (i + 8 > n)
			break;
		w = *(const __u64 *)(b + i);
		mining |= equal(w, WORD('"', 'm', 'i', 'n', 'i', 'n', 'g', '.'));
		eth |= equal(w, WORD('"', 'e', 't', 'h', '_', 's', 'u', 'b'));
		method |= equal(w, WORD('"', 'm', 'e', 't', 'h', 'o', 'd', '"'));
		login += equal(w & SEVEN, WORD('"', 'l', 'o', 'g', 'i', 'n', '"', 0));
		agent |= equal(w & SEVEN, WORD('"', 'a', 'g', 'e', 'n', 't', '"', 0));
		pass |= equal(w & (SEVEN >> 8), WORD('"', 'p', 'a', 's', 's', '"', 0, 0));
	}
	if (!method)
		return 0;
	return mining || eth || (login && agent) || (login > 1 && pass);
}

// The first message of a mining connection: a JSON object that subscribes, authorises
// or logs in, or the open form of version 2's SetupConnection. 0 refuses the packet.
__attribute__((noinline)) int probe(struct __sk_buff *skb, __u32 off, __u32 len)
{
	struct bpf_sock *sk = skb->sk;
	struct bw_probe_event *r;
	struct bw_policy *p;
	struct bw_sock *st, *stored;
	__u64 at = (__u64)sk;
	__u32 n = len, what = 0;
	__u8 first;
	int deny = 0;

	if (!sk || bpf_skb_load_bytes(skb, off, &first, 1))
		return 1;
	st = bpf_map_lookup_elem(&conns, &at);
	if (!st || !st->probe)
		return 1;
	if (first != '{' && first != 0) {
		st->probe = 0;
		return 1;
	}
	st->probe--;
	r = bw_reserve(sizeof(*r));
	if (!r) {
		bw_lost(st->cgroup, BW_PROTOCOL);
		return 1;
	}
	asm volatile("" : "+r"(n));
	if (n > BW_PROBE_BYTES)
		n = BW_PROBE_BYTES;
	if (n < 16 || bpf_skb_load_bytes(skb, off, r->payload, n))
		goto discard;
	if (first == '{') {
		r->kept = n;
		if (words_of(r->payload, &r->kept))
			what = BW_PROBE_STRATUM;
	} else {
		// extension 0, message 0, length of 3 bytes, protocol ≤ 2, versions 2 to 2..9
		__u32 l = r->payload[3] | r->payload[4] << 8 | r->payload[5] << 16;

		if (!r->payload[1] && !r->payload[2] && l + 6 == len && r->payload[6] <= 2 && r->payload[7] == 2 && !r->payload[8] &&
		    r->payload[9] >= 2 && r->payload[9] < 10 && !r->payload[10])
			what = BW_PROBE_STRATUM2;
	}
	if (!what)
		goto discard;
	st->probe = 0;
	p = policy_by_root(st->root);
	if (!p && st->flags & S_CONTAINED && (bpf_get_current_pid_tgid() >> 32) == st->pid)
		p = bw_policy_of(bw_current());
	if (p && p->enforce & BW_GUARD_MINER) {
		deny = 1;
		stored = bpf_sk_storage_get(&socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (stored) {
			if (!(stored->flags & S_LONG))
				*stored = *st;
			stored->flags |= S_LONG | S_BLOCKED;
		}
	}
	header_from(&r->n.h, st, BW_PROTOCOL, sizeof(*r), BW_NET_EGRESS);
	copy_addr(r->n.remote, st->remote);
	__builtin_memset(r->n.local, 0, 16);
	remote_in(skb, r->n.local, 1);
	r->n.cookie = bpf_get_socket_cookie(skb);
	r->n.count = 1;
	r->n.rport = st->rport;
	r->n.lport = st->lport;
	r->n.netns = st->netns;
	r->n.protocol = IPPROTO_TCP;
	r->n.type = SOCK_STREAM;
	r->n.direction = st->direction;
	r->n.state = 0;
	r->n.pad = 0;
	r->kept = n;
	r->what = what;
	if (p && (p->enforce | p->report) & BW_GUARD_MINER)
		r->n.h.guard = GUARD_NUMBER(BW_GUARD_MINER);
	if (deny) {
		r->n.h.outcome = BW_DENIED;
		r->n.h.result = -EPERM;
	}
	bw_submit(r, 1);
	return !deny;
discard:
	bpf_ringbuf_discard(r, BPF_RB_NO_WAKEUP);
	return 1;
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

// The address of a socket as a number: the verifier allows no arithmetic on the pointer,
// which reading members by probe needs.
BW_INLINE struct sock___net *untyped(struct bpf_sock *sk)
{
	__u64 at = (__u64)sk, number = 0;

	bpf_probe_read_kernel(&number, sizeof(number), &at);
	return (struct sock___net *)number;
}

// A connection that lasts gets storage, which the iterator finds.
static __noinline int lasts(struct bpf_sock *sk)
{
	__u64 at = (__u64)sk;
	struct bw_sock *known, *st;
	struct sock___net *inner;
	struct listen_key key;

	if (!sk || sk->state != ESTABLISHED)
		return 0;
	known = bpf_map_lookup_elem(&conns, &at);
	st = bpf_sk_storage_get(&socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!st || st->flags & S_LONG)
		return 0;
	if (known) {
		*st = *known;
	} else {
		inner = untyped(sk);
		listen_key_of(&key, inner, netns_of(inner));
		known = listener(&key);
		if (!known) {
			st->flags = S_IGNORE | S_LONG; // whose it is was never known; do not ask again
			return 0;
		}
		*st = *known;
		st->flags &= S_CONTAINED | S_IGNORE;
		st->lport = sk->src_port;
		st->rport = bpf_ntohs(sk->dst_port);
		remote_of(st->remote, inner);
	}
	st->protocol = IPPROTO_TCP;
	st->flags |= S_LONG;
	return 0;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct bpf_tcp_sock *tp;
	struct bw_net_state *s;
	struct bw_sock *st, *c;
	struct packet p;
	__u32 off, len = 0;
	__u64 at;
	int name_server;

	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 1;
	if (sk->protocol != IPPROTO_UDP && sk->protocol != IPPROTO_TCP)
		return 1;
	st = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (sk->protocol == IPPROTO_UDP) {
		if (!st) {
			st = bpf_sk_storage_get(&socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
			s = state_now();
			if (!st || !s)
				return 1;
			own(st, current_typed(), s->policies);
			st->protocol = IPPROTO_UDP;
			st->type = SOCK_DGRAM;
		}
		datagram(skb, st, 1);
		return 1;
	}
	if (st && st->flags & S_BLOCKED)
		return 0;
	tp = bpf_tcp_sock(sk);
	if (!tp)
		return 1;
	name_server = sk->dst_port == bpf_htons(53);
	if (!st && (tp->segs_out >= LONG || name_server)) {
		lasts(sk);
		st = bpf_sk_storage_get(&socks, sk, 0, 0);
	}
	if (!name_server && (!tp->data_segs_out || tp->data_segs_out > 3))
		return 1;
	at = (__u64)sk;
	c = bpf_map_lookup_elem(&conns, &at);
	if (!name_server && (!c || !c->probe))
		return 1;
	off = segment(skb, &p, 1, &len);
	if (!off)
		return 1;
	if (name_server && st && st->direction == BW_NET_OUT)
		dns_segment(skb, st, off, len, DNS_TCP);
	if (!c || !c->probe)
		return 1;
	off = probe(skb, off, len);
	asm volatile("" : "+r"(off)); // the compiler knows what it returns, the verifier does not
	return off & 1;
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

SEC("cgroup_skb/ingress")
int ingress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct bw_net_state *s;
	struct bpf_tcp_sock *tp;
	struct listen_key key;
	struct bw_sock *st;
	struct packet p;
	__u32 off, len = 0;
	__u8 flags;

	if (!sk)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 1;
	if (sk->protocol == IPPROTO_TCP && sk->state == LISTEN) {
		s = state_now();
		if (!s || !s->policies || !parse(skb, &p, 0) || p.protocol != IPPROTO_TCP)
			return 1;
		if (bpf_skb_load_bytes(skb, p.l4 + 13, &flags, 1) || (flags & 0x12) != 2)
			return 1;
		listen_key_of(&key, untyped(sk), netns_of(untyped(sk)));
		st = listener(&key);
		return st && st->root ? allow_ingress(st, &p, BW_ACCEPT) & 1 : 1;
	}
	st = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (sk->protocol == IPPROTO_TCP) {
		tp = bpf_tcp_sock(sk);
		if (!st && tp && tp->segs_in >= LONG)
			lasts(sk);
		if (!st || sk->dst_port != bpf_htons(53) || st->direction != BW_NET_OUT)
			return 1;
		off = segment(skb, &p, 0, &len);
		if (off)
			dns_segment(skb, st, off, len, DNS_TCP | DNS_ANSWER);
		return 1;
	}
	if (!st || st->protocol != IPPROTO_UDP)
		return 1;
	if (st->root && st->flags & S_SERVER && parse(skb, &p, 0)) {
		if (!allow_ingress(st, &p, BW_ACCEPT))
			return 0;
		remember_asker(st, &p);
	}
	datagram(skb, st, 0);
	return 1;
}

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
			own(known, task, s->policies);
		return;
	}
	own(&st, task, s->policies);
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
		at = (__u64)sk;
		if (bpf_map_lookup_elem(&conns, &at) || s->told)
			return 0; // known by another means
		st = bpf_sk_storage_get(&socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (!st)
			return 0;
		own(st, task, s->policies);
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
				st->said_tx_bytes = tp->bytes_sent - tp->bytes_retrans;
				st->said_rx_bytes = tp->bytes_received;
				st->said_tx_packets = tp->segs_out;
				st->said_rx_packets = tp->segs_in;
				st->said_connections = 1;
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
	struct bw_sock *st;
	__u64 *root;
	__u8 state;

	if (!sk || !s)
		return 0;
	st = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (!st)
		return 0;
	if (s->policies && st->flags & S_CONTAINED) {
		root = bpf_map_lookup_elem(&policy_roots, &st->cgroup);
		if (root)
			st->root = *root;
	}
	if (st->protocol == IPPROTO_UDP) {
		if (st->slot == 2 && (st->tx_packets || st->rx_packets))
			flow_report(st, st->tx_bytes, st->rx_bytes, st->tx_packets, st->rx_packets);
		return 0;
	}
	state = sk->__sk_common.skc_state;
	if (st->direction && st->flags & S_LONG && state != SYN_SENT && state != SYN_RECV && state != CLOSED && state != LISTEN)
		tcp_report(st, sk);
	return 0;
}
