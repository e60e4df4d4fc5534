// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Second half of lsm.bpf.c: starts of programs, rights, mounts, modules, BPF, sockets.
#ifndef BOLLWERK_LSM_ACT_H
#define BOLLWERK_LSM_ACT_H
#include "tracing_call.h"

BW_INLINE __u32 lsm_act_seen(struct task_struct *t, __u16 kind, __u64 what, const struct lsm_verdict *v)
{
	struct lsm_scratch *s = lsm_take();

	if (!s)
		return 1;
	__builtin_memset(&s->seen, 0, sizeof(s->seen));
	s->seen.cgroup = bw_cgroup(t);
	s->seen.kind = kind | (v && v->guard ? 0x4000 : 0) | (v && v->deny ? 0x8000 : 0);
	s->seen.inode = what;
	s->seen.other = lsm_exe(t);
	return lsm_fold(1, 1);
}

BW_INLINE struct lsm_act *lsm_act_new(struct task_struct *t, __u16 kind, __u8 source, __u32 count, const struct lsm_verdict *v)
{
	struct lsm_act *r = bw_reserve(sizeof(*r));

	if (!r) {
		bw_lost(bw_cgroup(t), kind);
		return 0;
	}
	__builtin_memset((void *)r + sizeof(r->h), 0, sizeof(*r) - sizeof(r->h));
	lsm_head(&r->h, t, kind, source, v ? v->guard : 0, v ? v->deny : 0);
	r->h.size = sizeof(*r);
	r->count = count;
	return r;
}

// Fills exec_scratch: the name as called (s->op.says), what stands behind the last
// slash, if it is short.
__noinline int lsm_called(void)
{
	struct bw_exec_facts *x = bw_exec_facts();
	struct lsm_scratch *s = lsm_room();
	char tail[24] = {};
	__u32 from;
	long l;

	if (!x || !s)
		return 0;
	__builtin_memset(x->called, 0, sizeof(x->called));
	l = bpf_probe_read_kernel_str(s->file_text, 512, s->op.says);
	if (l <= 0 || l > 512)
		return 0;
	from = l > 17 ? l - 17 : 0;
	bpf_probe_read_kernel_str(tail, 17, &s->file_text[from & 511]);
#pragma unroll
	for (int i = 15; i >= 0; i--) {
		if (tail[i] == '/') {
			bpf_probe_read_kernel_str(x->called, 16 - i, &tail[i + 1]);
			return 0;
		}
	}
	if (!from)
		__builtin_memcpy(x->called, tail, sizeof(x->called) - 1);
	return 0;
}

__noinline int lsm_stdio(void)
{
	struct bw_exec_facts *x = bw_exec_facts();

	if (x)
		bw_read_stdio(bw_current(), x->stdio);
	return 0;
}

