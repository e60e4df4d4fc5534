//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Processes: start, fork, end, signals to others, and what already runs.
// bpf2go-type: bw_task bw_stdio bw_exec bw_fork bw_exit bw_moved bw_signal bw_usage bw_builder bw_exec_path bw_variable bw_name
#include "exec_guard.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct linux_binprm {
	struct file *file;
	const char *filename, *interp;
};
struct kernel_siginfo {
	int si_code;
};
struct sched_entity {
	__u64 sum_exec_runtime;
};
struct task_struct___se {
	struct sched_entity se;
};
struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
};
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};
#pragma clang attribute pop

#define BW_PIDTYPE_SID 3
#define BW_ENV_STRINGS 256

struct bw_exec_buffer {
	__u32 sum, goes_on, more, pad;
	struct bw_exec e;
	char data[BW_EXEC_DATA + 4096 + 256];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bw_exec_buffer);
} exec_buffer SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct bw_variable);
} variables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct bw_signal_seen);
	__type(value, __u64);
} signals_seen SEC(".maps");

// Cgroups whose path was sent with an earlier start.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u8);
} cgroups_named SEC(".maps");

// Eight bytes wherever they are: they have no name that all kernels know.
#define bw_caps_of(cred, set)                                                                                    \
	({                                                                                                       \
		__u64 __v = 0;                                                                                   \
		if (bpf_rdonly_cast)                                                                             \
			__v = *(__u64 *)&((struct cred *)bpf_rdonly_cast((cred), bpf_core_type_id_kernel(struct cred)))->set; \
		else                                                                                             \
			bpf_core_read(&__v, sizeof(__v), &(cred)->set);                                          \
		__v;                                                                                             \
	})

BW_INLINE struct pid *bw_session_of(struct task_struct *t)
{
	return BW_READ(t, signal, pids[BW_PIDTYPE_SID]);
}

BW_INLINE void bw_task_of(struct bw_task *o, struct task_struct *t)
{
	struct task_struct *parent = BW_READ(t, real_parent, group_leader);
	struct cred *cred = (struct cred *)BW_READ(t, real_cred);
	struct pid *pid = BW_READ(t, group_leader, thread_pid);
	struct nsproxy *ns = BW_READ(t, nsproxy);
	unsigned int level = BW_READ(pid, level);
	struct upid *last;

	o->parent = BW_READ(parent, tgid);
	o->parent_start = BW_READ(parent, start_boottime);
	o->effective = bw_caps_of(cred, cap_effective);
	o->permitted = bw_caps_of(cred, cap_permitted);
	o->uid = BW_READ(cred, uid.val);
	o->euid = BW_READ(cred, euid.val);
	o->gid = BW_READ(cred, gid.val);
	o->user_ns = BW_READ(cred, user_ns, ns.inum);
	o->login_uid = -1;
	if (bpf_core_field_exists(t->loginuid))
		o->login_uid = BW_READ(t, loginuid.val);
	o->session = BW_READ(bw_session_of(t), numbers[0].nr);
	// Each level's number stands in the next element of the array.
	last = (void *)__builtin_preserve_access_index(&pid->numbers[0]) + (level & 63) * bpf_core_type_size(struct upid);
	o->ns_pid = BW_READ(last, nr);
	o->pid_ns = BW_READ(last, ns, ns.inum);
	o->mnt_ns = BW_READ(ns, mnt_ns, ns.inum);
	o->net_ns = BW_READ(ns, net_ns, ns.inum);
	o->flags = 0;
	if (BW_READ(t, flags) & BW_PF_KTHREAD)
		o->flags |= BW_PROCESS_KTHREAD;
	if (BW_READ(t, atomic_flags) & 1)
		o->flags |= BW_PROCESS_NO_NEW_PRIVS;
	o->seccomp = 0;
	if (bpf_core_field_exists(t->seccomp.mode))
		o->seccomp = BW_READ(t, seccomp.mode);
	o->pad = 0;
	// Before 5.17 the rest of a longer former name stands behind the end.
	__builtin_memset(o->comm, 0, sizeof(o->comm));
	BPF_CORE_READ_STR_INTO(&o->comm, t, comm);
}

