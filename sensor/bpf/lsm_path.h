// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Paths, repetitions and the lists of allowed paths for the LSM programs.
#ifndef BOLLWERK_LSM_PATH_H
#define BOLLWERK_LSM_PATH_H
#include "file.h"
#include "lsm.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct qstr___l {
	unsigned int hash;
	unsigned int len;
	const unsigned char *name;
};
struct dentry___l {
	struct qstr___l d_name;
	unsigned char d_iname[8];
};
union shortname_store {
	unsigned char string[8];
};
struct dentry___new { // since 6.15
	union shortname_store d_shortname;
};
struct mount___l {
	struct mnt_namespace *mnt_ns;
};
#pragma clang attribute pop

#define LSM_DEPTH 64

// What a program knows of a file operation.
struct lsm_op {
	struct vfsmount *mnt;
	struct dentry *dentry;
	struct inode *inode;
	struct vfsmount *mnt2; // the second name: of a rename, of a link
	struct dentry *dentry2;
	const char *says; // a symbolic link
	__u32 to[2];      // new mode, or new owner and group
	__u16 kind;       // 0: only there to be refused
	__u16 access;     // bits of bollwerk.Access
	__u8 source;
	__u8 watch;  // LSM_READ, …
	__u8 always; // told however many there are in the folder
	__u8 origin;
	__u32 weight; // how many equal ones it stands for
};

// One per CPU. On kernels that preempt programs another task may take it in between:
// whoever finds that owner is not himself any more has lost his record, and counts it.
struct lsm_scratch {
	__u64 owner;
	struct lsm_op op;
	struct vfsmount *mnt; // what lsm_path and lsm_watched look at
	struct dentry *dentry;
	struct vfsmount *top_mnt; // the root of the task
	struct dentry *top_dentry;
	__u32 start; // of the path in path
	__u32 cut;
	struct lsm_seen_key seen;
	struct lsm_watch_key watch;
	struct lsm_watch hit;
	char head[32]; // room for lsm_prefix_key before a path
	char path[LSM_PATH + 256];
	union { // one record, with its texts behind it
		struct {
			struct lsm_file file;
			char file_text[2 * LSM_PATH + 256];
		};
		struct {
			struct lsm_mount mount;
			char mount_text[2 * LSM_PATH];
		};
		struct {
			struct lsm_exec exec;
			char exec_text[2 * LSM_PATH];
		};
	};
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lsm_scratch);
} lsm_scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct lsm_seen_key);
	__type(value, struct lsm_seen);
} lsm_repeats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct lsm_watch_key);
	__type(value, struct lsm_watch);
} lsm_watches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct lsm_prefix_key);
	__type(value, __u32);
} lsm_prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LSM_QUIET);
	__type(key, __u32);
	__type(value, struct lsm_quiet);
} lsm_quiet SEC(".maps");

// Counted up by the agent when a policy comes or goes.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} lsm_generation SEC(".maps");

// Counted up when a folder is moved or something mounted: files below have other paths then.
__u32 lsm_moves;

// Executables without a name that a process of the host started: container runtimes
// run a sealed copy of themselves. What such a copy does inside a container before the
// container's own program starts is never refused.
struct lsm_memfd {
	__u64 inode;
	__u64 device;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct lsm_memfd);
	__type(value, __u32);
} lsm_runtimes SEC(".maps");

const volatile struct lsm_filter filter = {};

BW_INLINE struct lsm_scratch *lsm_room(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&lsm_scratch, &zero);
}

BW_INLINE struct lsm_scratch *lsm_take(void)
{
	struct lsm_scratch *s = lsm_room();

	if (s)
		s->owner = bpf_get_current_pid_tgid();
	return s;
}

BW_INLINE int lsm_mine(struct lsm_scratch *s)
{
	barrier_var(s);
	return *(volatile __u64 *)&s->owner == bpf_get_current_pid_tgid();
}

// The functions below that are not static are checked by the verifier once for each
// program instead of once for each call; they find what they work on in the scratch.

