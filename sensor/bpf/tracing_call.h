// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Which system call a task is in, and its arguments. Nothing runs at system calls
// themselves: programs that the kernel runs within one look what it is.
#ifndef BOLLWERK_TRACING_CALL_H
#define BOLLWERK_TRACING_CALL_H
#include "bollwerk.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
#if defined(__TARGET_ARCH_x86)
struct thread_info___t {
	unsigned int status;
};
struct task_struct___ti {
	struct thread_info___t thread_info;
};
struct pt_regs___t {
	unsigned long di, si, dx, r10, r8, orig_ax;
};
#else
struct pt_regs___t {
	unsigned long long regs[31];
};
#endif
#pragma clang attribute pop

#if defined(__TARGET_ARCH_x86)
enum {
	NR_write = 1, NR_pwrite = 18, NR_writev = 20, NR_pwritev = 296, NR_pwritev2 = 328, NR_sendfile = 40, NR_splice = 275, NR_copy_range = 326, NR_mmap = 9, NR_mprotect = 10, NR_brk = 12, NR_mremap = 25, NR_clone = 56, NR_fork = 57,
	NR_vfork = 58, NR_execve = 59, NR_execveat = 322, NR_clone3 = 435, NR_mount = 165, NR_init_module = 175, NR_finit_module = 313,
	NR_bpf = 321, NR_socket = 41, NR_listen = 50, NR_setns = 308, NR_unshare = 272,
	NR_open_by_handle_at = 304, NR_ptrace = 101, NR_process_vm_readv = 310, NR_process_vm_writev = 311, NR_chroot = 161, NR_mknodat = 259, NR_mknod = 133,
};
#else
enum {
	NR_write = 64, NR_pwrite = 68, NR_writev = 66, NR_pwritev = 70, NR_pwritev2 = 287, NR_sendfile = 71, NR_splice = 76, NR_copy_range = 285, NR_mmap = 222, NR_mprotect = 226, NR_brk = 214, NR_mremap = 216, NR_clone = 220,
	NR_fork = -1, NR_vfork = -2, NR_execve = 221, NR_execveat = 281, NR_clone3 = 435, NR_mount = 40, NR_init_module = 105,
	NR_finit_module = 273, NR_bpf = 280, NR_socket = 198, NR_listen = 201, NR_setns = 268, NR_unshare = 97,
	NR_open_by_handle_at = 265, NR_ptrace = 117, NR_process_vm_readv = 270, NR_process_vm_writev = 271, NR_chroot = 51, NR_mknodat = 33, NR_mknod = -3,
};
#endif
enum { // the same everywhere
	NR_open_tree = 428, NR_move_mount = 429, NR_fsopen = 430, NR_fsconfig = 431, NR_fsmount = 432, NR_fspick = 433, NR_mount_setattr = 442,
	NR_open_tree_attr = 467,
};
#define NR_COMPAT 0xffff // a 32-bit call: its numbers and registers are others

struct call {
	__u32 nr;
	unsigned long a0, a1, a2, a3;
};

// Loads straight from the kernel's structs: these run for every check.
BW_INLINE __u32 number_of(struct task_struct *t, struct pt_regs___t *r)
{
#if defined(__TARGET_ARCH_x86)
	struct task_struct___ti *x = (void *)t;

	return x->thread_info.status & 2 ? NR_COMPAT : (__u32)r->orig_ax;
#else
	return r->regs[8];
#endif
}

BW_INLINE void arguments_of(struct call *c, struct pt_regs___t *r)
{
#if defined(__TARGET_ARCH_x86)
	c->a0 = r->di;
	c->a1 = r->si;
	c->a2 = r->dx;
	c->a3 = r->r10;
#else
	c->a0 = r->regs[0];
	c->a1 = r->regs[1];
	c->a2 = r->regs[2];
	c->a3 = r->regs[3];
#endif
}

BW_INLINE unsigned long fifth_argument(struct pt_regs___t *r)
{
#if defined(__TARGET_ARCH_x86)
	return r->r8;
#else
	return r->regs[4];
#endif
}
#endif