// These work on exec_buffer and are verified once each.
__noinline int bw_fill_task(__u64 task)
{
	__u32 zero = 0;
	struct bw_exec_buffer *b = bpf_map_lookup_elem(&exec_buffer, &zero);

	if (b)
		bw_task_of(&b->e.task, (struct task_struct *)task);
	return 0;
}

__noinline int bw_fill_stdio(__u64 task)
{
	__u32 zero = 0;
	struct bw_exec_buffer *b = bpf_map_lookup_elem(&exec_buffer, &zero);

	if (b)
		bw_read_stdio((struct task_struct *)task, b->e.stdio);
	return 0;
}

__noinline int bw_fill_file(__u64 task, __u64 file)
{
	__u32 zero = 0;
	struct bw_exec_buffer *b = bpf_map_lookup_elem(&exec_buffer, &zero);
	struct task_struct *t = (struct task_struct *)task;
	struct file *f = (struct file *)file;
	struct inode *inode = BW_READ(f, f_inode);
	struct super_block *sb = BW_READ(inode, i_sb);
	struct tty_struct *tty = BW_READ(t, signal, tty);
	struct bw_exec *e;

	if (!b)
		return 0;
	e = &b->e;
	e->inode = BW_READ(inode, i_ino);
	e->size = BW_READ(inode, i_size);
	e->device = BW_READ(sb, s_dev);
	e->mode = BW_READ(inode, i_mode);
	e->origin = f ? bw_origin_of(t, inode, BW_READ(f, f_path.mnt)) : BW_ORIGIN_UNKNOWN;
	if (e->origin == BW_ORIGIN_MEMORY) {
		char name[8] = {};

		bw_file_name(name, sizeof(name), f);
		if (BW_READ(sb, s_magic) == BW_MAGIC_TMPFS && !__builtin_memcmp(name, "memfd:", 6))
			e->task.flags |= BW_PROCESS_MEMFD;
		else
			e->task.flags |= BW_PROCESS_UNLINKED;
	}
	__builtin_memset(e->tty, 0, sizeof(e->tty));
	if (tty)
		bpf_core_read_str(e->tty, sizeof(e->tty), &tty->name);
	return 0;
}

BW_INLINE int bw_begins(const char *s, const char *with, int n)
{
	int d = 0;

#pragma unroll
	for (int i = 0; i < n; i++)
		d |= s[i] ^ with[i];
	return !d;
}

// busybox and toybox are what their first word says, and under a name of their own what the
// second one does. Puts it into exec_scratch; returns 1 when the program is one of these.
// The hook that denies comes before the words can be read.
__noinline int bw_applet(void)
{
	struct bw_exec_facts *x = bw_exec_facts();
	__u32 zero = 0;
	struct bw_exec_buffer *b = bpf_map_lookup_elem(&exec_buffer, &zero);
	struct bw_walk *w = bpf_map_lookup_elem(&walk_scratch, &zero);
	char name[16];
	__u64 from, at;
	long len;

	if (!x || !b || !w)
		return 0;
	bw_file_name(name, sizeof(name), x->file);
	if (!bw_begins(name, "busybox", 7) && !bw_begins(name, "toybox", 6))
		return 0;
	len = bpf_probe_read_kernel_str(w->names, BW_WALK_BYTES, b->data);
	if (len <= 1 || len > b->e.args)
		return 0;
	at = from = len > 17 ? len - 17 : 0;
#pragma unroll
	for (int i = 0; i < 16; i++) {
		__u64 here = from + i;

		bw_mask(here, 0xfff);
		if (here < len && w->names[here] == '/')
			at = here + 1;
	}
	if (from && at == from)
		return 0; // longer than any name that counts
	bw_mask(at, 0xfff);
	if (w->names[at] == '-') // of a login
		at++;
	__builtin_memset(x->called, 0, sizeof(x->called));
	bpf_probe_read_kernel_str(x->called, sizeof(x->called), &w->names[at]);
	if (!bw_begins(x->called, "busybox", 7) && !bw_begins(x->called, "toybox", 6))
		return 1;
	__builtin_memset(x->called, 0, sizeof(x->called));
	from = len;
	if (from < b->e.args) {
		bw_mask(from, 0xfff);
		bpf_probe_read_kernel_str(x->called, sizeof(x->called), &b->data[from]);
	}
	return 1;
}