SEC("lsm/bprm_check_security")
int BPF_PROG(bprm_check, struct linux_binprm *bprm)
{
	struct task_struct *t = bw_current();
	struct bw_exec_facts *x = bw_exec_facts();
	char magic[2] = {};
	struct file *file = bprm->file;
	struct inode *inode = file->f_inode;
	struct lsm_scratch *s;
	struct bw_policy *p;
	__u32 hit, n, m = 0;
	long l;

	// A copy of itself that a runtime goes on from: without a name, or from a mount that it
	// took away at once (runc before 1.2). Its process may be in the container's group by then.
	if ((!inode->i_nlink || lsm_hidden(file->f_path.mnt)) && (!bw_contained(t) || lsm_runtime())) {
		struct lsm_memfd k = {};
		__u32 one = 1;

		k.inode = inode->i_ino;
		k.device = inode->i_sb->s_dev;
		bpf_map_update_elem(&lsm_runtimes, &k, &one, BPF_ANY);
		return 0;
	}
	if (!bw_contained(t))
		return 0;
	p = bw_policy_of(t);
	if (!p || !x)
		return 0;
	bpf_core_read(magic, sizeof(magic), &bprm->buf);
	if (magic[0] == '#' && magic[1] == '!')
		return 0; // its interpreter is what starts
	s = lsm_take();
	if (!s)
		return 0;
	s->op.says = bprm->filename;
	lsm_called();
	lsm_stdio();
	x->task = t;
	x->file = file;
	x->set = p->set;
	x->origin = bw_origin_of(t, inode, BPF_CORE_READ(file, f_path.mnt));
	barrier();
	hit = bw_exec_guard(p->enforce);
	barrier();
	// Another start on this CPU took the room in between (preemptible kernels only):
	// not a reason to refuse this one.
	if (hit && *(struct task_struct *volatile *)&x->task != t) {
		bw_lost(bw_cgroup(t), BW_EXEC);
		return 0;
	}
	if (!hit)
		return 0; // what is only reported the record of the start says
	// Told each time at first, then at every doubling.
	__builtin_memset(&s->seen, 0, sizeof(s->seen));
	s->seen.cgroup = bw_cgroup(t);
	s->seen.kind = BW_EXEC | 0x8000;
	s->seen.inode = inode->i_ino;
	s->seen.device = inode->i_sb->s_dev;
	s->seen.other = hit;
	n = lsm_fold(16, 1);
	if (!n)
		return -EPERM;
	s->exec.count = n;
	s->exec.inode = inode->i_ino;
	s->exec.size = inode->i_size;
	s->exec.device = inode->i_sb->s_dev;
	s->exec.mode = inode->i_mode;
	s->exec.origin = x->origin;
	s->exec.pad = 0;
	__builtin_memcpy(s->exec.stdio, x->stdio, sizeof(s->exec.stdio));
	lsm_look(s, BPF_CORE_READ(file, f_path.mnt), BPF_CORE_READ(file, f_path.dentry));
	lsm_path();
	n = lsm_copy_path(s, s->exec_text, 0);
	l = bpf_probe_read_kernel_str(&s->exec_text[n & (LSM_PATH - 1)], 512, bprm->filename);
	m = l > 0 ? l - 1 : 0;
	s->exec.path = n;
	s->exec.called = m;
	lsm_head(&s->exec.h, t, BW_EXEC, LSM_EXEC, hit, 1);
	lsm_send(s, &s->exec.h, sizeof(s->exec), n + m, 1);
	return -EPERM;
}

BW_INLINE void lsm_rights(struct task_struct *t, const struct cred *new, const struct cred *old, __u8 source)
{
	struct lsm_act *r;
	__u64 caps[2] = {};
	__u32 uid[2], euid[2], count;

	bpf_core_read(&uid[0], 4, &old->uid);
	bpf_core_read(&uid[1], 4, &new->uid);
	bpf_core_read(&euid[0], 4, &old->euid);
	bpf_core_read(&euid[1], 4, &new->euid);
	bpf_core_read(&caps[0], 8, &old->cap_effective);
	bpf_core_read(&caps[1], 8, &new->cap_effective);
	if (uid[0] == uid[1] && euid[0] == euid[1] && !(caps[1] & ~caps[0]))
		return;
	if (bw_contained(t) && lsm_runtime())
		return; // a container that is made
	count = lsm_act_seen(t, BW_CREDENTIALS, ((__u64)euid[0] << 32 | euid[1]) ^ (caps[1] << 8), 0);
	if (!count)
		return;
	r = lsm_act_new(t, BW_CREDENTIALS, source, count, 0);
	if (!r)
		return;
	r->a = caps[0];
	r->b = caps[1];
	r->old[0] = uid[0];
	r->old[1] = euid[0];
	r->now[0] = uid[1];
	r->now[1] = euid[1];
	bpf_core_read(&r->old[2], 4, &old->gid);
	bpf_core_read(&r->now[2], 4, &new->gid);
	bw_submit(r, 0);
}

SEC("lsm/task_fix_setuid")
int BPF_PROG(task_fix_setuid, struct cred *new, const struct cred *old)
{
	lsm_rights(bw_current(), new, old, LSM_SETUID);
	return 0;
}

