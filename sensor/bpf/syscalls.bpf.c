//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Which system calls a workload uses. The program taxes every call of the machine, so
// it is attached for short windows only; it makes no records.
// bpf2go-type: bw_calls
#include "file.h"
#include "syscalls.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct thread_info {
	unsigned long flags;
	unsigned int status;
};
struct task_struct___thread {
	struct thread_info thread_info;
};
struct mount___ns {
	struct mnt_namespace *mnt_ns;
};
#pragma clang attribute pop

#define BW_TS_COMPAT 2           // x86: int 0x80 and sysenter
#define BW_TIF_32BIT (1UL << 22) // arm64

// Workload -> what it used since the agent last asked.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct bw_calls);
} syscalls_used SEC(".maps");

// The cgroups at which workloads begin that the agent named, and their mount namespace;
// 0: not known.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} syscall_workloads SEC(".maps");

// Cgroup -> the workload it belongs to: a container may make cgroups of its own, as
// many as it likes, and all are one workload.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u64);
} syscall_roots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BW_SYSCALLS_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} syscall_counts SEC(".maps");

// What a new workload starts with; too large for the stack.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bw_calls);
} syscalls_none SEC(".maps");

BW_INLINE void bw_count_call(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&syscall_counts, &what);

	if (n)
		*n += 1;
}

// Calls of 32-bit programs have the numbers of another table.
BW_INLINE int bw_foreign(struct task_struct *t)
{
	struct task_struct___thread *w = (void *)t;

#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(w, thread_info.status) & BW_TS_COMPAT;
#else
	return (BPF_CORE_READ(w, thread_info.flags) & BW_TIF_32BIT) != 0;
#endif
}

BW_INLINE __u64 bw_call_cgroup(struct task_struct *t)
{
	if (config.hierarchy == BW_CGROUP_V2)
		return bpf_get_current_cgroup_id();
	return bw_cgroup(t);
}

// This and what else is not static the verifier looks at once, not at each turn of a loop.
__noinline __u64 bw_call_root(__u64 id)
{
	__u64 *known = bpf_map_lookup_elem(&syscall_roots, &id), root = id;
	struct task_struct *t = bw_current();
	struct kernfs_node *kn;

	if (known)
		return *known;
	kn = bw_kn(t);
#pragma unroll
	for (int i = 0; i < 8; i++) {
		__u64 up;

		if (!kn)
			break;
		up = BPF_CORE_READ(kn, id);
		if (bpf_map_lookup_elem(&syscall_workloads, &up)) {
			root = up;
			break;
		}
		kn = bw_kn_parent(kn);
	}
	bpf_map_update_elem(&syscall_roots, &id, &root, BPF_ANY);
	return root;
}

// The mount namespace of a task's executable; 0 when it is mounted nowhere (a memfd, a
// detached mount), as the copies are that runtimes make of themselves.
BW_INLINE __u32 bw_exe_space(struct task_struct *t)
{
	struct vfsmount *mnt = BPF_CORE_READ(t, mm, exe_file, f_path.mnt);
	struct mount___ns *m;

	if (!mnt)
		return 0;
	m = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
	return BPF_CORE_READ(m, mnt_ns, ns.inum);
}

BW_INLINE int bw_named_runc(struct task_struct *t)
{
	char comm[8] = {};

	bpf_probe_read_kernel(comm, 6, &t->comm);
	return comm[0] == 'r' && comm[1] == 'u' && comm[2] == 'n' && comm[3] == 'c' && comm[4] == ':' && comm[5] == '[';
}

BW_INLINE struct inode *bw_exe_inode(struct task_struct *t)
{
	return BPF_CORE_READ(t, mm, exe_file, f_inode);
}

// The workload of another task, as far as it made a call lately.
__noinline __u64 bw_other_root(__u64 task)
{
	__u64 id = bw_cgroup((struct task_struct *)task), *known = bpf_map_lookup_elem(&syscall_roots, &id);

	return known ? *known : id;
}

// Whether a task runs the runtime's program. Its first stage is a child from outside that
// runs what its parent runs (so is a service before systemd starts its program); later
// ones run a file of another mount namespace, or a copy that is mounted nowhere.
__noinline int bw_from_outside(__u64 task, __u64 root, __u32 space)
{
	struct task_struct *t = (struct task_struct *)task, *parent = BPF_CORE_READ(t, real_parent);
	__u32 exe;

	if (bw_other_root((__u64)parent) != root && bw_exe_inode(t) == bw_exe_inode(parent))
		return 1;
	exe = bw_exe_space(t);
	return exe && space ? exe != space : bw_named_runc(t);
}

// Before a container's program starts, and with every exec into it, the runtime works
// in the container's cgroup with an executable from outside. What descends from a
// program of the container in the same workload is none, whatever it calls itself.
BW_INLINE int bw_runtime(struct task_struct *t, __u64 root)
{
	__u32 *known = bpf_map_lookup_elem(&syscall_workloads, &root), space = known ? *known : 0;

#pragma unroll
	for (int i = 0; i < 5; i++) {
		if (!bw_from_outside((__u64)t, root, space))
			return 0;
		t = BPF_CORE_READ(t, real_parent);
		if (!t || bw_other_root((__u64)t) != root)
			return 1;
	}
	return 0;
}

SEC("raw_tracepoint/sys_enter")
int bw_sys_enter(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *t = bw_current();
	__u64 nr = ctx->args[1], id, root;
	struct bw_calls *c;
	__u32 zero = 0;

	if (nr >= BW_SYSCALLS || bw_foreign(t)) {
		bw_count_call(BW_SYSCALLS_FOREIGN);
		return 0;
	}
	id = bw_call_cgroup(t);
	bw_mask(nr, 0x1ff);
	// Most tasks sit where their workload begins. Known calls cost no write either: the
	// cache line would travel between the CPUs.
	c = bpf_map_lookup_elem(&syscalls_used, &id);
	if (c && c->used[nr])
		return 0;
	root = bw_call_root(id);
	if (root != id) {
		c = bpf_map_lookup_elem(&syscalls_used, &root);
		bw_mask(nr, 0x1ff);
		if (c && c->used[nr])
			return 0;
	}
	if (bw_runtime(t, root)) {
		bw_count_call(BW_SYSCALLS_RUNTIME);
		return 0;
	}
	if (!c) {
		struct bw_calls *none = bpf_map_lookup_elem(&syscalls_none, &zero);

		if (!none)
			return 0;
		bpf_map_update_elem(&syscalls_used, &root, none, BPF_NOEXIST); // or another CPU was first
		c = bpf_map_lookup_elem(&syscalls_used, &root);
		if (!c) {
			bw_count_call(BW_SYSCALLS_FULL);
			return 0;
		}
	}
	bw_mask(nr, 0x1ff);
	c->used[nr] = 1;
	return 0;
}
