//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// BPF LSM: asked before things happen, able to refuse. Every program is optional and
// loaded for itself. Only contained processes of a workload with a policy are ever refused
// anything, and never a container runtime at work (lsm_runtime).
//
// The hooks of file operations come before the file system's own checks of rights: what
// they tell may still fail. file_open comes after them.
//
// bpf2go-type: lsm_file lsm_act lsm_mount lsm_watch_key lsm_watch lsm_filter lsm_prefix_key lsm_exec lsm_seen_key lsm_seen lsm_source lsm_list bw_exec_path bw_builder bw_name
#include "exec_guard.h"
#include "lsm_path.h"
#include "tracing_call.h"

struct lsm_file *type_lsm_file __attribute__((unused));
struct lsm_exec *type_lsm_exec __attribute__((unused));
struct lsm_act *type_lsm_act __attribute__((unused));
struct lsm_mount *type_lsm_mount __attribute__((unused));
enum lsm_source type_lsm_source __attribute__((unused));
enum lsm_list type_lsm_list __attribute__((unused));

#define EPERM 1
#define FMODE_READ 1
#define FMODE_WRITE 2
#define FMODE_CREATED 0x100000
#define FMODE_EXEC 0x20
#define FMODE_BACKING 0x3000000 // the one or the other, since 6.5
#define O_TRUNC 01000
#define O_APPEND 02000
#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFDIR 0040000
#define S_IFBLK 0060000
#define S_IFCHR 0020000
#define PROT_EXEC 4
#define A_READ 1
#define A_WRITE 2
#define A_CREATE 4
#define A_TRUNCATE 8
#define A_APPEND 16
#define A_EXEC 32
#define PTRACE_MODE_ATTACH 2
#define CAP_DAC_READ_SEARCH 2
#define CAP_OPT_NOAUDIT 2
#define CAP_SYS_ADMIN 21
#define BPF_PROG_LOAD_CMD 5
#define MAGIC_PROC 0x9fa0
#define MAGIC_SYSFS 0x62656572
#define MAGIC_CGROUP 0x27e0eb
#define MAGIC_CGROUP2 0x63677270
#define MAGIC_DEVPTS 0x1cd1

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct file___l {
	unsigned int f_mode;
	unsigned int f_flags;
};
struct backing_file { // since 6.5
	struct file file;
};
struct linux_binprm {
	char buf[256];
	struct file *file;
	const char *filename;
};
struct file_system_type {
	const char *name;
};
struct super_block___l {
	struct file_system_type *s_type;
};
struct mount___d {
	const char *mnt_devname;
};
struct inode___l {
	__u32 i_rdev;
};
struct sockaddr_un {
	unsigned short sun_family;
	char sun_path[108];
};
struct unix_address {
	int len;
	struct sockaddr_un name[0];
};
struct unix_sock___l {
	struct unix_address *addr;
};
#pragma clang attribute pop

// Puts the facts of a file into the record that is being built.
BW_INLINE void lsm_describe(struct lsm_file *r, struct inode *inode)
{
	struct super_block *sb;

	r->inode = r->size = 0;
	r->device = r->mode = r->old_mode = r->uid = r->gid = 0;
	if (!inode)
		return;
	sb = BPF_CORE_READ(inode, i_sb);
	r->inode = BPF_CORE_READ(inode, i_ino);
	r->device = BPF_CORE_READ(sb, s_dev);
	r->mode = BPF_CORE_READ(inode, i_mode);
	r->size = BPF_CORE_READ(inode, i_size);
	bpf_core_read(&r->uid, 4, &inode->i_uid);
	bpf_core_read(&r->gid, 4, &inode->i_gid);
}

// Copies the path in s->path behind the record.
BW_INLINE __u32 lsm_copy_path(struct lsm_scratch *s, char *text, __u32 at)
{
	__u32 from = s->start & (LSM_PATH - 1), n = LSM_PATH - 1 - from;

	n &= LSM_PATH - 1;
	bpf_probe_read_kernel(&text[at & (LSM_PATH - 1)], n, &s->path[from]);
	return n;
}

BW_INLINE void lsm_send(struct lsm_scratch *s, struct bw_header *h, __u32 fixed, __u32 texts, int urgent)
{
	__u32 size = fixed + (texts & (2 * LSM_PATH - 1));

	h->size = size;
	if (s->cut)
		h->flags |= BW_F_TRUNCATED;
	if (!lsm_mine(s)) {
		bw_lost(h->cgroup, h->kind);
		return;
	}
	if (size <= sizeof(struct lsm_file) + 2 * LSM_PATH)
		bw_output(h, size, urgent);
}

