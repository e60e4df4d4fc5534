// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What every BPF object of the sensor shares: the record header, the shared maps and
// the helpers that fill records, count losses and find the policy of a cgroup.
//
// Kernel structs are declared by hand, only with the members read, and relocated at
// load (CO-RE); no vmlinux.h is needed. Oldest kernel: 5.10.
#ifndef BOLLWERK_H
#define BOLLWERK_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "event.h"

#define BW_INLINE static __always_inline

// Bounds a number right where it is used. Compilers check one copy of it and use another,
// which older verifiers do not follow. The mask never changes a number that is in bounds.
#define bw_mask(x, m) asm volatile("%0 &= %1" : "+r"(x) : "i"(m))

// Adds whatever others do meanwhile. Relaxed, as the form that also returns the old value
// is none before 5.12.
#define bw_add(p, n) ((void)__atomic_fetch_add((p), (n), __ATOMIC_RELAXED))

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};
struct pid_namespace {
	unsigned int level;
	struct ns_common ns;
};
struct upid {
	int nr;
	struct pid_namespace *ns;
};
struct pid {
	unsigned int level;
	struct upid numbers[1];
};
struct mnt_namespace {
	struct ns_common ns;
};
struct net {
	struct ns_common ns;
};
struct uts_namespace {
	struct ns_common ns;
};
struct ipc_namespace {
	struct ns_common ns;
};
struct cgroup_namespace {
	struct ns_common ns;
};
struct user_namespace {
	struct ns_common ns;
};
struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
	struct cgroup_namespace *cgroup_ns;
};
struct kernfs_node {
	__u64 id;
	const char *name;
	struct kernfs_node *parent;
};
struct kernfs_node___renamed { // since 6.15
	struct kernfs_node *__parent;
};
struct cgroup {
	struct kernfs_node *kn;
};
struct cgroup_subsys_state {
	struct cgroup *cgroup;
};
struct css_set {
	struct cgroup_subsys_state *subsys[1];
	struct cgroup *dfl_cgrp;
};
enum cgroup_subsys_id { memory_cgrp_id = 1, pids_cgrp_id = 2, cpu_cgrp_id = 3, devices_cgrp_id = 4 };

typedef struct {
	__u32 val;
} bw_kid;
struct bw_caps { // eight bytes, of two numbers before 6.3
	__u64 val;
};
struct cred {
	bw_kid uid, gid, suid, sgid, euid, egid;
	struct bw_caps cap_permitted, cap_effective;
	struct user_namespace *user_ns;
};
struct tty_struct {
	char name[64];
};
typedef struct {
	int counter;
} bw_atomic;
struct signal_struct {
	int nr_threads;
	bw_atomic live;
	int group_exit_code;
	struct pid *pids[4];
	struct tty_struct *tty;
};
struct mm_struct;
struct fs_struct;
struct files_struct;
struct seccomp {
	int mode;
};
struct task_struct {
	int pid, tgid;
	__u64 start_boottime;
	struct task_struct *real_parent, *parent, *group_leader;
	char comm[16];
	struct cred *real_cred, *cred;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
	struct pid *thread_pid;
	unsigned int flags;
	int exit_code;
	unsigned int ptrace;
	struct signal_struct *signal;
	bw_kid loginuid;
	unsigned int sessionid;
	unsigned long atomic_flags;
	struct seccomp seccomp;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
	__u64 utime, stime;
};
#pragma clang attribute pop

#define BW_PF_KTHREAD 0x00200000

// Since 6.2 (weak: NULL before). The verifier makes a move of it.
extern void *bpf_rdonly_cast(const void *, __u32) __ksym __attribute__((weak));