SEC("lsm/capset")
int BPF_PROG(capset, struct cred *new, const struct cred *old)
{
	lsm_rights(bw_current(), new, old, LSM_CAPSET);
	return 0;
}

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct fs_context {
	struct file_system_type *fs_type;
	const char *source;
};
#pragma clang attribute pop

// The file behind a descriptor of the current task.
BW_INLINE struct file *lsm_file_of(unsigned long fd)
{
	struct fdtable *table = BPF_CORE_READ(bw_current(), files, fdt);
	struct file **slots, *f = 0;

	if (!table || fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	slots = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&f, sizeof(f), slots + fd);
	return f;
}

// A contained process makes a mount that stands nowhere (open_tree, fsmount): what is in it is
// reached through its descriptor, without ever being moved to a place. No hook tells but
// that of the capability. Returns 1 when it is to be refused.
static __noinline int lsm_detached(void)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct pt_regs___t *regs = (void *)bpf_task_pt_regs((void *)t);
	__u32 nr = number_of(t, regs), count;
	struct lsm_verdict v = {};
	struct fs_context *fc;
	struct lsm_scratch *s;
	struct call c = {};
	struct file *f;

	if (nr != NR_open_tree && nr != NR_open_tree_attr && nr != NR_fsmount)
		return 0;
	s = lsm_take();
	if (!s || lsm_runtime())
		return 0;
	arguments_of(&c, regs);
	__builtin_memset(&s->mount.source, 0, 16);
	s->mount.type[0] = 0;
	s->mount.flags = 0;
	f = lsm_file_of(c.a0);
	if (nr == NR_fsmount) {
		if (f) {
			fc = BPF_CORE_READ(f, private_data);
			bpf_probe_read_kernel_str(s->mount.source, sizeof(s->mount.source), BPF_CORE_READ(fc, source));
			bpf_probe_read_kernel_str(s->mount.type, sizeof(s->mount.type), BPF_CORE_READ(fc, fs_type, name));
		}
	} else {
		s->mount.flags = 4096; // MS_BIND
		bpf_probe_read_user_str(s->mount.source, sizeof(s->mount.source), (void *)c.a1);
	}
	lsm_judge(&v, bw_current(), bw_policy_of(bw_current()), BW_GUARD_MOUNT);
	count = lsm_act_seen(bw_current(), BW_MOUNT, nr ^ *(__u64 *)s->mount.source ^ *(__u64 *)&s->mount.source[8] << 1, &v);
	if (count) {
		s->cut = 0;
		s->mount.count = count;
		s->mount.path = 0;
		lsm_head(&s->mount.h, bw_current(), BW_MOUNT, LSM_MOVE_MOUNT, v.guard, v.deny);
		lsm_send(s, &s->mount.h, sizeof(s->mount), 0, v.deny);
	}
	return v.deny && lsm_mine(s);
}

// lsm_by_handle reports whether a file is opened by its number: so a container gets at files
// that no path of its own leads to. Kernels before 5.15 do not let us look.
BW_INLINE int lsm_by_handle(int cap)
{
	struct task_struct *t;

	if (cap != CAP_DAC_READ_SEARCH || !bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return 0;
	t = (void *)bpf_get_current_task_btf();
	return number_of(t, (void *)bpf_task_pt_regs((void *)t)) == NR_open_by_handle_at;
}

// Only checks that passed come here: the kernel's own capability module goes first.
// a: the capability, b: the user namespace in which it was asked for; old[0]: by_handle.
SEC("lsm/capable")
int BPF_PROG(capable, const struct cred *cred, struct user_namespace *ns, int cap, unsigned int opts)
{
	struct task_struct *t = bw_current();
	struct lsm_seen_key k = {};
	struct lsm_seen seen = {};
	struct lsm_act *r;
	int handle;

	if (opts & CAP_OPT_NOAUDIT || !bw_contained(t))
		return 0;
	if (cap == CAP_SYS_ADMIN && bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs) && lsm_detached())
		return -EPERM;
	k.cgroup = bw_cgroup(t);
	k.kind = BW_CAPABILITY;
	handle = lsm_by_handle(cap); // told apart, whatever used the capability before
	k.inode = cap | (__u64)handle << 8;
	if (bpf_map_lookup_elem(&lsm_repeats, &k) || lsm_runtime())
		return 0;
	// Rights borrowed for a moment are not the process's: an overlay works on its layers
	// with those of whoever mounted it.
	if (BPF_CORE_READ(t, cred) != BPF_CORE_READ(t, real_cred))
		return 0;
	seen.since = bpf_ktime_get_boot_ns();
	bpf_map_update_elem(&lsm_repeats, &k, &seen, BPF_ANY);
	r = lsm_act_new(t, BW_CAPABILITY, LSM_CAPABLE, 1, 0);
	if (!r)
		return 0;
	r->a = cap;
	r->b = BPF_CORE_READ(ns, ns.inum);
	r->old[0] = handle;
	bw_submit(r, 0);
	return 0;
}