BW_INLINE void lsm_head(struct bw_header *h, struct task_struct *t, __u16 kind, __u8 source, __u64 guard, int denied)
{
	bw_header_of(h, t, kind, 0);
	h->source = source;
	if (guard)
		h->guard = bw_guard_number(guard);
	if (denied) {
		h->outcome = BW_DENIED;
		h->result = -EPERM;
	}
}

// What the verifier believes to be a number between -4095 and 0.
BW_INLINE int lsm_answer(int deny)
{
	barrier_var(deny);
	return deny ? -EPERM : 0;
}

// A guard without further questions: what to do about it.
struct lsm_verdict {
	__u64 guard; // that acted or would have, 0 none
	int deny;
};

BW_INLINE void lsm_judge(struct lsm_verdict *v, struct task_struct *t, struct bw_policy *p, __u64 guard)
{
	if (!p || !((p->enforce | p->report) & guard) || lsm_runtime())
		return;
	v->guard = guard;
	v->deny = (p->enforce & guard) != 0;
}

BW_INLINE void lsm_look(struct lsm_scratch *s, struct vfsmount *mnt, struct dentry *d)
{
	s->mnt = mnt;
	s->dentry = d;
}

BW_INLINE __u32 lsm_generation_now(void)
{
	__u32 zero = 0, *g = bpf_map_lookup_elem(&lsm_generation, &zero);

	return (g ? *g : 0) + *(volatile __u32 *)&lsm_moves;
}

BW_INLINE void lsm_moved(void)
{
	bw_add(&lsm_moves, 1);
}

// What lsm_moved is told before it is done may come between the question and the answer:
// nothing is remembered for longer than some seconds (1024 ticks).
BW_INLINE __u32 lsm_epoch(void)
{
	return bpf_jiffies64() >> 10;
}

BW_INLINE struct lsm_quiet *lsm_quiet_of(__u64 inode, __u32 tgid, __u32 access)
{
	__u32 at = (inode * 31 + tgid * 7 + access) & (LSM_QUIET - 1);

	return bpf_map_lookup_elem(&lsm_quiet, &at);
}

// Remembers that this process may open this file again without all the questions.
BW_INLINE void lsm_hush(struct task_struct *t, struct vfsmount *mnt, struct dentry *d, struct inode *inode, __u32 access)
{
	struct dentry___l *name = (void *)d;
	__u64 ino = BPF_CORE_READ(inode, i_ino);
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct lsm_quiet *q = lsm_quiet_of(ino, tgid, access);

	if (!q)
		return;
	if (q->inode != ino || q->tgid != tgid || q->access != access)
		q->n = q->told = 1;
	q->tgid = 0; // nobody's while it is written
	barrier();
	q->inode = ino;
	q->parent = BPF_CORE_READ(d, d_parent, d_inode, i_ino);
	q->name = (__u64)BPF_CORE_READ(name, d_name.len) << 32 | BPF_CORE_READ(name, d_name.hash);
	q->mnt = (__u64)mnt;
	q->root = (__u64)BPF_CORE_READ(t, fs, root.dentry);
	q->groups = (__u64)BPF_CORE_READ(t, cgroups);
	q->spaces = (__u64)BPF_CORE_READ(t, nsproxy);
	q->access = access;
	q->generation = lsm_generation_now();
	q->epoch = lsm_epoch();
	barrier();
	q->tgid = tgid;
}

// Reading through typed pointers costs a load each, by bpf_probe_read_kernel twenty times
// that. Kernels before 5.11 have only the latter, and remember nothing.
BW_INLINE int lsm_typed(void)
{
	return bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf);
}