// Reads like BPF_CORE_READ, but through a typed pointer where the kernel can make one of
// any number: a load costs some instructions, bpf_probe_read_kernel a hundred. Why not
// simply through the pointers that programs are given: these are trusted, and for each
// pointer read through a trusted one the verifier searches the kernel's types by name,
// which was half of the agent's start. What it reads is typed, too, and no number: for
// arguments of global functions it takes BPF_CORE_READ.
#define BW_READ(src, ...)                                                                                        \
	({                                                                                                       \
		typeof(src) __p = (src); /* of its own: in what is relocated, all structs are the kernel's */    \
		___type(__p, __VA_ARGS__) __v;                                                                   \
		if (bpf_rdonly_cast) {                                                                           \
			typeof(*__p) *__t = bpf_rdonly_cast(__p, bpf_core_type_id_kernel(typeof(*__p)));         \
			__v = ___arrow(__t, __VA_ARGS__);                                                        \
		} else {                                                                                         \
			__v = BPF_CORE_READ(__p, __VA_ARGS__);                                                   \
		}                                                                                                \
		__v;                                                                                             \
	})

// Calls a function with 0, 1, … until it returns 1. bpf_loop (5.17) lets the verifier
// look at it once, not at every turn.
#define bw_loop(times, step, state)                                                                              \
	do {                                                                                                     \
		if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_loop))                                 \
			bpf_loop((times), (step), (state), 0);                                                   \
		else                                                                                             \
			for (int __i = 0; __i < (times) && !step(__i, state); __i++)                             \
				;                                                                                \
	} while (0)

// Set by the loader before the verifier sees it.
const volatile struct bw_config config = {};

// One ring for all programs: records come out in the order in which they happened.
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 2 << 20);
} events SEC(".maps");

// Records that found no room in the ring, by workload and kind; and the same by kind
// alone, which counts also when the table is full.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct bw_loss_key);
	__type(value, __u64);
} losses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} losses_total SEC(".maps");

// What a workload may do, keyed by the cgroup at which it begins. Only workloads that
// the agent named stand here; the host, the container runtime, kubelet and the agent never do.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct bw_policy);
} policies SEC(".maps");

// Cgroup -> the cgroup whose policy holds (0: none). Emptied by the agent when a policy
// comes or goes.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, __u64);
} policy_roots SEC(".maps");

// The thread group of the agent, 0 when it is gone. What is pinned runs on without it.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} alive SEC(".maps");

BW_INLINE struct task_struct *bw_current(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

BW_INLINE struct kernfs_node *bw_kn(struct task_struct *t)
{
	struct css_set *set = BW_READ(t, cgroups);
	struct cgroup_subsys_state *css;
	int id = 0;

	if (!set)
		return 0;
	switch (config.hierarchy) {
	case BW_CGROUP_MEMORY: id = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id); break;
	case BW_CGROUP_PIDS: id = bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id); break;
	case BW_CGROUP_CPU: id = bpf_core_enum_value(enum cgroup_subsys_id, cpu_cgrp_id); break;
	default: return BW_READ(set, dfl_cgrp, kn);
	}
	bpf_core_read(&css, sizeof(css), (void *)&set->subsys[0] + id * sizeof(void *)); // no type has this element
	return BW_READ(css, cgroup, kn);
}

BW_INLINE __u64 bw_cgroup(struct task_struct *t)
{
	struct kernfs_node *kn = bw_kn(t);

	return kn ? BW_READ(kn, id) : 0;
}

BW_INLINE struct kernfs_node *bw_kn_parent(struct kernfs_node *kn)
{
	struct kernfs_node___renamed *r = (void *)kn;

	if (bpf_core_field_exists(r->__parent))
		return BW_READ(r, __parent);
	return BW_READ(kn, parent);
}

// A policy that may not outlive its agent is none when that is gone.
BW_INLINE struct bw_policy *bw_in_force(struct bw_policy *p)
{
	__u32 zero = 0;
	__u64 *agent;

	if (!p || p->flags & BW_POLICY_OUTLIVE)
		return p;
	agent = bpf_map_lookup_elem(&alive, &zero);
	return agent && *agent ? p : 0;
}