// One name, or one mount, of lsm_path. Returns 1 at the top. All it remembers stands in
// the scratch, so that the verifier sees the same state each time round.
__noinline int lsm_step(void)
{
	struct lsm_scratch *s = lsm_room();
	struct dentry *d, *parent;
	struct vfsmount *vfs;
	const unsigned char *name;
	__u32 len, at;

	if (!s)
		return 1;
	d = s->dentry;
	vfs = s->mnt;
	at = s->start;
	if (!d || (d == s->top_dentry && vfs == s->top_mnt))
		return 1;
	if (d == BPF_CORE_READ(vfs, mnt_root)) {
		struct mount *m = (void *)vfs - bpf_core_field_offset(struct mount, mnt);
		struct mount *up = BPF_CORE_READ(m, mnt_parent);

		if (up == m || !up)
			return 1;
		s->dentry = BPF_CORE_READ(m, mnt_mountpoint);
		s->mnt = (void *)up + bpf_core_field_offset(struct mount, mnt);
		return 0;
	}
	parent = BPF_CORE_READ(d, d_parent);
	if (parent == d) // a tree that is mounted nowhere
		return 1;
	len = BPF_CORE_READ((struct dentry___l *)d, d_name.len) & 255;
	name = BPF_CORE_READ(d, d_name.name);
	if (at < len + 1 || at >= LSM_PATH) {
		s->cut = 1;
		return 1;
	}
	at -= len;
	bpf_probe_read_kernel(&s->path[at & (LSM_PATH - 1)], len & 255, name);
	at -= 1;
	s->path[at & (LSM_PATH - 1)] = '/';
	s->start = at;
	s->dentry = parent;
	return 0;
}

// Writes the absolute path of s->dentry, as the task sees it, to the end of s->path.
__noinline int lsm_path(void)
{
	struct lsm_scratch *s = lsm_room();
	struct task_struct *t = bw_current();
	int done = 0;

	if (!s)
		return 0;
	s->top_dentry = BPF_CORE_READ(t, fs, root.dentry);
	s->top_mnt = BPF_CORE_READ(t, fs, root.mnt);
	s->start = LSM_PATH - 1;
	s->path[LSM_PATH - 1] = 0;
	s->cut = 0;
	for (int i = 0; i < LSM_DEPTH; i++) {
		if (lsm_step()) {
			done = 1;
			break;
		}
	}
	if (!done)
		s->cut = 1;
	if (s->start == LSM_PATH - 1) {
		s->start = LSM_PATH - 2;
		s->path[LSM_PATH - 2] = '/';
	}
	return 0;
}

// The path in s->path stands on a list of the workload.
BW_INLINE int lsm_listed(struct lsm_scratch *s, __u64 root, __u32 list)
{
	__u32 at = s->start & (LSM_PATH - 1), n = LSM_PATH - at;
	struct lsm_prefix_key *k = (void *)&s->head[16] + at;

	if (n > LSM_PREFIX)
		n = LSM_PREFIX;
	if (s->cut)
		n = 1; // too deep to be known: as if it were the root
	k->length = (12 + n) * 8;
	k->list = list;
	k->root = root;
	if (bpf_map_lookup_elem(&lsm_prefixes, k))
		return 1;
	// A policy whose lists are not here yet refuses nothing.
	k->length = 12 * 8;
	k->list = LSM_LIST_PRESENT;
	return bpf_map_lookup_elem(&lsm_prefixes, k) == 0;
}

