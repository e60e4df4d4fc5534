//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What contained processes reach for, without LSM hooks: sockets that have a name
// (cgroup/connect_unix, since 6.7) and code that was not in the image (the kernel looks
// for a place to map it: tp_btf/vm_unmapped_area).
//
// bpf2go-type: bw_unix bw_map
#include "file.h"
#include "tracing.h"
#include "tracing_call.h"
#include "tracing_fold.h"

// So that the type information names the records.
struct bw_unix *type_bw_unix __attribute__((unused));
struct bw_map *type_bw_map __attribute__((unused));

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct bpf_sock_addr_kern___t {
	void *uaddr;
	__u32 uaddrlen;
};
struct fdtable___t {
	unsigned int max_fds;
	struct file **fd;
};
struct files_struct___t {
	struct fdtable___t *fdt;
};
#pragma clang attribute pop

extern void *bpf_cast_to_kern_ctx(void *obj) __ksym;

#define UNIX_PATH_MOST 108

// Asked before a process connects to a socket of the machine: 1 lets it pass.
SEC("cgroup/connect_unix")
int bw_connect_unix(struct bpf_sock_addr *ctx)
{
	struct task_struct *t = bw_current();
	struct bpf_sock_addr_kern___t *in;
	struct bw_mount_key key = {};
	struct bw_unix *r;
	__u64 text[14] = {}, at;
	__u32 length, count;

	if (config.options & BW_REACH_NO_UNIX || !bw_contained(t))
		return 1;
	in = bpf_cast_to_kern_ctx(ctx);
	length = in->uaddrlen;
	at = (__u64)in->uaddr;
	if (length <= 2 || !at)
		return 1;
	length -= 2; // the family
	if (length > UNIX_PATH_MOST)
		length = UNIX_PATH_MOST;
	asm volatile("" : "+r"(length));
	length &= 0x7f;
	if (length > UNIX_PATH_MOST)
		return 1;
	if (bpf_probe_read_kernel(text, length, (void *)at + 2))
		return 1;
	key.cgroup = bw_cgroup(t);
	key.hash = 0xcbf29ce484222325ULL;
#pragma unroll
	for (int i = 0; i < 14; i++)
		key.hash = (key.hash ^ text[i]) * 0x9e3779b97f4a7c15ULL ^ key.hash >> 29;
	count = again(key.cgroup, key.hash);
	if (!count)
		return 1;
	r = bw_reserve(sizeof(*r));
	if (!r) {
		bw_lost(key.cgroup, BW_CONNECT);
		return 1;
	}
	bw_header_of(&r->h, t, BW_CONNECT, sizeof(*r));
	r->h.source = BW_FROM_REACH;
	r->length = length;
	r->type = ctx->type;
	__builtin_memcpy(r->path, text, sizeof(r->path));
	tell(&r->h, count, 0);
	return 1;
}

#define PROT_EXEC 4
#define MAP_PRIVATE 2
#define MAP_ANONYMOUS 0x20
#define MAP_DENYWRITE 0x800 // only loaders of programs ask for it; the kernel does not mind

struct reach_map {
	struct bw_map r;
	char names[BW_WALK_BYTES];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct reach_map);
} reach_scratch SEC(".maps");

BW_INLINE struct file *reach_file(struct task_struct *t, unsigned long fd)
{
	struct files_struct___t *files = (void *)BPF_CORE_READ(t, files);
	struct fdtable___t *table = BPF_CORE_READ(files, fdt);
	struct file **slots, *f = 0;

	if (!table || fd >= BPF_CORE_READ(table, max_fds))
		return 0;
	slots = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&f, sizeof(f), slots + fd);
	return f;
}

static __noinline int reach_tell(struct file *f, int sure)
{
	struct task_struct *t = bw_current();
	struct inode *inode = BPF_CORE_READ(f, f_inode);
	struct vfsmount *mnt = BPF_CORE_READ(f, f_path.mnt);
	struct bw_mount_key key = {};
	struct file *exe = BPF_CORE_READ(t, mm, exe_file);
	struct reach_map *m;
	__u32 zero = 0, count;
	__u64 size;
	__u8 origin;
	int cut = 0, memory;

	if ((BPF_CORE_READ(inode, i_mode) & 0xf000) != 0x8000 || (exe && BPF_CORE_READ(exe, f_inode) == inode))
		return 0;
	origin = bw_origin_of(t, inode, mnt);
	if (origin != BW_ORIGIN_CREATED && origin != BW_ORIGIN_MODIFIED && origin != BW_ORIGIN_MEMORY)
		return 0;
	// Many read a private copy of a file; of one that lives in memory alone we look what becomes of it.
	memory = origin == BW_ORIGIN_MEMORY || BPF_CORE_READ(inode, i_sb, s_magic) == BW_MAGIC_TMPFS;
	if (!sure && !memory)
		return 0;
	key.cgroup = bw_cgroup(t);
	key.hash = (__u64)inode ^ sure;
	if (memory) // modules that were installed at run time are mapped by each process of a workload: once is enough
		key.hash ^= (__u64)BPF_CORE_READ(t, tgid) << 40;
	count = again(key.cgroup, key.hash);
	if (!count)
		return 0;
	m = bpf_map_lookup_elem(&reach_scratch, &zero);
	if (!m)
		return 0;
	bw_header_of(&m->r.h, t, BW_MMAP, 0);
	m->r.h.source = BW_FROM_REACH;
	m->r.h.pad = count;
	m->r.inode = BPF_CORE_READ(inode, i_ino);
	m->r.size = BPF_CORE_READ(inode, i_size);
	m->r.device = BPF_CORE_READ(inode, i_sb, s_dev);
	m->r.mode = BPF_CORE_READ(inode, i_mode);
	m->r.origin = origin;
	m->r.sure = sure;
	m->r.pad = 0;
	m->r.names = bw_path_of(m->names, t, mnt, BPF_CORE_READ(f, f_path.dentry), &cut);
	if (cut)
		m->r.h.flags |= BW_F_TRUNCATED;
	if (!rated(key.cgroup, BW_MMAP))
		return 0;
	size = m->r.names;
	bw_mask(size, 0xfff);
	size += sizeof(m->r);
	m->r.h.size = size;
	bw_output(&m->r.h, size, 0);
	return 0;
}

// Runs for every mapping whose place the kernel chooses: what is of no interest leaves
// after two loads.
SEC("tp_btf/vm_unmapped_area")
int BPF_PROG(bw_unmapped)
{
	struct task_struct *t = (void *)bpf_get_current_task_btf();
	struct pt_regs___t *regs = (void *)bpf_task_pt_regs((void *)t);
	struct call c = {};
	struct file *f;
	int sure;

	if (config.options & BW_REACH_NO_MAP || number_of(t, regs) != NR_mmap)
		return 0;
	arguments_of(&c, regs);
	if (c.a3 & MAP_ANONYMOUS)
		return 0;
	sure = c.a2 & PROT_EXEC || c.a3 & MAP_DENYWRITE;
	if ((!sure && !(c.a3 & MAP_PRIVATE)) || !bw_contained(t))
		return 0;
	f = reach_file(t, fifth_argument(regs));
	if (f)
		reach_tell(f, sure);
	return 0;
}