// Asks the guards about the start in exec_buffer and ends the process if they say so.
__noinline int bw_judge(__u64 task, __u64 file)
{
	struct task_struct *t = (struct task_struct *)task;
	struct bw_policy *p = bw_policy_of(t);
	struct bw_exec_facts *x = bw_exec_facts();
	__u32 zero = 0, hit;
	struct bw_exec_buffer *b = bpf_map_lookup_elem(&exec_buffer, &zero);
	__u64 *other = bpf_map_lookup_elem(&covered, &zero), kill;

	if (!p || !x || !b)
		return 0;
	kill = p->enforce;
	if (other)
		kill &= ~*other;
	x->task = t;
	x->file = (struct file *)file;
	x->set = p->set;
	x->origin = b->e.origin;
	__builtin_memcpy(x->stdio, b->e.stdio, sizeof(x->stdio));
	__builtin_memcpy(x->called, b->e.task.comm, sizeof(x->called));
	hit = bw_exec_guard(kill);
	if (!hit && x->stdio[0].kind == BW_STDIO_SOCKET && bw_applet())
		hit = bw_exec_guard(p->enforce & BW_GUARD_REVERSE_SHELL);
	if (hit && !bpf_send_signal(9))
		b->e.h.outcome = BW_KILLED;
	if (!hit)
		hit = bw_exec_guard(p->report | p->enforce);
	if (hit)
		b->e.h.guard = bw_guard_number(hit);
	return hit;
}

// The executable, the working directory, the terminal and the descriptors. Returns the
// length of the texts after `at`.
BW_INLINE __u64 bw_image_of(struct bw_exec_buffer *b, struct task_struct *t, struct file *f, __u64 at)
{
	struct bw_exec *e = &b->e;
	int cut = 0;
	__u64 n, to;

	bw_fill_file((__u64)t, (__u64)f);
	bw_fill_stdio((__u64)t);
	e->path = 0;
	if (f && at <= BW_ARGS_MOST + BW_ENV_MOST) {
		to = at;
		bw_mask(to, 0x3fff);
		n = bw_path_of(&b->data[to], t, BW_READ(f, f_path.mnt), BW_READ(f, f_path.dentry), &cut);
		e->path = n;
		at += n;
		if (cut)
			e->cut |= 4;
	}
	cut = 0;
	e->cwd = 0;
	if (at <= BW_ARGS_MOST + BW_ENV_MOST + BW_WALK_BYTES) {
		to = at;
		bw_mask(to, 0x3fff);
		n = bw_path_of(&b->data[to], t, BW_READ(t, fs, pwd.mnt), BW_READ(t, fs, pwd.dentry), &cut);
		e->cwd = n;
		at += n;
		if (cut)
			e->cut |= 8;
	}
	return at;
}

// Copies the variables whose names begin as a wanted one does. A string that is longer
// than one read goes on in the next, which is not the beginning of a variable.
struct bw_reading {
	struct bw_exec_buffer *b;
	unsigned long from, end;
	__u64 at;
};

static long bw_environment_step(__u32 i, struct bw_reading *s)
{
	struct bw_exec_buffer *b = s->b;
	struct bw_variable *v;
	__u64 n = b->sum, to_at = s->at;
	__u32 four, before = b->goes_on;
	__u64 head;
	char *to;
	long len;

	if (s->from >= s->end) {
		b->more = 0;
		return 1;
	}
	if (n > BW_ENV_MOST - 256)
		return 1;
	to_at += n;
	bw_mask(to_at, 0x3fff);
	to = &b->data[to_at];
	len = bpf_probe_read_user_str(to, 256, (void *)s->from);
	if (len <= 0)
		return 1;
	b->goes_on = len >> 8; // 256: there is more; the last letter is a zero of the helper's
	s->from += len - (len >> 8);
	if (before)
		return 0;
	head = *(__u64 *)to;
	four = head;
	v = bpf_map_lookup_elem(&variables, &four);
	if (!v || (head & v->mask) != v->want)
		return 0;
	b->sum = n + len;
	b->e.cut |= len >> 8 << 1;
	return 0;
}