// How many things equal to s->seen the record stands for that is to be sent now; 0: send none.
// The first `each` are told one by one, then at every doubling. After a minute it starts anew.
__noinline int lsm_fold(__u32 each, __u32 weight)
{
	struct lsm_scratch *s = lsm_room();
	struct lsm_seen *v, new = {};
	__u64 now = bpf_ktime_get_boot_ns();
	struct lsm_seen_key *k;
	__u32 c;

	if (!s)
		return 1;
	k = &s->seen;
	v = bpf_map_lookup_elem(&lsm_repeats, k);
	if (!v) {
		new.since = now;
		new.n = weight;
		new.told = weight;
		bpf_map_update_elem(&lsm_repeats, k, &new, BPF_ANY);
		return weight;
	}
	if (now - v->since > 60000000000ULL) {
		c = v->n - v->told + weight;
		v->since = now;
		v->n = weight;
		v->told = weight;
		return c;
	}
	v->n += weight;
	if (v->n > each && v->n < 2 * v->told)
		return 0;
	c = v->n - v->told;
	v->told = v->n;
	return c;
}

// Whether a file of this name may be watched for reading. Wants a pointer that the verifier
// trusts: the name's first letters stand in the dentry itself, unless the name is long.
BW_INLINE int lsm_perhaps(struct dentry *dentry)
{
	struct dentry___l *d = (void *)dentry;
	__u32 n = d->d_name.len, at;
	__u64 word;

	if (n >= LSM_NAME)
		return (filter.longs[(n / 64) & 3] >> (n & 63)) & 1;
	if (bpf_core_field_exists(d->d_iname))
		at = bpf_core_field_offset(struct dentry___l, d_iname);
	else
		at = bpf_core_field_offset(struct dentry___new, d_shortname);
	word = *(__u64 *)((void *)dentry + at);
	if (n < 8) { // what stands behind its end is left from others
		word <<= (64 - 8 * n) & 63;
		word >>= (64 - 8 * n) & 63;
	}
	at = LSM_SLOT(word, n) & (LSM_SLOTS - 1);
	return (filter.names[at / 64] >> (at & 63)) & 1;
}

// Looks for s->watch.name in the table, and for it in the folder `up` if that is asked for.
BW_INLINE struct lsm_watch *lsm_lookup(struct lsm_scratch *s, __u32 access, struct dentry *up)
{
	struct lsm_watch *w = bpf_map_lookup_elem(&lsm_watches, &s->watch);

	if (w && w->folder && !(w->access & access)) {
		bpf_probe_read_kernel_str(s->watch.folder, LSM_NAME, BPF_CORE_READ(up, d_name.name));
		w = bpf_map_lookup_elem(&lsm_watches, &s->watch);
	}
	return w && (w->access & access) ? w : 0;
}

BW_INLINE void lsm_named(struct lsm_scratch *s, struct dentry *d)
{
	__u32 n = BPF_CORE_READ((struct dentry___l *)d, d_name.len);
	const unsigned char *name = BPF_CORE_READ(d, d_name.name);

	if (n >= LSM_NAME) { // by its end
		name += n - (LSM_NAME - 1);
		n = LSM_NAME - 1;
	}
	__builtin_memset(&s->watch, 0, sizeof(s->watch));
	bpf_probe_read_kernel(s->watch.name, n & (LSM_NAME - 1), name);
}

// Where something is mounted whose names in its own file system say nothing: a file alone,
// under whatever name (a secret of Docker, a subPath), or a volume of the kubelet, which keeps
// what it writes in a folder of its making ("..2026_01_01_00_00_00.1").
__noinline int lsm_watched_mounted(__u32 access)
{
	struct lsm_scratch *s = lsm_room();
	struct lsm_watch *w;
	struct dentry *d, *root, *up, *at;
	struct vfsmount *vfs;
	struct mount *m;
	char two[4] = {};

	if (!s)
		return 0;
	d = s->dentry;
	vfs = s->mnt;
	root = BW_READ(vfs, mnt_root);
	if (d != root && BW_READ(d, d_sb, s_magic) != BW_MAGIC_TMPFS)
		return 0; // nearly always
	m = (void *)vfs - bpf_core_field_offset(struct mount, mnt);
	at = BPF_CORE_READ(m, mnt_mountpoint);
	up = BPF_CORE_READ(d, d_parent);
	if (d == root) {
		if (BPF_CORE_READ(m, mnt_parent) == m)
			return 0;
		lsm_named(s, at);
		w = lsm_lookup(s, access, BPF_CORE_READ(at, d_parent));
		if (w) {
			s->hit = *w;
			return 1;
		}
	} else if (BPF_CORE_READ(up, d_parent) != root) {
		return 0;
	}
	bpf_probe_read_kernel_str(two, 3, BPF_CORE_READ(up, d_name.name));
	if (two[0] != '.' || two[1] != '.')
		return 0;
	if (d == root)
		at = BPF_CORE_READ(at, d_parent);
	lsm_named(s, d);
	w = lsm_lookup(s, access, at);
	if (!w)
		return 0;
	s->hit = *w;
	return 1;
}

