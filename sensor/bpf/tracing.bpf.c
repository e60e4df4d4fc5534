//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What the kernel tells without LSM hooks: checks of capabilities (tp_btf/cap_capable,
// since 6.13), which every mount, namespace change, module and BPF load passes, and the
// program at cgroups that is asked before a sysctl is written.
//
// bpf2go-type: bw_device bw_memory bw_capability bw_namespace bw_mount bw_setting bw_object bw_capability_key bw_mount_key bw_setting_key
#include "bollwerk.h"
#include "file.h"
#include "tracing.h"
#include "tracing_call.h"
#include "tracing_fold.h"

// So that the type information names the records.
struct bw_capability *type_bw_capability __attribute__((unused));
struct bw_device *type_bw_device __attribute__((unused));
struct bw_memory *type_bw_memory __attribute__((unused));
struct bw_namespace *type_bw_namespace __attribute__((unused));
struct bw_mount *type_bw_mount __attribute__((unused));
struct bw_setting *type_bw_setting __attribute__((unused));
struct bw_object *type_bw_object __attribute__((unused));

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct qstr___t {
	const unsigned char *name;
};
struct inode___t {
	unsigned int i_nlink;
	void *i_private;
};
struct proc_ns_operations___t {
	const char *name;
};
struct ns_common___t {
	struct proc_ns_operations___t *ops;
	unsigned int inum;
};
struct super_block___t {
	unsigned long s_magic;
};
struct dentry___t {
	struct qstr___t d_name;
	struct super_block___t *d_sb;
};
struct vfsmount___t {
	int mnt_flags;
};
struct mount___t {
	struct vfsmount___t mnt;
	struct mnt_namespace *mnt_ns;
};
struct path___t {
	struct vfsmount___t *mnt;
	struct dentry___t *dentry;
};
struct file___t {
	struct path___t f_path;
	struct inode___t *f_inode;
	void *private_data;
};
struct mm_struct___t {
	struct file___t *exe_file;
};
struct fdtable___t {
	unsigned int max_fds;
	struct file___t **fd;
};
struct files_struct___t {
	struct fdtable___t *fdt;
};
struct task_struct___t {
	struct mm_struct___t *mm;
	struct files_struct___t *files;
};
struct module___t {
	char name[56];
};
#pragma clang attribute pop

#define AF_PACKET 17
#define CAP_NET_RAW 13
#define CAP_SYS_MODULE 16
#define CAP_SYS_PTRACE 19
#define CAP_SYS_ADMIN 21
#define CAP_BPF 39
// Failed checks of these are told too: nobody asks for them by accident.
#define CAPS_TELLING ((1ULL << CAP_SYS_MODULE) | (1ULL << CAP_SYS_PTRACE) | (1ULL << 17) /* RAWIO */ | (1ULL << 27) /* MKNOD */ | \
	(1ULL << CAP_NET_RAW) | (1ULL << 22) /* BOOT */ | (1ULL << 2) /* DAC_READ_SEARCH */ | (1ULL << CAP_BPF))

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct bw_capability_key);
	__type(value, __u32);
} capabilities SEC(".maps");

// Settings that a contained process has no business to write; filled by the agent.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct bw_setting_key);
	__type(value, __u32);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bw_setting_key);
} scratch SEC(".maps");

// Number of the mount namespace in which a file's mount stands; 0 when it stands in none:
// a memfd, a mount that was taken away, or one that never was attached.
BW_INLINE unsigned int mount_ns_of(struct file___t *f)
{
	struct vfsmount___t *m = BPF_CORE_READ(f, f_path.mnt);
	struct mount___t *real;
	struct mnt_namespace *ns;
	unsigned int inum = 0;

	if (!m)
		return 0;
	real = (void *)m - bpf_core_field_offset(struct mount___t, mnt);
	ns = BPF_CORE_READ(real, mnt_ns);
	bpf_core_read(&inum, sizeof(inum), &ns->ns.inum); // of the kernel's own mounts it is an error number: reads fail
	return inum;
}