__noinline int bw_environment(__u32 at, unsigned long from, unsigned long end)
{
	__u32 zero = 0;
	struct bw_reading s = {.b = bpf_map_lookup_elem(&exec_buffer, &zero), .from = from, .end = end, .at = at};

	if (!s.b || at > BW_ARGS_MOST || from >= end)
		return 0;
	s.b->sum = 0;
	s.b->goes_on = 0;
	s.b->more = 1;
	bw_loop(BW_ENV_STRINGS, bw_environment_step, &s);
	if (s.b->more && s.from < s.end)
		s.b->e.cut |= 2;
	return s.b->sum;
}

// The path of a task's cgroup, as bw_walk_names writes it, to walk_scratch.
__noinline int bw_cgroup_names(__u64 task)
{
	__u32 zero = 0;
	__u64 n;
	struct bw_walk *w = bpf_map_lookup_elem(&walk_scratch, &zero);
	struct kernfs_node *kn = bw_kn((struct task_struct *)task), *up;
	long len;

	if (!w)
		return 0;
	w->length = 0;
	for (int i = 0; i < 24; i++) {
		up = bw_kn_parent(kn);
		n = w->length;
		if (!up || n >= BW_CGROUP_MOST - 256)
			return 0;
		bw_mask(n, 0x3ff);
		len = bpf_probe_read_kernel_str(&w->names[n], 256, BW_READ(kn, name));
		if (len > 0)
			w->length = n + len;
		kn = up;
	}
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct task_struct *t = bw_current(); // a number to the verifier, so that functions take it
	__u32 zero = 0;
	__u64 at = 0, to, len;
	struct bw_exec_buffer *b = bpf_map_lookup_elem(&exec_buffer, &zero);
	struct mm_struct *mm = BW_READ(t, mm);
	struct file *f = BPF_CORE_READ(mm, exe_file); // goes on to functions
	unsigned long from = BW_READ(mm, arg_start), end = BW_READ(mm, arg_end);
	const char *filename = BW_READ(bprm, filename);
	__u64 cgroup;
	__u8 one = 1;
	int urgent = 0;

	if (!b)
		return 0;
	bw_header_of(&b->e.h, t, BW_EXEC, 0);
	bw_fill_task((__u64)t);
	b->e.pad = 0;
	b->e.pad2 = 0;
	b->e.cut = 0;
	b->e.script = 0;

	len = end - from;
	if (end < from)
		len = 0;
	if (end - from > BW_ARGS_MOST) {
		len = BW_ARGS_MOST;
		b->e.cut |= 1;
	}
	asm volatile("" : "+r"(len));
	if (len > BW_ARGS_MOST)
		len = BW_ARGS_MOST;
	if (bpf_probe_read_user(b->data, len, (void *)from)) {
		len = 0;
		b->e.cut |= 1;
	}
	b->e.args = len;
	at = len;
	len = bw_environment(at, BW_READ(mm, env_start), BW_READ(mm, env_end));
	asm volatile("" : "+r"(len));
	if (len > BW_ENV_MOST)
		len = BW_ENV_MOST;
	b->e.environment = len;
	at += len;
	at = bw_image_of(b, t, f, at);
	// A script was called by its own name, its interpreter by another.
	if (filename != BW_READ(bprm, interp) && at <= BW_EXEC_DATA - BW_SCRIPT_MOST) {
		long n;

		to = at;
		bw_mask(to, 0x3fff);
		n = bpf_probe_read_kernel_str(&b->data[to], BW_SCRIPT_MOST, filename);

		if (n > 0 && n <= BW_SCRIPT_MOST) {
			b->e.script = n;
			at += n;
			if (n == BW_SCRIPT_MOST)
				b->e.cut |= 16;
		}
	}
	if (b->e.cut)
		b->e.h.flags |= BW_F_TRUNCATED;
	// A container may be gone before anybody can read in /proc where it was.
	b->e.cgroup = 0;
	cgroup = b->e.h.cgroup;
	if (at <= BW_EXEC_DATA - BW_CGROUP_MOST && !bpf_map_lookup_elem(&cgroups_named, &cgroup)) {
		struct bw_walk *w = bpf_map_lookup_elem(&walk_scratch, &zero);

		bpf_map_update_elem(&cgroups_named, &cgroup, &one, BPF_ANY);
		bw_cgroup_names((__u64)t);
		if (w) {
			len = w->length; // below BW_CGROUP_MOST
			bw_mask(len, 0x3ff);
			to = at;
			bw_mask(to, 0x3fff);
			bpf_probe_read_kernel(&b->data[to], len, w->names);
			b->e.cgroup = len;
			at += len;
		}
	}

	if (b->e.h.flags & BW_F_CONTAINED)
		urgent = bw_judge((__u64)t, (__u64)f) != 0;
	asm volatile("" : "+r"(at));
	if (at > BW_EXEC_DATA)
		at = BW_EXEC_DATA;
	b->e.h.size = sizeof(b->e) + at;
	bw_output(&b->e.h, sizeof(b->e) + at, urgent);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct bw_fork *r;

	if (BW_READ(child, pid) != BW_READ(child, tgid))
		return 0; // a thread
	r = bw_reserve(sizeof(*r));
	if (!r) {
		bw_lost(bw_cgroup(child), BW_FORK);
		return 0;
	}
	bw_header_of(&r->h, child, BW_FORK, sizeof(*r));
	bw_task_of(&r->task, child);
	if (BW_READ(parent, nsproxy) != BW_READ(child, nsproxy) ||
	    BW_READ(parent, real_cred, user_ns) != BW_READ(child, real_cred, user_ns))
		r->task.flags |= BW_PROCESS_OWN_NAMESPACES;
	bw_submit(r, 0);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *t)
{
	struct signal_struct *sig = BW_READ(t, signal);
	struct bw_exit *r;
	int code;

	if (BW_READ(sig, live.counter))
		return 0; // other threads go on
	if (BW_READ(t, tgid) == config.agent_pid) {
		__u64 none = 0;
		__u32 zero = 0;

		bpf_map_update_elem(&alive, &zero, &none, BPF_ANY);
	}
	r = bw_reserve(sizeof(*r));
	if (!r) {
		bw_lost(bw_cgroup(t), BW_EXIT);
		return 0;
	}
	bw_header_of(&r->h, t, BW_EXIT, sizeof(*r));
	bw_task_of(&r->task, t);
	code = BW_READ(sig, group_exit_code);
	r->code = code ? code : BW_READ(t, group_leader, exit_code);
	r->pad = 0;
	bw_submit(r, 0);
	return 0;
}