// Whether s->dentry, of the mount s->mnt, is watched for what is done with it; how, in s->hit.
__noinline int lsm_watched(__u32 access)
{
	struct lsm_scratch *s = lsm_room();
	struct lsm_watch *w = 0;
	struct dentry *d, *up;
	__u32 n;

	if (!s)
		return 0;
	s->hit.class = 0;
	s->hit.magic = 0;
	d = s->dentry;
	up = BPF_CORE_READ(d, d_parent);
	lsm_named(s, d);
	w = lsm_lookup(s, access, up);
	if (w)
		goto hit;
	if (lsm_watched_mounted(access))
		goto magic;
	// Whole folders are watched for changes only: reads are too many.
	if (!(access & (LSM_WRITE | LSM_DELETE)))
		return 0;
	n = BPF_CORE_READ((struct dentry___l *)up, d_name.len);
	if (n >= LSM_NAME || !((filter.folders >> n) & 1))
		return 0;
	__builtin_memset(&s->watch, 0, sizeof(s->watch));
	bpf_probe_read_kernel(s->watch.folder, n & (LSM_NAME - 1), BPF_CORE_READ(up, d_name.name));
	w = bpf_map_lookup_elem(&lsm_watches, &s->watch);
	if (!w || !(w->access & access))
		return 0;
hit:
	s->hit = *w;
magic:
	if (s->hit.magic && BPF_CORE_READ(d, d_sb, s_magic) != s->hit.magic)
		return 0;
	return 1;
}

BW_INLINE struct mnt_namespace *lsm_mount_ns(struct vfsmount *v)
{
	void *m = (void *)v - bpf_core_field_offset(struct mount, mnt);

	return v ? BPF_CORE_READ((struct mount___l *)m, mnt_ns) : 0;
}

// A mount that no namespace has: layers of an overlay, memory files.
BW_INLINE int lsm_hidden(struct vfsmount *v)
{
	unsigned long ns = (unsigned long)lsm_mount_ns(v);

	return ns < 4096 || ns > -4096UL;
}

// A container runtime that sets a container up or enters one: its parent is outside, and
// its program comes from the host's mounts, or is a copy that a process of the host or
// another of the runtime's started.
__noinline int lsm_runtime(void)
{
	struct task_struct *t = bw_current(), *parent;
	struct file *exe = BPF_CORE_READ(t, mm, exe_file);
	struct mnt_namespace *ns;
	struct lsm_memfd k = {};

	if (!exe)
		return 1; // the kernel itself
	parent = BPF_CORE_READ(t, real_parent);
	if (bw_contained(parent))
		return 0;
	ns = lsm_mount_ns(BPF_CORE_READ(exe, f_path.mnt));
	if ((unsigned long)ns > 4096 && (unsigned long)ns < -4096UL && BPF_CORE_READ(ns, ns.inum) == config.host_mnt_ns)
		return 1;
	k.inode = BPF_CORE_READ(exe, f_inode, i_ino);
	k.device = BPF_CORE_READ(exe, f_inode, i_sb, s_dev);
	return bpf_map_lookup_elem(&lsm_runtimes, &k) != 0;
}

BW_INLINE __u64 lsm_exe(struct task_struct *t)
{
	return BPF_CORE_READ(t, mm, exe_file, f_inode, i_ino);
}
#endif