// The program that runs is the container's. It is not while a runtime still sets the
// container up, or an admin reaches in: their programs stand among the host's mounts, or
// nowhere (a sealed copy in memory), and their parent lives there. What these do is
// neither told nor refused. A program of the host that somebody inside found a way to has
// a parent inside.
//
// This and what else is not static the verifier looks at once, not once for each call and
// each state it is called in. For the sake of older kernels (5.12) it has no pointers.
__noinline int own_program(void)
{
	struct task_struct *t = bw_current();
	struct task_struct___t *x = (void *)t;
	struct file___t *f = BPF_CORE_READ(x, mm, exe_file);
	unsigned int ns;

	if (!f)
		return 0;
	ns = mount_ns_of(f);
	if (ns && ns != config.host_mnt_ns)
		return 1;
	return BPF_CORE_READ(t, real_parent, nsproxy, mnt_ns, ns.inum) != config.host_mnt_ns;
}

// What the policy of the caller's workload says of a guard.
enum { UNGUARDED, REPORTED, ENFORCED };

__noinline int guarded(__u64 bit)
{
	struct bw_policy *p = bw_policy_of(bw_current());

	if (!p)
		return UNGUARDED;
	return p->enforce & bit ? ENFORCED : p->report & bit ? REPORTED : UNGUARDED;
}

// Kills the caller when its workload's policy says so, and writes down the truth.
BW_INLINE void guard(struct bw_header *h, __u64 bit, __u32 number)
{
	int says;

	if (!(h->flags & BW_F_CONTAINED) || h->pid == config.agent_pid || !own_program())
		return;
	says = guarded(bit);
	if (says == UNGUARDED)
		return;
	h->guard = number;
	if (says == ENFORCED && !bpf_send_signal(9))
		h->outcome = BW_KILLED;
}

// The call that a check of capabilities is made in. No other program comes in between:
// none runs inside itself on one CPU.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct call);
} checked_call SEC(".maps");

BW_INLINE struct call *call(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&checked_call, &zero);
}

// The file behind a descriptor of the current task.
BW_INLINE struct file___t *file_of(unsigned long fd)
{
	struct task_struct___t *t = (void *)bpf_get_current_task();
	struct fdtable___t *table = BPF_CORE_READ(t, files, fdt);
	struct file___t **slots, *f = 0;

	if (!table || fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	slots = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&f, sizeof(f), slots + fd);
	return f;
}

#include "tracing_mount.h"

// 0 when the first n bytes are the same.
BW_INLINE int bw_equal(const char *a, const char *b, int n)
{
	int d = 0;

#pragma unroll
	for (int i = 0; i < n; i++)
		d |= a[i] ^ b[i];
	return d;
}

// A write that needs CAP_SYS_ADMIN: release_agent and its like. The capability is asked
// for before the value is taken, so the value stands in the caller's memory.
//
// Writes to ordinary files ask for it too (overlay asks on behalf of its mounter, file
// systems with reserved blocks do), so only the kernel's own file systems count.
#define CGROUP_SUPER_MAGIC 0x27e0eb
#define SYSFS_MAGIC 0x62656572

