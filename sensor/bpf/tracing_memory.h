// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Part of tracing.bpf.c: who reads or writes another's memory by process_vm_readv and
// process_vm_writev, which ask for a capability only where owners differ. Nothing runs at
// system calls: what they call tells, before a byte is copied.
#ifndef BOLLWERK_TRACING_MEMORY_H
#define BOLLWERK_TRACING_MEMORY_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct mm_struct___o {
	struct task_struct *owner;
};
#pragma clang attribute pop

BW_INLINE int reaches(struct task_struct *t)
{
	__u32 nr;

	if (t->flags & BW_PF_KTHREAD || t->tgid == config.agent_pid)
		return 0;
	nr = number_of(t, (void *)bpf_task_pt_regs((void *)t));
	return nr == NR_process_vm_readv || nr == NR_process_vm_writev ? nr : 0;
}

static __noinline int on_memory(__u32 nr, struct task_struct *target)
{
	struct task_struct *t = bw_current();
	struct bw_memory *r;

	if (bw_contained(t) && !own_program())
		return 0; // a runtime at work
	r = bw_reserve(sizeof(*r));
	if (!r) {
		bw_lost(bw_cgroup(t), BW_PTRACE);
		return 0;
	}
	bw_header_of(&r->h, t, BW_PTRACE, sizeof(*r));
	r->h.source = BW_FROM_TRACING;
	r->target = BPF_CORE_READ(target, tgid);
	r->target_start = BPF_CORE_READ(target, group_leader, start_boottime);
	r->syscall = nr;
	guard(&r->h, BW_GUARD_PTRACE, 14);
	tell(&r->h, again(r->h.cgroup, ((__u64)r->target << 32 | nr) ^ r->h.start << 8), r->h.guard != 0);
	return 0;
}

// Somebody locks the memory of another. Of all the locks that are taken, nearly all are of
// one's own. Before 6.13 the kernel writes down a path for each: too dear.
SEC("tp_btf/mmap_lock_start_locking")
int BPF_PROG(bw_mmap_lock, struct mm_struct *mm)
{
	struct task_struct *t = bpf_get_current_task_btf();
	__u32 nr;

	if (t->mm == mm || !(nr = reaches(t)))
		return 0;
	return on_memory(nr, BPF_CORE_READ((struct mm_struct___o *)mm, owner));
}

// The same where programs may be attached to functions.
SEC("fexit/mm_access")
int BPF_PROG(bw_mm_access, struct task_struct *target, unsigned int mode, void *mm)
{
	struct task_struct *t = bpf_get_current_task_btf();
	unsigned long at = (unsigned long)mm;
	__u32 nr;

	if (t == target || !at || at >= -4095UL || !(nr = reaches(t)))
		return 0;
	return on_memory(nr, BPF_CORE_READ(target, group_leader));
}
#endif