// How many opens of this kind wait to be asked about, with this one; 0: there is nothing
// to ask, as lsm_hush remembered the answer.
BW_INLINE __u32 lsm_waiting(struct file *file, __u32 access)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct dentry *d = file->f_path.dentry;
	struct dentry___l *name = (void *)d;
	__u64 ino = file->f_inode->i_ino;
	__u32 n, tgid = t->tgid;
	struct lsm_quiet *q = lsm_quiet_of(ino, tgid, access);

	if (!q || q->inode != ino || q->tgid != tgid || q->access != access)
		return 1;
	n = q->n + 1;
	q->n = n;
	// Told again at every doubling.
	if (n & (n - 1) && q->mnt == (__u64)file->f_path.mnt && q->groups == (__u64)t->cgroups && q->spaces == (__u64)t->nsproxy &&
	    q->epoch == lsm_epoch() && q->generation == lsm_generation_now() && q->root == (__u64)t->fs->root.dentry &&
	    q->parent == d->d_parent->d_inode->i_ino && q->name == ((__u64)name->d_name.len << 32 | name->d_name.hash))
		return 0;
	n -= q->told;
	q->told += n;
	return n;
}

// One file operation (s->op), all the way from the filter to the record. Returns 1 when
// it is to be refused.
__noinline int lsm_file_op(void)
{
	struct task_struct *t = bw_current();
	struct lsm_scratch *s = lsm_room();
	struct lsm_verdict v = {};
	struct bw_policy *p = 0;
	struct lsm_op o;
	struct inode *inode;
	struct dentry *up, *dentry;
	struct vfsmount *mnt;
	__u32 n, m = 0, count, each = 1;
	int contained, watched, held;
	__u8 class;

	if (!s)
		return 0;
	o = s->op;
	inode = o.inode; // locals: a member of an own struct may not be relocated
	dentry = o.dentry;
	mnt = o.mnt;
	// A file system at work on its own layers, for a caller that was asked already.
	if (o.source != LSM_MMAP && lsm_hidden(mnt))
		return 0;
	lsm_look(s, mnt, dentry);
	watched = lsm_watched(o.watch);
	if (!watched && o.dentry2) {
		lsm_look(s, o.mnt2, o.dentry2);
		watched = lsm_watched(LSM_WRITE);
	}
	class = watched ? s->hit.class : 0;
	contained = bw_contained(t);
	if (contained)
		p = bw_policy_of(t);
	// What is asked anew each time: what is watched, and what a list does not allow.
	held = watched || o.source != LSM_FILE_OPEN || o.kind != BW_OPEN || !inode;
	if (!contained && (!watched || class & LSM_CONTAINED)) {
		if (!held)
			lsm_hush(t, mnt, dentry, inode, o.access);
		return 0;
	}
	if (p) {
		__u64 rules = p->enforce | p->report;

		if (class & LSM_KERNEL && o.access & A_WRITE)
			lsm_judge(&v, t, p, BW_GUARD_SETTING);
		else if (class & LSM_SECRET && rules & BW_GUARD_READ && o.access == A_READ) {
			lsm_look(s, mnt, dentry);
			lsm_path();
			if (!lsm_listed(s, p->root, LSM_LIST_READ))
				lsm_judge(&v, t, p, BW_GUARD_READ);
		} else if (rules & BW_GUARD_FILE && o.watch & (LSM_WRITE | LSM_DELETE)) {
			lsm_look(s, mnt, dentry);
			lsm_path();
			if (!lsm_listed(s, p->root, LSM_LIST_WRITE)) {
				lsm_judge(&v, t, p, BW_GUARD_FILE);
				held = 1; // a runtime may write it, but not what it becomes
			}
		}
		if (!v.guard && o.dentry2 && rules & BW_GUARD_FILE) {
			lsm_look(s, o.mnt2, o.dentry2);
			lsm_path();
			if (!lsm_listed(s, p->root, LSM_LIST_WRITE))
				lsm_judge(&v, t, p, BW_GUARD_FILE);
		}
	}
	if (!held)
		lsm_hush(t, mnt, dentry, inode, o.access);
	if (!o.kind && !v.guard)
		return 0;
	if (BPF_CORE_READ(t, tgid) == config.agent_pid)
		return 0;
	// Repetitions: the same file by the same program; then others in the same folder.
	__builtin_memset(&s->seen, 0, sizeof(s->seen));
	s->seen.cgroup = bw_cgroup(t);
	s->seen.kind = o.kind | (v.guard ? 0x4000 : 0) | (v.deny ? 0x8000 : 0);
	s->seen.access = o.access;
	if (inode) {
		s->seen.inode = BPF_CORE_READ(inode, i_ino);
		s->seen.device = BPF_CORE_READ(inode, i_sb, s_dev);
	}
	if (watched || v.guard)
		s->seen.other = lsm_exe(t);
	up = BPF_CORE_READ(dentry, d_parent);
	if (!s->seen.inode) {
		s->seen.inode = (__u64)up;
		each = 16;
	}
	count = lsm_fold(each, o.weight);
	if (!count)
		goto out;
	if (count == 1 && !watched && !v.guard && !o.always && each == 1) {
		s->seen.inode = BPF_CORE_READ(up, d_inode, i_ino);
		s->seen.access = 0;
		s->seen.kind |= 0x2000;
		count = lsm_fold(16, 1);
		if (!count)
			goto out;
	}
	lsm_look(s, mnt, dentry);
	lsm_path();
	n = lsm_copy_path(s, s->file_text, 0);
	if (o.dentry2) {
		lsm_look(s, o.mnt2, o.dentry2);
		lsm_path();
		m = lsm_copy_path(s, s->file_text, n);
	} else if (o.says) {
		long l = bpf_probe_read_kernel_str(&s->file_text[n & (LSM_PATH - 1)], LSM_PATH - 1, o.says);

		m = l > 0 ? l - 1 : 0;
	}
	lsm_describe(&s->file, inode);
	lsm_head(&s->file.h, t, o.kind ? o.kind : BW_CREATE, o.source, v.guard, v.deny);
	if (class & LSM_KERNEL && o.access & A_WRITE)
		s->file.h.kind = BW_SETTING;
	s->file.count = count;
	s->file.access = o.access;
	s->file.path = n;
	s->file.target = m;
	s->file.class = class;
	s->file.origin = o.origin;
	if (inode && !o.origin)
		s->file.origin = bw_origin_of(t, inode, mnt);
	if (o.source == LSM_MAKE) { // there is nothing yet: what it is to be
		s->file.mode = o.to[0];
		s->file.origin = bw_origin_of(t, BPF_CORE_READ(up, d_inode), mnt);
		if (s->file.origin == BW_ORIGIN_IMAGE || s->file.origin == BW_ORIGIN_MODIFIED)
			s->file.origin = BW_ORIGIN_CREATED;
	}
	if (o.kind == BW_CHMOD) {
		s->file.old_mode = s->file.mode;
		s->file.mode = (s->file.mode & S_IFMT) | o.to[0];
	}
	if (o.kind == BW_CHOWN) {
		s->file.uid = o.to[0];
		s->file.gid = o.to[1];
	}
	lsm_send(s, &s->file.h, sizeof(s->file), n + m, v.deny);
out:
	// Whose operation was judged, if not this task's own: not refused (see lsm_scratch).
	return v.deny && lsm_mine(s);
}