__noinline int on_write(void)
{
	struct task_struct *t = bw_current();
	struct call *c = call();
	struct file___t *f;
	struct bw_setting *r;
	const unsigned char *name;
	unsigned long magic;
	__u32 n;
	int plain;

	if (!c || !bw_contained(t) || !own_program())
		return 0;
	f = file_of(c->nr == NR_splice || c->nr == NR_copy_range ? c->a2 : c->a0);
	if (!f)
		return 0;
	magic = BPF_CORE_READ(f, f_path.dentry, d_sb, s_magic);
	if (magic != CGROUP_SUPER_MAGIC && magic != SYSFS_MAGIC)
		return 0;
	r = bw_reserve(sizeof(*r));
	if (!r) {
		bw_lost(bw_cgroup(t), BW_SETTING);
		return 0;
	}
	bw_header_of(&r->h, t, BW_SETTING, sizeof(*r));
	r->h.source = BW_FROM_TRACING;
	r->means = BW_SETTING_FILE;
	r->name[0] = r->value[0] = r->old[0] = 0;
	plain = c->nr == NR_write || c->nr == NR_pwrite;
	r->length = plain ? c->a2 : 0;
	name = BPF_CORE_READ(f, f_path.dentry, d_name.name);
	bpf_probe_read_kernel_str(r->name, sizeof(r->name), name);
	if (plain) { // of the others the value lies elsewhere
		n = c->a2;
		if (n >= sizeof(r->value)) {
			n = sizeof(r->value) - 1;
			r->h.flags |= BW_F_TRUNCATED;
		}
		asm volatile("" : "+r"(n)); // the verifier forgets a bound that the compiler moves
		n &= sizeof(r->value) - 1;
		if (bpf_probe_read_user(r->value, n, (void *)c->a1))
			n = 0;
		asm volatile("" : "+r"(n));
		n &= sizeof(r->value) - 1;
		r->value[n] = 0;
	}
	// "release_agent" and "uevent_helper" are programs that the kernel starts.
	if (!bw_equal(r->name, "release_agent", 14) || !bw_equal(r->name, "uevent_helper", 14))
		guard(&r->h, BW_GUARD_SETTING, 5);
	tell(&r->h, again(r->h.cgroup, hash(hash(5, r->name, 32), r->value, 64)), 1);
	return 0;
}

// Namespaces that clone, unshare and setns name by these bits.
#define CLONE_NEW 0x7e020080ULL
#define NSFS_MAGIC 0x6e736673

__noinline int on_namespace(void)
{
	struct task_struct *t = bw_current();
	struct call *c = call();
	struct bw_namespace *r;
	struct ns_common___t *ns;
	struct file___t *f;
	struct pid *p;
	__u64 flags, what;

	if (!c || (bw_contained(t) && !own_program()))
		return 0;
	flags = c->nr == NR_setns ? c->a1 : c->a0;
	if (c->nr == NR_clone3 && bpf_probe_read_user(&flags, sizeof(flags), (void *)c->a0))
		return 0;
	flags &= CLONE_NEW;
	if (!flags && c->nr != NR_setns)
		return 0;
	// One call asks for its capability several times.
	what = c->a0 ^ (c->a1 << 32) ^ BPF_CORE_READ(t, start_boottime);
	if (c->nr == NR_setns && (f = file_of(c->a0)))
		what ^= (__u64)BPF_CORE_READ(f, f_inode, i_private);
	if (!again(((__u64)BPF_CORE_READ(t, pid) << 32) | c->nr, what))
		return 0;
	r = bw_reserve(sizeof(*r));
	if (!r) {
		bw_lost(bw_cgroup(t), BW_NAMESPACE);
		return 0;
	}
	bw_header_of(&r->h, t, BW_NAMESPACE, sizeof(*r));
	r->h.source = BW_FROM_TRACING;
	r->flags = flags;
	r->syscall = c->nr;
	r->inum = r->target = r->pad = 0;
	r->kind[0] = 0;
	if (c->nr == NR_setns && (f = file_of(c->a0))) {
		if (BPF_CORE_READ(f, f_path.dentry, d_sb, s_magic) == NSFS_MAGIC) {
			ns = BPF_CORE_READ(f, f_inode, i_private);
			r->inum = BPF_CORE_READ(ns, inum);
			bpf_probe_read_kernel_str(r->kind, sizeof(r->kind), BPF_CORE_READ(ns, ops, name));
		} else {
			p = BPF_CORE_READ(f, private_data);
			r->target = BPF_CORE_READ(p, numbers[0].nr);
		}
	}
	tell(&r->h, 1, 0);
	return 0;
}

