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

static __noinline __u64 root_slow(struct task_struct *t)
{
	struct bw_policy *p = bw_policy_of(t);

	return p ? p->root : 0;
}

// The root of the policy that holds for a cgroup, 0 for none. A policy that is no more in
// force is found out where it is used.
BW_INLINE __u64 root_of(__u64 cgroup, struct task_struct *t, struct bw_net_state *s)
{
	__u32 version = *(volatile __u32 *)&s->version;
	__u32 i = (cgroup * 0x9e3779b97f4a7c15ULL) >> 58;
	struct bw_root *r = bpf_map_lookup_elem(&net_roots, &i);
	__u64 root;

	if (r && r->cgroup == cgroup && r->version == version && cgroup)
		return r->root;
	root = root_slow(t);
	if (r) {
		// An interrupt may come in between, and must not believe half of it.
		*(volatile __u64 *)&r->cgroup = 0;
		*(volatile __u64 *)&r->root = root;
		*(volatile __u32 *)&r->version = version;
		*(volatile __u64 *)&r->cgroup = cgroup;
	}
	return root;
}

// Whose socket this is from now on.
BW_INLINE int own(struct bw_sock *st, struct task_struct *t, struct bw_net_state *s)
{
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
	if (s->policies && st->flags & S_CONTAINED)
		st->root = root_of(st->cgroup, t, s);
	return 0;
}

// The address of a socket as a number. The verifier forbids arithmetic on pointers, and
// takes what an atomic operation left on the stack for a number.
BW_INLINE __u64 number(void *sk)
{
	volatile __u64 at = (__u64)sk;
	__u64 zero = 0;

	asm volatile("lock *(u64 *)(%0 + 0) += %1" : : "r"(&at), "r"(zero) : "memory");
	return at;
}

BW_INLINE struct bw_conn *place_of(__u64 at)
{
	__u32 i = (at * 0x9e3779b97f4a7c15ULL) >> (64 - CONN_BITS);

	return bpf_map_lookup_elem(&conn_places, &i);
}

// What is known of a connection. All that is written to it is written with its socket
// locked.
BW_INLINE struct bw_sock *conn_of(__u64 at)
{
	struct bw_conn *c = place_of(at);

	if (!c)
		return 0;
	if (c->at == at)
		return &c->s;
	return c->spilled ? bpf_map_lookup_elem(&conns, &at) : 0;
}

static __noinline int spill(__u64 at, struct bw_sock *st)
{
	struct bw_conn *c = place_of(at);
	struct bw_sock *known;

	if (!c || !st)
		return 0;
	known = bpf_map_lookup_elem(&conns, &at);
	if (known) {
		*known = *st;
		return 0;
	}
	bw_add(&c->spilled, 1);
	if (bpf_map_update_elem(&conns, &at, st, BPF_ANY)) {
		bw_add(&c->spilled, -1);
		bw_lost(st->cgroup, BW_CONNECT); // more connections at once than there is room for
	}
	return 0;
}

BW_INLINE void forget(__u64 at)
{
	struct bw_conn *c = place_of(at);

	if (!c)
		return;
	if (c->spilled && !bpf_map_delete_elem(&conns, &at))
		bw_add(&c->spilled, -1);
	if (c->at == at)
		*(volatile __u64 *)&c->at = 0;
}

// Notes a connection; its place was free, or its own. 0: somebody else's.
BW_INLINE int placed(__u64 at, struct bw_sock *st)
{
	struct bw_conn *c = place_of(at);
	__u64 now;

	if (!c)
		return 0;
	// Looked at before, too: kernels before 5.12 store without comparing.
	now = *(volatile __u64 *)&c->at;
	if (now != at && (now || __sync_val_compare_and_swap(&c->at, 0, at)))
		return 0;
	c->s = *st;
	return 1;
}

BW_INLINE void remember(__u64 at, struct bw_sock *st)
{
	if (!placed(at, st))
		spill(at, st);
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
static __noinline __u64 fresh_in_table(struct bw_seen_key *key, __u64 idle, __u64 every, __u64 more)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct bw_seen *s = bpf_map_lookup_elem(&net_seen, key), first = {.last = now, .total = 1};
	__u64 n;

	if (!s) {
		bpf_map_update_elem(&net_seen, key, &first, BPF_ANY);
		return 1;
	}
	bw_add(&s->total, 1 + more);
	if (more)
		bw_add(&s->count, more);
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

BW_INLINE int same_key(const struct bw_seen_key *a, const struct bw_seen_key *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3] && x[4] == y[4];
}
_Static_assert(sizeof(struct bw_seen_key) == 40, "compared as five words");

static __noinline __u64 fresh_slow(struct bw_seen_key *key, __u32 i, __u32 epoch)
{
	struct bw_recent *r = bpf_map_lookup_elem(&net_recent, &i);
	struct bw_seen *s;
	__u64 more = 0, n;

	if (r && r->count) {
		// What was counted here belongs into the table.
		if (same_key(&r->key, key)) {
			more = r->count;
		} else {
			s = bpf_map_lookup_elem(&net_seen, &r->key);
			if (s) {
				bw_add(&s->total, r->count);
				bw_add(&s->count, r->count);
			}
		}
	}
	n = fresh_in_table(key, IDLE, 0, more);
	if (!r)
		return n;
	// An interrupt may come in between, and must not believe half of it.
	*(volatile __u64 *)&r->key.cgroup = 0;
	r->count = 0;
	r->epoch = epoch;
	r->key.exe = key->exe;
	((__u64 *)&r->key)[2] = ((__u64 *)key)[2];
	((__u64 *)&r->key)[3] = ((__u64 *)key)[3];
	((__u64 *)&r->key)[4] = ((__u64 *)key)[4];
	asm volatile("" ::: "memory");
	*(volatile __u64 *)&r->key.cgroup = key->cgroup;
	return n;
}

BW_INLINE __u64 fresh(struct bw_seen_key *key, __u64 every)
{
	struct bw_net_state *now = state_now();
	__u64 *w = (__u64 *)key, h;
	struct bw_recent *r;
	__u32 i;

	if (every || !now || !key->cgroup)
		return fresh_in_table(key, IDLE, every, 0);
	h = w[0] ^ w[1] * 0x9e3779b97f4a7c15ULL;
	h = (h ^ w[2]) * 0xff51afd7ed558ccdULL;
	h = (h ^ w[3] ^ h >> 32) * 0xc4ceb9fe1a85ec53ULL;
	h = (h ^ w[4] ^ h >> 32) * 0x9e3779b97f4a7c15ULL;
	i = h >> 56;
	r = bpf_map_lookup_elem(&net_recent, &i);
	if (r && r->epoch == now->epoch && same_key(&r->key, key)) {
		bw_add(&r->count, 1);
		return 0;
	}
	return fresh_slow(key, i, now->epoch);
}

BW_INLINE __u64 fresh_sock(struct bw_sock *st, __u8 kind, __u16 port, int result, __u64 every)
{
	struct bw_seen_key key = {
		.cgroup = st->cgroup, .exe = st->exe, .port = port, .protocol = st->protocol, .kind = kind, .result = result,
	};

	if (st->flags & S_IGNORE)
		return 0;
	copy_addr(key.remote, st->remote);
	return fresh(&key, every);
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