// Takes the room, describes the operation there, and asks.
BW_INLINE struct lsm_op *lsm_begin(__u16 kind, __u8 source, __u8 watch, __u16 access)
{
	struct lsm_scratch *s = lsm_take();

	if (!s)
		return 0;
	__builtin_memset(&s->op, 0, sizeof(s->op));
	s->op.kind = kind;
	s->op.source = source;
	s->op.watch = watch;
	s->op.access = access;
	s->op.weight = 1;
	return &s->op;
}

#define LSM_BEGIN(kind, source, watch, access) \
	struct lsm_op *o = lsm_begin(kind, source, watch, access); \
	if (!o) \
		return 0

BW_INLINE int lsm_ask(void)
{
	return lsm_answer(lsm_file_op());
}

// /dev/mem, /dev/kmem and /dev/port, whatever they are called.
BW_INLINE int lsm_memory(struct inode *inode, unsigned int type)
{
	__u32 n;

	if (type != S_IFCHR)
		return 0;
	n = BPF_CORE_READ((struct inode___l *)inode, i_rdev);
	return n == (1 << 20 | 1) || n == (1 << 20 | 2) || n == (1 << 20 | 4);
}

SEC("lsm/file_open")
int BPF_PROG(file_open, struct file *file)
{
	unsigned int flags = ((struct file___l *)file)->f_flags, fmode = ((struct file___l *)file)->f_mode;
	struct inode *inode = file->f_inode;
	unsigned int type = inode->i_mode & S_IFMT;
	int writes = fmode & FMODE_WRITE || flags & O_TRUNC;
	struct dentry *d = file->f_path.dentry;
	__u16 access = 0, kind = BW_OPEN;
	__u8 watch, always = 0;
	__u32 weight = 1;
	struct lsm_op *o;
	struct lsm_scratch *s;

	// Nearly every open ends here. A file that is mounted alone may have any name.
	if (type == S_IFREG && !writes && !lsm_perhaps(d) && d != file->f_path.mnt->mnt_root)
		return 0;
	if (type != S_IFREG && type != S_IFBLK && !lsm_memory(inode, type))
		return 0;
	// An overlay opens the file of its layer in the caller's name, who was asked already.
	if (inode != d->d_inode)
		return 0;
	if (bpf_core_type_exists(struct backing_file) && fmode & FMODE_BACKING && lsm_hidden(file->f_path.mnt))
		return 0;
	if (writes) {
		unsigned long magic;

		access = A_WRITE;
		watch = LSM_WRITE;
		if (flags & O_TRUNC) {
			access |= A_TRUNCATE;
			watch |= LSM_DELETE;
		}
		if (flags & O_APPEND)
			access |= A_APPEND;
		if (fmode & FMODE_READ)
			access |= A_READ;
		if (fmode & FMODE_CREATED) {
			access |= A_CREATE;
			kind = BW_CREATE;
			always = (inode->i_mode & 0111) != 0;
		} else {
			if (lsm_typed())
				weight = lsm_waiting(file, access);
			if (!weight)
				return 0;
			magic = inode->i_sb->s_magic;
			if (magic == MAGIC_PROC || magic == MAGIC_SYSFS || magic == MAGIC_CGROUP || magic == MAGIC_CGROUP2) {
				// Only the few that are watched; the rest of these is daily bread.
				s = lsm_take();
				if (!s)
					return 0;
				lsm_look(s, file->f_path.mnt, d);
				if (!lsm_watched(LSM_WRITE))
					return 0;
			}
		}
		if (type != S_IFREG)
			always = 1;
	} else {
		if (flags & FMODE_EXEC)
			return 0;
		access = A_READ;
		watch = LSM_READ;
		if (type == S_IFREG) {
			s = lsm_take();
			if (!s)
				return 0;
			lsm_look(s, file->f_path.mnt, d);
			if (!lsm_watched(LSM_READ))
				return 0;
		}
	}
	o = lsm_begin(kind, LSM_FILE_OPEN, watch, access);
	if (!o)
		return 0;
	o->always = always;
	o->weight = weight;
	o->mnt = file->f_path.mnt;
	o->dentry = d;
	o->inode = inode;
	return lsm_ask();
}