SEC("lsm/ptrace_access_check")
int BPF_PROG(ptrace_access_check, struct task_struct *child, unsigned int mode)
{
	struct task_struct *t = bw_current();
	struct lsm_verdict v = {};
	struct lsm_act *r;
	__u32 count;

	if (!(mode & PTRACE_MODE_ATTACH) || BPF_CORE_READ(t, tgid) == BPF_CORE_READ(child, tgid) || BPF_CORE_READ(t, tgid) == config.agent_pid)
		return 0;
	if (bw_contained(t))
		lsm_judge(&v, t, bw_policy_of(t), BW_GUARD_PTRACE);
	count = lsm_act_seen(t, BW_PTRACE, bw_cgroup(child), &v);
	if (count && (r = lsm_act_new(t, BW_PTRACE, LSM_PTRACE, count, &v))) {
		r->target = BPF_CORE_READ(child, tgid);
		r->target_start = BPF_CORE_READ(child, group_leader, start_boottime);
		r->a = mode;
		bw_submit(r, v.deny);
	}
	return lsm_answer(v.deny);
}

// A process lets its parent trace it: debuggers do so, and programs that do not want to
// be debugged. Only told.
SEC("lsm/ptrace_traceme")
int BPF_PROG(ptrace_traceme, struct task_struct *parent)
{
	struct task_struct *t = bw_current();
	struct lsm_act *r;
	__u32 count = lsm_act_seen(t, BW_TRACEME, 0, 0);

	if (!count || !(r = lsm_act_new(t, BW_TRACEME, LSM_TRACEME, count, 0)))
		return 0;
	r->target = BPF_CORE_READ(parent, tgid);
	r->target_start = BPF_CORE_READ(parent, group_leader, start_boottime);
	bw_submit(r, 0);
	return 0;
}

// Page faults that a process wants to answer itself (userfaultfd(2)).
SEC("lsm/inode_init_security_anon")
int BPF_PROG(anon_inode, struct inode *inode, const struct qstr *name)
{
	struct task_struct *t = bw_current();
	struct lsm_act *r;
	char begin[8] = {};
	__u32 count;

	bpf_probe_read_kernel_str(begin, sizeof(begin), name->name);
	if (begin[0] != '[' || begin[1] != 'u' || begin[2] != 's' || begin[3] != 'e' || begin[4] != 'r' || begin[5] != 'f' || begin[6] != 'a')
		return 0;
	count = lsm_act_seen(t, BW_USERFAULT, 0, 0);
	if (count && (r = lsm_act_new(t, BW_USERFAULT, LSM_USERFAULT, count, 0)))
		bw_submit(r, 0);
	return 0;
}

