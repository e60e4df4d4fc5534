// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Whose a socket is, and what of it is new. Part of network.bpf.c.
#ifndef BOLLWERK_NETWORK_OWN_H
#define BOLLWERK_NETWORK_OWN_H

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

	if (bpf_rdonly_cast) // a trusted pointer is dear to verify (BW_READ)
		t = bpf_rdonly_cast(t, bpf_core_type_id_kernel(struct task_struct));
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
	bw_add(&s->total, 1);
	if (every ? now - s->last > every : now - s->last > idle) {
		n = s->count + 1;
		s->count = 0;
		s->last = now;
		return n;
	}
	if (!every)
		s->last = now;
	bw_add(&s->count, 1);
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
#endif