__noinline int on_object(__u32 kind)
{
	struct task_struct *t = bw_current();
	struct call *c = call();
	struct bw_object *r;
	struct file___t *f;
	char name[16] = {};
	__u64 what;

	if (!c)
		return 0;
	// One call asks for its capability several times.
	what = c->a0 ^ c->a1 ^ (BPF_CORE_READ(t, start_boottime) << 8);
	if (kind == BW_BPF) {
		bpf_probe_read_user(name, sizeof(name), (void *)c->a1 + 48);
		what = hash(what, name, sizeof(name));
	}
	if (!again(((__u64)BPF_CORE_READ(t, pid) << 32) | c->nr, what))
		return 0;
	r = bw_reserve(sizeof(*r));
	if (!r) {
		bw_lost(bw_cgroup(t), kind);
		return 0;
	}
	bw_header_of(&r->h, t, kind, sizeof(*r));
	r->h.source = BW_FROM_TRACING;
	r->syscall = c->nr;
	r->type = 0;
	r->name[0] = r->text[0] = 0;
	if (kind == BW_MODULE) {
		if (c->nr == NR_finit_module && (f = file_of(c->a0)))
			bpf_probe_read_kernel_str(r->name, sizeof(r->name), BPF_CORE_READ(f, f_path.dentry, d_name.name));
		guard(&r->h, BW_GUARD_MODULE, 6);
	} else if (kind == BW_SOCKET) {
		r->type = c->a0;
	} else {
		// union bpf_attr of BPF_PROG_LOAD: prog_type at 0, prog_name at 48.
		bpf_probe_read_user(&r->type, 4, (void *)c->a1);
		bpf_probe_read_user_str(r->name, 16, (void *)c->a1 + 48);
		guard(&r->h, BW_GUARD_BPF, 13);
	}
	tell(&r->h, 1, r->h.guard != 0);
	return 0;
}

#define KEY_OWN (1U << 31) // of bw_capability_key.ok