// The place stands in s->mnt and s->dentry, source and type in s->mount. Returns 1 when
// it is to be refused.
__noinline int lsm_mounted(__u32 source)
{
	struct task_struct *t = bw_current();
	struct lsm_scratch *s = lsm_room();
	struct lsm_verdict v = {};
	__u32 count, n;

	if (!s)
		return 0;
	lsm_moved();
	if (bw_contained(t)) {
		if (lsm_runtime())
			return 0; // a container that is made
		lsm_judge(&v, t, bw_policy_of(t), BW_GUARD_MOUNT);
	}
	count = lsm_act_seen(t, BW_MOUNT, (__u64)s->dentry ^ s->mount.flags, &v);
	if (count) {
		lsm_path();
		n = lsm_copy_path(s, s->mount_text, 0);
		s->mount.count = count;
		s->mount.path = n;
		lsm_head(&s->mount.h, t, BW_MOUNT, source, v.guard, v.deny);
		lsm_send(s, &s->mount.h, sizeof(s->mount), n, v.deny);
	}
	return v.deny && lsm_mine(s);
}

SEC("lsm/sb_mount")
int BPF_PROG(sb_mount, const char *dev, const struct path *path, const char *type, unsigned long flags)
{
	struct lsm_scratch *s = lsm_take();

	if (!s)
		return 0;
	s->mount.source[0] = s->mount.type[0] = 0;
	s->mount.flags = flags;
	lsm_look(s, path->mnt, path->dentry);
	if (dev)
		bpf_probe_read_kernel_str(s->mount.source, sizeof(s->mount.source), dev);
	if (type)
		bpf_probe_read_kernel_str(s->mount.type, sizeof(s->mount.type), type);
	return lsm_answer(lsm_mounted(LSM_MOUNT));
}

SEC("lsm/move_mount")
int BPF_PROG(move_mount, const struct path *from, const struct path *to)
{
	struct lsm_scratch *s = lsm_take();
	struct vfsmount *m = from->mnt;
	struct super_block *sb = BPF_CORE_READ(m, mnt_sb);
	struct mount___d *real;

	if (!s)
		return 0;
	s->mount.source[0] = s->mount.type[0] = 0;
	s->mount.flags = 0;
	lsm_look(s, to->mnt, to->dentry);
	s->op.mnt = m; // through memory it becomes a number to calculate with
	real = (void *)*(struct vfsmount *volatile *)&s->op.mnt - bpf_core_field_offset(struct mount, mnt);
	bpf_probe_read_kernel_str(s->mount.source, sizeof(s->mount.source), BPF_CORE_READ(real, mnt_devname));
	bpf_probe_read_kernel_str(s->mount.type, sizeof(s->mount.type), BPF_CORE_READ((struct super_block___l *)sb, s_type, name));
	return lsm_answer(lsm_mounted(LSM_MOVE_MOUNT));
}

// a: the program's type.
SEC("lsm/bpf")
int BPF_PROG(bpf_call, int cmd, union bpf_attr *attr)
{
	struct task_struct *t = bw_current();
	struct lsm_verdict v = {};
	struct lsm_act *r;
	__u32 count, type = 0;

	if (cmd != BPF_PROG_LOAD_CMD || BPF_CORE_READ(t, tgid) == config.agent_pid)
		return 0;
	bpf_probe_read_kernel(&type, sizeof(type), attr);
	if (bw_contained(t))
		lsm_judge(&v, t, bw_policy_of(t), BW_GUARD_BPF);
	count = lsm_act_seen(t, BW_BPF, type, &v);
	if (count && (r = lsm_act_new(t, BW_BPF, LSM_BPF, count, &v))) {
		r->a = type;
		bpf_probe_read_kernel(r->name, BPF_OBJ_NAME_LEN, (void *)attr + __builtin_offsetof(union bpf_attr, prog_name));
		bw_submit(r, v.deny);
	}
	return lsm_answer(v.deny);
}

enum kernel_read_file_id { READING_MODULE = 2 };
enum kernel_load_data_id { LOADING_MODULE = 2 };

static __noinline int lsm_module(__u8 source, struct dentry *d, const char *name, int refuse)
{
	struct task_struct *t = bw_current();
	struct lsm_verdict v = {};
	struct lsm_act *r;
	__u32 count;

	if (refuse && bw_contained(t))
		lsm_judge(&v, t, bw_policy_of(t), BW_GUARD_MODULE);
	count = lsm_act_seen(t, BW_MODULE, d ? (__u64)d : source, &v);
	if (count && (r = lsm_act_new(t, BW_MODULE, source, count, &v))) {
		if (d)
			name = (const char *)BPF_CORE_READ(d, d_name.name);
		if (name)
			bpf_probe_read_kernel_str(r->name, sizeof(r->name), name);
		bw_submit(r, v.deny);
	}
	return lsm_answer(v.deny);
}