// A process was put into another cgroup: a container begins. The path comes with it,
// before anybody could read it in /proc.
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(process_moved, struct cgroup *to, const char *path, struct task_struct *t, int group)
{
	struct bw_moved *r;

	if (bw_kn(t) != BW_READ(to, kn))
		return 0; // of another tree than the one that counts
	r = bw_reserve(sizeof(*r));
	if (!r) {
		bw_lost(bw_cgroup(t), BW_MOVED);
		return 0;
	}
	bw_header_of(&r->h, t, BW_MOVED, sizeof(*r));
	if (bpf_probe_read_kernel_str(r->path, sizeof(r->path), path) < 0)
		r->path[0] = 0;
	bw_submit(r, 0);
	return 0;
}

// Signals that end, stop or continue a process of another session. The kernel's own
// (a closed pipe, an alarm, out of memory) do not count: nobody sent them.
SEC("tp_btf/signal_generate")
int BPF_PROG(process_signal, int sig, struct kernel_siginfo *info, struct task_struct *to, int group, int result)
{
	struct task_struct *from;
	struct bw_signal_seen key = {};
	struct bw_signal *r;
	__u64 now = 1;
	int code;

	if (sig != 9 && sig != 15 && sig != 19 && sig != 6 && sig != 18 && sig != 2 && sig != 1 && sig != 3)
		return 0;
	if ((unsigned long)info <= 2 || result != 0)
		return 0;
	code = BW_READ(info, si_code);
	if (code > 0) // SI_USER 0, SI_QUEUE -1, SI_TKILL -6
		return 0;
	from = bw_current();
	if (BW_READ(from, tgid) == BW_READ(to, tgid) || BW_READ(from, flags) & BW_PF_KTHREAD)
		return 0;
	if (BW_READ(to, real_parent, tgid) == BW_READ(from, tgid) || bw_session_of(from) == bw_session_of(to))
		return 0;
	key.from = bw_cgroup(from);
	key.to = bw_cgroup(to);
	key.from_pid = BW_READ(from, tgid);
	key.signal = sig;
	if (bpf_map_update_elem(&signals_seen, &key, &now, BPF_NOEXIST))
		return 0;
	r = bw_reserve(sizeof(*r));
	if (!r) {
		bw_lost(key.from, BW_SIGNAL);
		return 0;
	}
	bw_header_of(&r->h, from, BW_SIGNAL, sizeof(*r));
	r->target = BW_READ(to, tgid);
	r->target_start = BW_READ(to, group_leader, start_boottime);
	r->target_cgroup = key.to;
	r->signal = sig;
	bw_submit(r, 0);
	return 0;
}