BW_INLINE int checked(struct user_namespace *target, int cap, int ret)
{
	struct bw_capability_key key = {};
	struct bw_capability *r;
	struct task_struct *t;
	struct pt_regs___t *regs;
	struct call *c;
	__u32 one = 1, nr;

	// Before anything is read: most checks that fail are questions nobody minds the answer to.
	if (cap < 0 || cap > 63 || (ret && !(CAPS_TELLING & (1ULL << (cap & 63)))))
		return 0;
	t = (void *)bpf_get_current_task_btf();
	if (t->flags & BW_PF_KTHREAD || t->tgid == config.agent_pid)
		return 0;
	regs = (void *)bpf_task_pt_regs((void *)t);
	nr = number_of(t, regs);
	if (cap == CAP_SYS_ADMIN) {
		switch (nr) {
		case NR_mmap: case NR_mprotect: case NR_brk: case NR_mremap: case NR_execve: case NR_execveat:
			return 0; // memory accounting asks for it, and does not mind the answer
		}
	}
	if (cap == CAP_SYS_ADMIN || cap == CAP_SYS_MODULE || cap == CAP_BPF || cap == CAP_NET_RAW) {
		c = call();
		if (!c)
			return 0;
		c->nr = nr;
		arguments_of(c, regs);
		if (ret == 0 && cap == CAP_SYS_ADMIN) {
			switch (nr) {
			case NR_mount: case NR_open_tree: case NR_open_tree_attr: case NR_move_mount: case NR_fsopen: case NR_fsconfig: case NR_fspick:
			case NR_mount_setattr:
				if (!(config.options & BW_TRACING_NO_MOUNT))
					on_mount();
				break;
			case NR_setns: case NR_unshare: case NR_clone: case NR_clone3:
				if (!(config.options & BW_TRACING_NO_NAMESPACE))
					on_namespace();
				break;
			case NR_write: case NR_pwrite: case NR_writev: case NR_pwritev: case NR_pwritev2: case NR_sendfile: case NR_splice: case NR_copy_range:
				if (!(config.options & BW_TRACING_NO_SETTING))
					on_write();
				break;
			}
		}
		if (!(config.options & BW_TRACING_NO_OBJECT)) {
			if (cap == CAP_SYS_MODULE && (nr == NR_init_module || nr == NR_finit_module))
				on_object(BW_MODULE);
			else if (cap == CAP_BPF && nr == NR_bpf && c->a0 == 5 /* BPF_PROG_LOAD */)
				on_object(BW_BPF);
		}
		if (cap == CAP_NET_RAW && !ret && nr == NR_socket && c->a0 == AF_PACKET && !(config.options & BW_TRACING_NO_PACKET))
			on_object(BW_SOCKET);
	}
	if (config.options & BW_TRACING_NO_CAPABILITY)
		return 0;
	key.cgroup = bw_cgroup(t);
	key.cap = cap;
	key.ok = ret == 0;
	switch (nr) { // what is told apart, whatever used the capability before
	case NR_open_by_handle_at: case NR_ptrace: case NR_process_vm_readv: case NR_process_vm_writev: case NR_chroot: case NR_mknodat: case NR_mknod:
		key.ok |= nr << 1;
	}
	key.ok |= KEY_OWN;
	if (bpf_map_lookup_elem(&capabilities, &key))
		return 0;
	// Rights borrowed for a moment are not the process's: an overlay works on its layers
	// with those of whoever mounted it.
	if (BPF_CORE_READ(t, cred) != BPF_CORE_READ(t, real_cred))
		return 0;
	// What the runtime needed to make the container says nothing of the container's own.
	if (bw_contained((void *)t) && !own_program()) {
		key.ok &= ~KEY_OWN;
		if (bpf_map_lookup_elem(&capabilities, &key))
			return 0;
	}
	bpf_map_update_elem(&capabilities, &key, &one, BPF_ANY);
	r = bw_reserve(sizeof(*r));
	if (!r) {
		bw_lost(key.cgroup, BW_CAPABILITY);
		return 0;
	}
	bw_header_of(&r->h, t, BW_CAPABILITY, sizeof(*r));
	r->h.source = BW_FROM_TRACING;
	r->h.result = ret;
	r->cap = cap;
	r->syscall = nr;
	r->user_ns = BPF_CORE_READ(target, ns.inum);
	r->pad = 0;
	bw_submit(r, 0);
	return 0;
}

SEC("tp_btf/cap_capable")
int BPF_PROG(bw_cap_capable, const struct cred *cred, struct user_namespace *target, const struct user_namespace *capable, int cap, int ret)
{
	return checked(target, cap, ret);
}

// The same on kernels before 6.13, where programs may be attached to functions.
SEC("fexit/cap_capable")
int BPF_PROG(bw_cap_capable_exit, const struct cred *cred, struct user_namespace *target, int cap, unsigned int opts, int ret)
{
	if (opts & 2) // CAP_OPT_NOAUDIT: memory accounting and other questions out of interest
		return 0;
	return checked(target, cap, ret);
}

// Kernels with modules tell also of those that the kernel itself asks for.
SEC("tp_btf/module_load")
int BPF_PROG(bw_module_load, struct module___t *m)
{
	struct task_struct *t = bw_current();
	struct bw_object *r = bw_reserve(sizeof(*r));

	if (!r) {
		bw_lost(bw_cgroup(t), BW_MODULE);
		return 0;
	}
	bw_header_of(&r->h, t, BW_MODULE, sizeof(*r));
	r->h.source = BW_FROM_TRACING_MODULE;
	r->syscall = 0;
	r->type = 0;
	r->text[0] = 0;
	bpf_probe_read_kernel_str(r->name, sizeof(r->name), m->name);
	guard(&r->h, BW_GUARD_MODULE, 6);
	bw_submit(r, 1);
	return 0;
}