// finit_module.
SEC("lsm/kernel_read_file")
int BPF_PROG(kernel_read_file, struct file *file, int id)
{
	if (id != bpf_core_enum_value(enum kernel_read_file_id, READING_MODULE))
		return 0;
	return lsm_module(LSM_MODULE_FILE, file ? BPF_CORE_READ(file, f_path.dentry) : 0, 0, 1);
}

// init_module: the module comes from memory and has no name yet.
SEC("lsm/kernel_load_data")
int BPF_PROG(kernel_load_data, int id)
{
	if (id != bpf_core_enum_value(enum kernel_load_data_id, LOADING_MODULE))
		return 0;
	return lsm_module(LSM_MODULE_DATA, 0, 0, 1);
}

// The kernel wants a module for what a process asked for. Only told: what is refused
// here would break programs that try for a feature and do without.
SEC("lsm/kernel_module_request")
int BPF_PROG(kernel_module_request, char *name)
{
	if (!bw_contained(bw_current()))
		return 0;
	return lsm_module(LSM_MODULE_REQUEST, 0, name, 0);
}

// A contained process connects to a socket that has a name: the one its listener gave it.
SEC("lsm/unix_stream_connect")
int BPF_PROG(unix_connect, struct sock *sock, struct sock *other)
{
	struct task_struct *t = bw_current();
	struct unix_address *addr;
	struct lsm_act *r;
	__u32 count;
	char *path;

	if (!bw_contained(t))
		return 0;
	addr = BPF_CORE_READ((struct unix_sock___l *)other, addr);
	if (!addr)
		return 0;
	path = (char *)addr + bpf_core_field_offset(struct unix_address, name) + sizeof(short);
	count = lsm_act_seen(t, BW_CONNECT, (__u64)addr, 0);
	if (!count || !(r = lsm_act_new(t, BW_CONNECT, LSM_UNIX, count, 0)))
		return 0;
	if (bpf_probe_read_kernel_str(r->name, 109, path) <= 1) {
		r->name[0] = '@'; // no file
		bpf_probe_read_kernel_str(r->name + 1, 107, path + 1);
	}
	bw_submit(r, 0);
	return 0;
}

// a: the family, b: type << 32 | protocol. Refused where destinations are restricted: what
// such sockets send passes no hook that asks where to.
SEC("lsm/socket_create")
int BPF_PROG(socket_create, int family, int type, int protocol, int kern)
{
	struct task_struct *t;
	struct lsm_verdict v = {};
	struct lsm_act *r;
	__u32 count;

	if (kern || !(family == 17 || ((type & 15) == 3 && (family == 2 || family == 10))))
		return 0;
	t = bw_current();
	if (bw_contained(t))
		lsm_judge(&v, t, bw_policy_of(t), BW_GUARD_EGRESS);
	count = lsm_act_seen(t, BW_SOCKET, (__u64)family << 32 | protocol, &v);
	if (count && (r = lsm_act_new(t, BW_SOCKET, LSM_SOCKET, count, &v))) {
		r->a = family;
		r->b = (__u64)(type & 15) << 32 | (__u32)protocol;
		bw_submit(r, v.deny);
	}
	return lsm_answer(v.deny);
}

// a: kinds that change, b: kinds that are the host's afterwards (bits as in CLONE_NEW*).
BW_INLINE void lsm_namespace(struct task_struct *t, __u8 source, __u64 kinds, __u64 host, int entered)
{
	__u32 count = lsm_act_seen(t, BW_NAMESPACE, kinds ^ host << 1 ^ entered, 0);
	struct lsm_act *r;

	if (!count || !(r = lsm_act_new(t, BW_NAMESPACE, source, count, 0)))
		return;
	r->a = kinds;
	r->b = host;
	r->now[0] = entered;
	bw_submit(r, 0);
}