// Of a regular file only the refusal is told: file_open tells that it was made.
SEC("lsm/path_mknod")
int BPF_PROG(path_mknod, const struct path *dir, struct dentry *dentry, unsigned short mode)
{
	unsigned int type = mode & S_IFMT;

	LSM_BEGIN(type && type != S_IFREG ? BW_CREATE : 0, LSM_MAKE, LSM_WRITE, A_CREATE);
	o->mnt = dir->mnt;
	o->dentry = dentry;
	o->to[0] = mode;
	return lsm_ask();
}

SEC("lsm/path_mkdir")
int BPF_PROG(path_mkdir, const struct path *dir, struct dentry *dentry, unsigned short mode)
{
	LSM_BEGIN(BW_CREATE, LSM_MAKE, LSM_WRITE, A_CREATE);
	o->mnt = dir->mnt;
	o->dentry = dentry;
	o->to[0] = S_IFDIR | (mode & 01777);
	return lsm_ask();
}

BW_INLINE int lsm_folder(struct dentry *d)
{
	struct inode *inode = d->d_inode;

	return inode && (inode->i_mode & S_IFMT) == S_IFDIR;
}

SEC("lsm/path_rename")
int BPF_PROG(path_rename, const struct path *old_dir, struct dentry *old, const struct path *new_dir, struct dentry *new)
{
	LSM_BEGIN(BW_RENAME, LSM_RENAME, LSM_DELETE, 0);
	if (lsm_folder(old) || lsm_folder(new))
		lsm_moved();
	o->mnt = old_dir->mnt;
	o->dentry = old;
	o->inode = old->d_inode;
	o->mnt2 = new_dir->mnt;
	o->dentry2 = new;
	return lsm_ask();
}

SEC("lsm/path_unlink")
int BPF_PROG(path_unlink, const struct path *dir, struct dentry *dentry)
{
	LSM_BEGIN(BW_UNLINK, LSM_UNLINK, LSM_DELETE, 0);
	o->mnt = dir->mnt;
	o->dentry = dentry;
	o->inode = dentry->d_inode;
	return lsm_ask();
}