// What already runs: the same record without arguments and environment, which only
// the process itself and /proc can read.
SEC("iter/task")
int process_list(struct bpf_iter__task *ctx)
{
	struct bpf_iter_meta *meta = ctx->meta;
	struct seq_file *seq = meta->seq;
	struct task_struct *task = ctx->task, *t;
	__u32 zero = 0;
	__u64 at;
	struct bw_exec_buffer *b;

	if (!task)
		return 0;
	t = BPF_CORE_READ(task, group_leader); // a number to the verifier
	if (BW_READ(task, pid) != BW_READ(task, tgid))
		return 0;
	b = bpf_map_lookup_elem(&exec_buffer, &zero);
	if (!b)
		return 0;
	bw_header_of(&b->e.h, t, BW_EXEC, 0);
	bw_fill_task((__u64)t);
	b->e.task.flags |= BW_PROCESS_EXISTING;
	b->e.pad = 0;
	b->e.pad2 = 0;
	b->e.cut = 0;
	b->e.args = 0;
	b->e.environment = 0;
	b->e.script = 0;
	b->e.cgroup = 0;
	at = bw_image_of(b, t, BPF_CORE_READ(t, mm, exe_file), 0);
	if (b->e.cut)
		b->e.h.flags |= BW_F_TRUNCATED;
	asm volatile("" : "+r"(at));
	if (at > 2 * BW_WALK_BYTES)
		at = 2 * BW_WALK_BYTES;
	b->e.h.size = sizeof(b->e) + at;
	bpf_seq_write(seq, &b->e, sizeof(b->e) + at);
	return 0;
}

// CPU time of the threads of containers.
SEC("iter/task")
int process_usage(struct bpf_iter__task *ctx)
{
	struct bpf_iter_meta *meta = ctx->meta;
	struct seq_file *seq = meta->seq;
	struct task_struct *t = ctx->task;
	struct task_struct___se *se = (void *)t;
	struct bw_usage u = {};

	if (!t || BW_READ(t, flags) & BW_PF_KTHREAD || !bw_contained(t))
		return 0;
	u.pid = BW_READ(t, tgid);
	u.start = BW_READ(t, group_leader, start_boottime);
	u.cgroup = bw_cgroup(t);
	u.runtime = BW_READ(se, se.sum_exec_runtime);
	bpf_seq_write(seq, &u, sizeof(u));
	return 0;
}

// Keeps the layouts in the object's type information.
struct bw_fork *unused_fork __attribute__((unused));
struct bw_exit *unused_exit __attribute__((unused));
struct bw_moved *unused_moved __attribute__((unused));
struct bw_signal *unused_signal __attribute__((unused));
struct bw_usage *unused_usage __attribute__((unused));