SEC("lsm/userns_create")
int BPF_PROG(userns_create)
{
	lsm_namespace(bw_current(), LSM_USERNS, 0x10000000, 0, 0);
	return 0;
}

// Tasks inside unshare(2): what they change is new. Others enter what exists (setns).
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u32);
} lsm_unsharing SEC(".maps");

SEC("fentry/ksys_unshare")
int BPF_PROG(unshare_begin)
{
	__u32 tid = bpf_get_current_pid_tgid(), one = 1;

	bpf_map_update_elem(&lsm_unsharing, &tid, &one, BPF_ANY);
	return 0;
}

SEC("fexit/ksys_unshare")
int BPF_PROG(unshare_end)
{
	__u32 tid = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&lsm_unsharing, &tid);
	return 0;
}

// Tasks that enter a user namespace: it is theirs only when setns(2) has tried all the
// namespaces that it was asked for, just before switch_task_namespaces.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} lsm_entering SEC(".maps");

SEC("fentry/userns_install")
int BPF_PROG(userns_enter, void *set, struct ns_common *ns)
{
	__u32 tid = bpf_get_current_pid_tgid();
	__u64 user = (__u64)ns - bpf_core_field_offset(struct user_namespace, ns);

	bpf_map_update_elem(&lsm_entering, &tid, &user, BPF_ANY);
	return 0;
}

#define LSM_NS(member, flag, host_inum) \
	a = BPF_CORE_READ(was, member); \
	b = BPF_CORE_READ(new, member); \
	if (a != b) { \
		kinds |= flag; \
		if (BPF_CORE_READ(new, member, ns.inum) == (host_inum)) \
			host |= flag; \
	}

SEC("fentry/switch_task_namespaces")
int BPF_PROG(switch_namespaces, struct task_struct *t, struct nsproxy *new)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct nsproxy *was = BPF_CORE_READ(t, nsproxy);
	__u64 kinds = 0, host = 0, *user;
	void *a, *b;

	if (!new || !was || was == new || t != bw_current())
		return 0;
	user = bpf_map_lookup_elem(&lsm_entering, &tid);
	if (user) {
		struct user_namespace *mine = BPF_CORE_READ(t, cred, user_ns);

		if (*user == (__u64)mine) {
			kinds = 0x10000000;
			if (BPF_CORE_READ(mine, ns.inum) == config.host_user_ns)
				host = kinds;
		}
		bpf_map_delete_elem(&lsm_entering, &tid);
	}
	LSM_NS(mnt_ns, 0x20000, config.host_mnt_ns)
	LSM_NS(pid_ns_for_children, 0x20000000, config.host_pid_ns)
	LSM_NS(net_ns, 0x40000000, config.host_net_ns)
	LSM_NS(uts_ns, 0x4000000, -1U)
	LSM_NS(ipc_ns, 0x8000000, -1U)
	LSM_NS(cgroup_ns, 0x2000000, config.host_cgroup_ns)
	if (kinds)
		lsm_namespace(t, LSM_SETNS, kinds, host, !bpf_map_lookup_elem(&lsm_unsharing, &tid));
	return 0;
}

SEC("fentry/shmem_file_setup")
int BPF_PROG(memfd_create, const char *name)
{
	struct task_struct *t = bw_current();
	struct lsm_act *r;
	char begin[8] = {};
	__u32 count;

	bpf_probe_read_kernel_str(begin, 7, name);
	if (begin[0] != 'm' || begin[1] != 'e' || begin[2] != 'm' || begin[3] != 'f' || begin[4] != 'd' || begin[5] != ':')
		return 0;
	count = lsm_act_seen(t, BW_MEMFD, 0, 0);
	if (!count || !(r = lsm_act_new(t, BW_MEMFD, LSM_MEMFD, count, 0)))
		return 0;
	bpf_probe_read_kernel_str(r->name, sizeof(r->name), name);
	bw_submit(r, 0);
	return 0;
}
#endif