// Asked before a value under /proc/sys is read or written: 1 lets it pass, 0 is EPERM.
SEC("cgroup/sysctl")
int bw_sysctl(struct bpf_sysctl *ctx)
{
	struct task_struct *t;
	struct bw_setting_key *key;
	struct bw_setting *r;
	__u32 zero = 0;
	int says = UNGUARDED, deny, n;

	if (!ctx->write || config.options & BW_TRACING_NO_SETTING)
		return 1;
	t = bw_current();
	if (BPF_CORE_READ(t, tgid) == config.agent_pid)
		return 1;
	key = bpf_map_lookup_elem(&scratch, &zero);
	if (!key)
		return 1;
	__builtin_memset(key, 0, sizeof(*key));
	bpf_sysctl_get_name(ctx, key->name, sizeof(key->name), 0);
	if (bw_contained(t) && own_program() && bpf_map_lookup_elem(&settings, key))
		says = guarded(BW_GUARD_SETTING);
	deny = says == ENFORCED;
	r = bw_reserve(sizeof(*r));
	if (!r) {
		bw_lost(bw_cgroup(t), BW_SETTING);
		return !deny;
	}
	bw_header_of(&r->h, t, BW_SETTING, sizeof(*r));
	r->h.source = BW_FROM_TRACING;
	r->means = BW_SETTING_SYSCTL;
	__builtin_memcpy(r->name, key->name, sizeof(key->name));
	r->name[sizeof(key->name)] = 0;
	r->old[0] = r->value[0] = 0;
	bpf_sysctl_get_current_value(ctx, r->old, sizeof(r->old));
	n = bpf_sysctl_get_new_value(ctx, r->value, sizeof(r->value));
	r->length = n < 0 ? 0 : n;
	if (n == -7)
		r->h.flags |= BW_F_TRUNCATED;
	if (says != UNGUARDED)
		r->h.guard = 5;
	if (deny) {
		r->h.outcome = BW_DENIED;
		r->h.result = -1;
	}
	tell(&r->h, again(r->h.cgroup, hash(hash(6, r->name, 64), r->value, 64)), deny);
	return !deny;
}

// Asked before a device is opened or its node made: 1 lets it pass, 0 is EPERM. Whoever
// reads a disk or /dev/mem needs no mount to reach the host's files.
SEC("cgroup/dev")
int bw_device_open(struct bpf_cgroup_dev_ctx *ctx)
{
	__u32 access = ctx->access_type, major = ctx->major, minor = ctx->minor;
	struct task_struct *t;
	struct bw_device *r;
	int says, deny;
	__u64 what;

	if ((access & 0xffff) != BPF_DEVCG_DEV_BLOCK && !(major == 1 && (minor == 1 || minor == 2 || minor == 4)))
		return 1;
	if (config.options & BW_TRACING_NO_DEVICE)
		return 1;
	t = bw_current();
	if (BPF_CORE_READ(t, tgid) == config.agent_pid || !bw_contained(t) || !own_program())
		return 1;
	says = guarded(BW_GUARD_MOUNT);
	deny = says == ENFORCED;
	r = bw_reserve(sizeof(*r));
	if (!r) {
		bw_lost(bw_cgroup(t), BW_OPEN);
		return !deny;
	}
	bw_header_of(&r->h, t, BW_OPEN, sizeof(*r));
	r->h.source = BW_FROM_TRACING;
	r->access = access;
	r->major = major;
	r->minor = minor;
	r->pad = 0;
	if (says != UNGUARDED)
		r->h.guard = 15;
	if (deny) {
		r->h.outcome = BW_DENIED;
		r->h.result = -1;
	}
	what = ((__u64)access << 48) ^ ((__u64)major << 20) ^ minor ^ (7ULL << 60) ^ ((__u64)r->h.pid << 32);
	tell(&r->h, again(r->h.cgroup, what), deny);
	return !deny;
}

#include "tracing_memory.h"