// The policy of a task's workload, NULL when it has none. A container's processes may
// sit in child cgroups of it (systemd or Docker inside), so parents are asked too.
BW_INLINE struct bw_policy *bw_policy_of(struct task_struct *t)
{
	struct kernfs_node *kn = bw_kn(t);
	struct bw_policy *p = 0;
	__u64 id, root = 0, *known;

	if (!kn)
		return 0;
	id = BW_READ(kn, id);
	known = bpf_map_lookup_elem(&policy_roots, &id);
	if (known) {
		root = *known;
		return root ? bw_in_force(bpf_map_lookup_elem(&policies, &root)) : 0;
	}
#pragma unroll
	for (int i = 0; i < 8; i++) {
		__u64 up;

		if (!kn)
			break;
		up = BW_READ(kn, id);
		p = bpf_map_lookup_elem(&policies, &up);
		if (p) {
			root = up;
			break;
		}
		kn = bw_kn_parent(kn);
	}
	bpf_map_update_elem(&policy_roots, &id, &root, BPF_ANY);
	return bw_in_force(p);
}

// A task is contained when it does not share the host's mount or PID namespace. A
// process that is not contained is never denied anything.
BW_INLINE int bw_contained(struct task_struct *t)
{
	unsigned int mnt = BW_READ(t, nsproxy, mnt_ns, ns.inum);
	unsigned int pid = BW_READ(t, nsproxy, pid_ns_for_children, ns.inum);

	return mnt && (mnt != config.host_mnt_ns || pid != config.host_pid_ns);
}

BW_INLINE void bw_header_of(struct bw_header *h, struct task_struct *t, __u16 kind, __u32 size)
{
	h->time = bpf_ktime_get_boot_ns();
	h->pid = BW_READ(t, tgid);
	h->tid = BW_READ(t, pid);
	h->start = BW_READ(t, group_leader, start_boottime);
	h->cgroup = bw_cgroup(t);
	h->kind = kind;
	h->size = size;
	h->outcome = BW_SEEN;
	h->source = 0;
	h->flags = bw_contained(t) ? BW_F_CONTAINED : 0;
	h->guard = 0;
	h->result = 0;
	h->pad = 0;
}

BW_INLINE void bw_lost(__u64 cgroup, __u16 kind)
{
	struct bw_loss_key key = {.cgroup = cgroup, .kind = kind};
	__u32 index = kind < 64 ? kind : 0;
	__u64 one = 1, *n = bpf_map_lookup_elem(&losses_total, &index);

	// Atomic, though each CPU has its own: an interrupt may count in the middle of it.
	if (n)
		bw_add(n, 1);
	n = bpf_map_lookup_elem(&losses, &key);
	if (!n && bpf_map_update_elem(&losses, &key, &one, BPF_NOEXIST))
		n = bpf_map_lookup_elem(&losses, &key); // another CPU was first, or the table is full
	else if (!n)
		return;
	if (n)
		bw_add(n, 1);
}

// Waking the reader for each record would be the dearest part of it (an interrupt to
// another CPU). Without a flag the kernel wakes it only when it has caught up, which it
// hides while records flow (sensor/ring.go): it looks every 10 ms then, and is woken when
// much waits or somebody must know. Never BPF_RB_NO_WAKEUP, not even for a record that
// is discarded: a reader that sleeps waits for exactly the next one.
BW_INLINE __u64 bw_wakeup(int urgent)
{
	if (urgent || bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > config.wakeup_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return 0;
}

// Records of fixed size: r = bw_reserve(struct x); fill; bw_submit(r, urgent), or
// bw_discard(r). The caller counts the loss when there is no room.
#define bw_reserve(size) bpf_ringbuf_reserve(&events, (size), 0)
#define bw_submit(r, urgent) bpf_ringbuf_submit((r), bw_wakeup(urgent))
#define bw_discard(r) bpf_ringbuf_discard((r), 0)

// Records of variable size, built in a map of the caller's.
BW_INLINE int bw_output(struct bw_header *h, __u32 size, int urgent)
{
	int err = bpf_ringbuf_output(&events, h, size, bw_wakeup(urgent));

	if (err)
		bw_lost(h->cgroup, h->kind);
	return err;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
#endif