SEC("lsm/path_rmdir")
int BPF_PROG(path_rmdir, const struct path *dir, struct dentry *dentry)
{
	LSM_BEGIN(BW_UNLINK, LSM_UNLINK, LSM_DELETE, 0);
	o->mnt = dir->mnt;
	o->dentry = dentry;
	o->inode = dentry->d_inode;
	return lsm_ask();
}

SEC("lsm/path_truncate")
int BPF_PROG(path_truncate, const struct path *path)
{
	LSM_BEGIN(BW_OPEN, LSM_TRUNCATE, LSM_DELETE, A_WRITE | A_TRUNCATE);
	o->mnt = path->mnt;
	o->dentry = path->dentry;
	o->inode = path->dentry->d_inode;
	return lsm_ask();
}

SEC("lsm/path_link")
int BPF_PROG(path_link, struct dentry *old, const struct path *new_dir, struct dentry *new)
{
	LSM_BEGIN(BW_LINK, LSM_LINK, LSM_POINT, 0);
	o->mnt = new_dir->mnt;
	o->dentry = old;
	o->inode = old->d_inode;
	o->mnt2 = new_dir->mnt;
	o->dentry2 = new;
	return lsm_ask();
}

SEC("lsm/path_symlink")
int BPF_PROG(path_symlink, const struct path *dir, struct dentry *dentry, const char *says)
{
	LSM_BEGIN(BW_SYMLINK, LSM_SYMLINK, LSM_WRITE | LSM_DELETE, 0); // what stood there is gone
	o->mnt = dir->mnt;
	o->dentry = dentry;
	o->says = says;
	return lsm_ask();
}

SEC("lsm/path_chmod")
int BPF_PROG(path_chmod, const struct path *path, unsigned short mode)
{
	struct inode *inode = path->dentry->d_inode;
	unsigned short old = inode ? inode->i_mode : 0;

	LSM_BEGIN(BW_CHMOD, LSM_CHMOD, LSM_WRITE, 0);
	o->mnt = path->mnt;
	o->dentry = path->dentry;
	o->inode = inode;
	o->to[0] = mode & 07777;
	// More may be run, or run as somebody else: told each time.
	o->always = (mode & ~old & 07111) != 0;
	return lsm_ask();
}

BW_INLINE int lsm_chown(const struct path *path, __u32 uid, __u32 gid)
{
	LSM_BEGIN(BW_CHOWN, LSM_CHOWN, LSM_WRITE, 0);
	o->mnt = path->mnt;
	o->dentry = path->dentry;
	o->inode = path->dentry->d_inode;
	o->to[0] = uid;
	o->to[1] = gid;
	return lsm_ask();
}

SEC("lsm/path_chown")
int BPF_PROG(path_chown, const struct path *path, unsigned int uid, unsigned int gid)
{
	return lsm_chown(path, uid, gid);
}

// Before 6.1 programs may not read arguments that are structs: the new owner is unknown.
SEC("lsm/path_chown")
int BPF_PROG(path_chown_plain, const struct path *path)
{
	return lsm_chown(path, -1, -1);
}

SEC("lsm/mmap_file")
int BPF_PROG(mmap_file, struct file *file, unsigned long reqprot, unsigned long prot)
{
	struct task_struct *t = bw_current();
	struct vfsmount *mnt;
	struct inode *inode;
	struct file *exe;
	__u8 origin;

	if (!file || !(prot & PROT_EXEC) || !bw_contained(t))
		return 0;
	inode = BPF_CORE_READ(file, f_inode);
	exe = BPF_CORE_READ(t, mm, exe_file);
	if (!exe || BPF_CORE_READ(exe, f_inode) == inode)
		return 0; // the start of the program tells it
	mnt = BPF_CORE_READ(file, f_path.mnt);
	origin = bw_origin_of(t, inode, mnt);
	if (origin == BW_ORIGIN_IMAGE || origin == BW_ORIGIN_UNKNOWN || origin == BW_ORIGIN_VOLUME)
		return 0;
	{
		LSM_BEGIN(BW_MMAP, LSM_MMAP, 0, A_EXEC);
		o->mnt = mnt;
		o->dentry = BPF_CORE_READ(file, f_path.dentry);
		o->inode = inode;
		o->origin = origin;
		return lsm_ask();
	}
}

#include "lsm_act.h"
