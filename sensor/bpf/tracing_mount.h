// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Part of tracing.bpf.c: mounts, by mount(2) and by descriptors (open_tree, fsopen, fsconfig,
// move_mount). Each asks for its capability before it is done.
#ifndef BOLLWERK_TRACING_MOUNT_H
#define BOLLWERK_TRACING_MOUNT_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct file_system_type___t {
	const char *name;
};
struct super_block___m {
	struct file_system_type___t *s_type;
};
struct fs_context___t {
	struct file_system_type___t *fs_type;
	const char *source;
};
struct mount___m {
	const char *mnt_devname;
};
#pragma clang attribute pop

// The names of the path of a descriptor to `to`; returns their bytes, of a long one the last names.
BW_INLINE __u32 names_of(char *to, unsigned long fd)
{
	__u32 zero = 0;
	__u64 n;
	struct task_struct *t = bw_current();
	struct bw_walk *w = bpf_map_lookup_elem(&walk_scratch, &zero);
	struct file *f = (struct file *)file_of(fd);

	if (!w || !f)
		return 0;
	w->path.mnt = BW_READ(f, f_path.mnt);
	w->path.dentry = BW_READ(f, f_path.dentry);
	w->top.mnt = BW_READ(t, fs, root.mnt);
	w->top.dentry = BW_READ(t, fs, root.dentry);
	bw_walk_names();
	n = w->length;
	if (n > 255)
		n = 255;
	bw_mask(n, 0xff);
	bpf_probe_read_kernel(to, n, w->names);
	return n;
}

// What a mount without a place is made of, by its descriptor.
BW_INLINE void mount_behind(struct bw_mount *r, unsigned long fd)
{
	struct file *f = (struct file *)file_of(fd);
	struct super_block___m *sb;
	struct vfsmount *m;
	void *real;

	if (!f)
		return;
	m = BW_READ(f, f_path.mnt);
	sb = (void *)BW_READ(m, mnt_sb);
	real = (void *)m - bpf_core_field_offset(struct mount, mnt);
	bpf_probe_read_kernel_str(r->source, sizeof(r->source), BPF_CORE_READ((struct mount___m *)real, mnt_devname));
	bpf_probe_read_kernel_str(r->type, sizeof(r->type), BPF_CORE_READ(sb, s_type, name));
}

#define FSCONFIG_CMD_CREATE 6
#define FSCONFIG_CMD_CREATE_EXCL 8

__noinline int on_mount(void)
{
	struct task_struct *t = bw_current();
	struct call *c = call();
	struct fs_context___t *fc;
	struct file___t *f;
	struct bw_mount *r;
	__u64 what;

	if (!c)
		return 0;
	if (bw_contained(t) && !own_program())
		return 0; // a runtime at work
	if (c->nr == NR_fsconfig && c->a1 != FSCONFIG_CMD_CREATE && c->a1 != FSCONFIG_CMD_CREATE_EXCL)
		return 0;
	r = bw_reserve(sizeof(*r));
	if (!r) {
		bw_lost(bw_cgroup(t), BW_MOUNT);
		return 0;
	}
	bw_header_of(&r->h, t, BW_MOUNT, sizeof(*r));
	r->h.source = BW_FROM_TRACING;
	r->flags = 0;
	r->syscall = c->nr;
	r->source_names = r->target_names = 0;
	r->source[0] = r->target[0] = r->type[0] = 0;
	switch (c->nr) {
	case NR_mount:
		bpf_probe_read_user_str(r->source, sizeof(r->source), (void *)c->a0);
		bpf_probe_read_user_str(r->target, sizeof(r->target), (void *)c->a1);
		bpf_probe_read_user_str(r->type, sizeof(r->type), (void *)c->a2);
		r->flags = c->a3;
		break;
	case NR_open_tree: case NR_open_tree_attr: // asks only when it makes a mount (a copy)
		r->flags = 4096; // MS_BIND
		bpf_probe_read_user_str(r->source, sizeof(r->source), (void *)c->a1);
		if (!r->source[0])
			r->source_names = names_of(r->source, c->a0);
		break;
	case NR_move_mount:
		bpf_probe_read_user_str(r->source, sizeof(r->source), (void *)c->a1);
		if (!r->source[0])
			mount_behind(r, c->a0);
		bpf_probe_read_user_str(r->target, sizeof(r->target), (void *)c->a3);
		if (!r->target[0])
			r->target_names = names_of(r->target, c->a2);
		break;
	case NR_fsopen:
		bpf_probe_read_user_str(r->type, sizeof(r->type), (void *)c->a0);
		break;
	case NR_fsconfig: // its file system is about to be made
		f = file_of(c->a0);
		if (!f)
			break;
		fc = BPF_CORE_READ(f, private_data);
		bpf_probe_read_kernel_str(r->source, sizeof(r->source), BPF_CORE_READ(fc, source));
		bpf_probe_read_kernel_str(r->type, sizeof(r->type), BPF_CORE_READ(fc, fs_type, name));
		break;
	case NR_fspick:
		bpf_probe_read_user_str(r->target, sizeof(r->target), (void *)c->a1);
		break;
	}
	guard(&r->h, BW_GUARD_MOUNT, 15);
	what = hash(hash(hash(c->nr ^ r->flags, r->target, 64), r->type, 16), r->source, 64);
	tell(&r->h, again(r->h.cgroup, what), r->h.guard != 0);
	return 0;
}
#endif
