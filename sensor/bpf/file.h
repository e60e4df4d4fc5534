// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Files as the kernel keeps them: paths put together by hand (bpf_d_path is not
// allowed in most programs) and where the bytes of a file come from.
#ifndef BOLLWERK_FILE_H
#define BOLLWERK_FILE_H

#include "bollwerk.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct super_block {
	unsigned long s_magic;
	unsigned int s_dev;
};
struct inode {
	unsigned short i_mode;
	bw_kid i_uid, i_gid;
	struct super_block *i_sb;
	unsigned long i_ino;
	unsigned int i_nlink;
	unsigned int i_rdev;
	long long i_size;
};
struct qstr {
	const unsigned char *name;
};
struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
};
struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
};
struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};
struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};
struct file {
	struct path f_path;
	struct inode *f_inode;
	void *private_data;
};
struct fs_struct {
	struct path root, pwd;
};
struct mm_struct {
	unsigned long arg_start, arg_end, env_start, env_end;
	struct file *exe_file;
};
struct ovl_entry { // since 6.5
	unsigned int __numlower;
};
#pragma clang attribute pop

#define BW_MAGIC_OVERLAY 0x794c7630
#define BW_MAGIC_TMPFS 0x01021994

#define BW_WALK_NAMES 128
#define BW_WALK_BYTES 4096

// Loops stand in global functions: the verifier looks at these once and for themselves,
// not again at each call with all that led there. Such functions take only numbers, so
// what they work on stands in a map, room of one CPU that each object has for itself.
struct bw_walk {
	struct path path, top; // in
	__u32 length, cut;     // out
	char names[BW_WALK_BYTES + 256];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bw_walk);
} walk_scratch SEC(".maps");

// Writes the names from a file up to the root of the task, the last one first, each
// with its zero byte: "bash\0bin\0usr\0".
struct bw_walking {
	struct bw_walk *w;
	struct dentry *d, *root, *top_d;
	struct vfsmount *vfs, *top_v;
};

static long bw_walk_step(__u32 i, struct bw_walking *s)
{
	struct dentry *d = s->d, *parent;
	struct bw_walk *w = s->w;
	__u64 n;
	long len;

	if (!d || (d == s->top_d && s->vfs == s->top_v)) {
		w->cut = 0;
		return 1;
	}
	if (d == s->root) {
		struct mount *m = (void *)s->vfs - bpf_core_field_offset(struct mount, mnt);
		struct mount *up = BW_READ(m, mnt_parent);

		if (up == m || !up) {
			w->cut = 0;
			return 1;
		}
		s->d = BW_READ(m, mnt_mountpoint);
		s->vfs = (void *)up + bpf_core_field_offset(struct mount, mnt);
		s->root = BW_READ(s->vfs, mnt_root);
		return 0;
	}
	n = w->length; // read from memory, so that all turns look alike to the verifier
	if (n >= BW_WALK_BYTES - 256)
		return 1;
	bw_mask(n, 0xfff);
	len = bpf_probe_read_kernel_str(&w->names[n], 256, BW_READ(d, d_name.name));
	if (len > 0)
		w->length = n + len;
	parent = BW_READ(d, d_parent);
	if (parent == d) { // without a parent: memfd, a detached tree
		w->cut = 0;
		return 1;
	}
	s->d = parent;
	return 0;
}

__noinline int bw_walk_names(void)
{
	__u32 zero = 0;
	struct bw_walk *w = bpf_map_lookup_elem(&walk_scratch, &zero);
	struct bw_walking s;

	if (!w)
		return 0;
	w->length = 0;
	w->cut = 1;
	s.w = w;
	s.d = w->path.dentry;
	s.vfs = w->path.mnt;
	s.top_d = w->top.dentry;
	s.top_v = w->top.mnt;
	s.root = BW_READ(s.vfs, mnt_root);
	bw_loop(BW_WALK_NAMES, bw_walk_step, &s);
	return 0;
}

// Puts the names of a path to `to`, which has room for BW_WALK_BYTES; returns their length.
BW_INLINE __u32 bw_path_of(char *to, struct task_struct *t, struct vfsmount *mnt, struct dentry *dentry, int *cut)
{
	__u32 zero = 0;
	__u64 n;
	struct bw_walk *w = bpf_map_lookup_elem(&walk_scratch, &zero);

	if (!w)
		return 0;
	w->path.mnt = mnt;
	w->path.dentry = dentry;
	w->top.mnt = BW_READ(t, fs, root.mnt);
	w->top.dentry = BW_READ(t, fs, root.dentry);
	bw_walk_names();
	*cut = w->cut;
	n = w->length; // below BW_WALK_BYTES
	bw_mask(n, 0xfff);
	bpf_probe_read_kernel(to, n, w->names);
	return n;
}

// Where the bytes of an executable come from (enum bw_origin).
BW_INLINE __u8 bw_origin_of(struct task_struct *t, struct inode *inode, struct vfsmount *mnt)
{
	struct super_block *sb = BW_READ(inode, i_sb), *root;
	struct vfsmount *root_mnt = BW_READ(t, fs, root.mnt);
	unsigned long magic = BW_READ(sb, s_magic);

	if (!BW_READ(inode, i_nlink))
		return BW_ORIGIN_MEMORY;
	if (!bw_contained(t))
		return BW_ORIGIN_HOST;
	root = BW_READ(root_mnt, mnt_sb);
	if (magic == BW_MAGIC_OVERLAY) {
		// struct ovl_inode may live in a module that is not loaded yet; but since 5.10
		// its upper dentry and what it covers follow the inode directly.
		void *after = (void *)inode + bpf_core_type_size(struct inode);
		void *pair[2] = {};
		__u32 lower;

		if (bpf_probe_read_kernel(pair, sizeof(pair), after))
			return BW_ORIGIN_UNKNOWN;
		if (!pair[0])
			return BW_ORIGIN_IMAGE;
		lower = pair[1] != 0;
		if (config.options & BW_OPT_OVERLAY_ENTRY && pair[1])
			bpf_probe_read_kernel(&lower, sizeof(lower), pair[1]);
		return lower ? BW_ORIGIN_MODIFIED : BW_ORIGIN_CREATED;
	}
	// Nothing in a memory file system can come from an image.
	if (magic == BW_MAGIC_TMPFS && sb != root)
		return BW_ORIGIN_CREATED;
	return mnt == root_mnt ? BW_ORIGIN_UNKNOWN : BW_ORIGIN_VOLUME;
}
#endif
