// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The guards that judge the start of a program: whoever sees it (the tracepoint that
// kills, the LSM hook that denies) collects the facts and asks bw_exec_guard.
#ifndef BOLLWERK_EXEC_GUARD_H
#define BOLLWERK_EXEC_GUARD_H

#include "file.h"
#include "process.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct in6_addr {
	__u8 s6_addr[16]; // of no kernel: only its size counts
};
struct sock_common {
	__be32 skc_daddr, skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
};
struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
};
struct socket {
	struct sock *sk;
};
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};
struct files_struct {
	struct fdtable *fdt;
};
#pragma clang attribute pop

#define BW_AF_INET 2
#define BW_AF_INET6 10
#define BW_S_IFMT 0170000
#define BW_S_IFSOCK 0140000
#define BW_S_IFIFO 0010000
#define BW_S_IFCHR 0020000
#define BW_S_IFREG 0100000

// Guards that another means denies before the exec is done (the LSM source sets them):
// the tracepoint then leaves them alone.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} covered SEC(".maps");

// File names of shells, and settings of the reverse-shell guard under the empty name.
struct bw_name {
	char name[16];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct bw_name);
	__type(value, __u8);
} shells SEC(".maps");

// Builders of a policy set: their descendants may run what was made at run time.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536); // some seventy for each workload
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct bw_builder);
	__type(value, __u8);
} builders SEC(".maps");

// Executables of a policy set: the whole path is the key, so that no two paths can be
// taken for each other.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct bw_exec_path);
	__type(value, __u8);
} exec_allowed SEC(".maps");

// What the guards need to know of a start.
struct bw_exec_facts {
	struct task_struct *task;
	struct file *file; // of the program (for a script: of its interpreter)
	struct bw_stdio stdio[3];
	char called[16]; // its name as called: busybox is a shell as "sh"
	__u32 set;       // of the policy
	__u32 origin;
	struct bw_exec_path key; // room to work in
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bw_exec_facts);
} exec_scratch SEC(".maps");

// Reads the descriptors 0 to 2.
BW_INLINE void bw_read_stdio(struct task_struct *t, struct bw_stdio *out)
{
	struct fdtable *fdt = BW_READ(t, files, fdt);
	struct file **fds = BW_READ(fdt, fd);
	unsigned int most = BW_READ(fdt, max_fds);

	for (int i = 0; i < 3; i++) {
		struct bw_stdio *s = &out[i];
		struct file *f = 0;
		struct inode *inode;
		unsigned short mode;

		__builtin_memset(s, 0, sizeof(*s));
		if (!fds || i >= most || bpf_probe_read_kernel(&f, sizeof(f), fds + i) || !f)
			continue;
		inode = BW_READ(f, f_inode);
		mode = BW_READ(inode, i_mode) & BW_S_IFMT;
		s->inode = BW_READ(inode, i_ino);
		s->kind = BW_STDIO_OTHER;
		if (mode == BW_S_IFREG)
			s->kind = BW_STDIO_FILE;
		if (mode == BW_S_IFIFO)
			s->kind = BW_STDIO_PIPE;
		if (mode == BW_S_IFCHR) {
			unsigned int major = BW_READ(inode, i_rdev) >> 20;

			if (major == 4 || major == 5 || (major >= 136 && major <= 143))
				s->kind = BW_STDIO_TTY;
		}
		if (mode == BW_S_IFSOCK) {
			struct socket *so = (struct socket *)BW_READ(f, private_data);
			struct sock *sk = BW_READ(so, sk);

			s->kind = BW_STDIO_SOCKET;
			s->family = BW_READ(sk, __sk_common.skc_family);
			s->state = BW_READ(sk, __sk_common.skc_state);
			s->protocol = BW_READ(sk, sk_protocol);
			if (s->family == BW_AF_INET || s->family == BW_AF_INET6) {
				s->local_port = BW_READ(sk, __sk_common.skc_num);
				s->remote_port = __builtin_bswap16(BW_READ(sk, __sk_common.skc_dport));
			}
			if (s->family == BW_AF_INET) {
				bpf_core_read(&s->local, 4, &sk->__sk_common.skc_rcv_saddr);
				bpf_core_read(&s->remote, 4, &sk->__sk_common.skc_daddr);
			} else if (s->family == BW_AF_INET6 && bpf_core_field_exists(sk->__sk_common.skc_v6_daddr)) {
				bpf_core_read(&s->local, 16, &sk->__sk_common.skc_v6_rcv_saddr);
				bpf_core_read(&s->remote, 16, &sk->__sk_common.skc_v6_daddr);
			}
		}
	}
}

// A connection with a peer that is not this machine itself.
BW_INLINE int bw_foreign(const struct bw_stdio *s, int loopback)
{
	const __u32 *w = (const __u32 *)s->remote;

	if (s->kind != BW_STDIO_SOCKET || !s->remote_port)
		return 0;
	if (s->family == BW_AF_INET)
		return loopback || s->remote[0] != 127;
	if (s->family != BW_AF_INET6)
		return 0;
	if (loopback)
		return 1;
	if (!w[0] && !w[1] && w[2] == __builtin_bswap32(0xffff))
		return s->remote[12] != 127;
	return w[0] || w[1] || w[2] || w[3] != __builtin_bswap32(1);
}

BW_INLINE void bw_file_name(char *out, __u32 size, struct file *f)
{
	__builtin_memset(out, 0, size);
	bpf_probe_read_kernel_str(out, size, BW_READ(f, f_path.dentry, d_name.name));
}

BW_INLINE int bw_is_shell(const char *name)
{
	struct bw_name key;

	__builtin_memcpy(&key, name, sizeof(key));
	return key.name[0] && bpf_map_lookup_elem(&shells, &key);
}

// One of the nearest ancestors is a builder that came with the image. A copy of a
// builder made at run time is none.
__noinline int bw_built(void)
{
	__u32 zero = 0;
	struct bw_exec_facts *x = bpf_map_lookup_elem(&exec_scratch, &zero);
	struct task_struct *t;

	if (!x)
		return 0;
	t = x->task;
	for (int i = 0; i < 6; i++) {
		struct bw_builder key;
		struct file *f;

		t = BW_READ(t, real_parent);
		f = BW_READ(t, mm, exe_file);
		if (!f)
			continue;
		key.set = x->set;
		bw_file_name(key.name, sizeof(key.name), f);
		if (bpf_map_lookup_elem(&builders, &key)) {
			__u8 o = bw_origin_of(t, BW_READ(f, f_inode), BW_READ(f, f_path.mnt));

			if (o == BW_ORIGIN_IMAGE || o == BW_ORIGIN_UNKNOWN)
				return 1;
		}
	}
	return 0;
}

__noinline int bw_exec_listed(void)
{
	__u32 zero = 0;
	__u64 n;
	struct bw_exec_facts *x = bpf_map_lookup_elem(&exec_scratch, &zero);
	struct bw_walk *w = bpf_map_lookup_elem(&walk_scratch, &zero);

	struct task_struct *t;
	struct file *f;

	if (!x || !w)
		return 0;
	t = x->task;
	f = x->file;
	w->path.mnt = BW_READ(f, f_path.mnt);
	w->path.dentry = BW_READ(f, f_path.dentry);
	w->top.mnt = BW_READ(t, fs, root.mnt);
	w->top.dentry = BW_READ(t, fs, root.dentry);
	bw_walk_names();
	n = w->length;
	if (w->cut || n > sizeof(x->key.names))
		return 0; // longer than any that can be listed
	__builtin_memset(&x->key, 0, sizeof(x->key));
	x->key.set = x->set;
	bw_mask(n, 0xff);
	bpf_probe_read_kernel(x->key.names, n, w->names);
	return bpf_map_lookup_elem(&exec_allowed, &x->key) != 0;
}

BW_INLINE struct bw_exec_facts *bw_exec_facts(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&exec_scratch, &zero);
}

// Returns the first guard out of `which` that the start described in exec_scratch
// trips, 0 when none does.
__noinline int bw_exec_guard(__u32 which)
{
	struct bw_exec_facts *x = bw_exec_facts();
	struct bw_name none = {};
	__u8 *found;
	int loop;

	if (!x)
		return 0;
	if (which & BW_GUARD_FILELESS && x->origin == BW_ORIGIN_MEMORY)
		return BW_GUARD_FILELESS;
	if (which & BW_GUARD_DRIFT &&
	    (x->origin == BW_ORIGIN_CREATED || x->origin == BW_ORIGIN_MODIFIED || x->origin == BW_ORIGIN_MEMORY) && !bw_built())
		return BW_GUARD_DRIFT;
	if (which & BW_GUARD_REVERSE_SHELL) {
		found = bpf_map_lookup_elem(&shells, &none);
		loop = found && *found;
		if (bw_foreign(&x->stdio[0], loop) && bw_foreign(&x->stdio[1], loop)) {
			char name[16];

			struct file *f = x->file;

			bw_file_name(name, sizeof(name), f);
			if (bw_is_shell(name) || bw_is_shell(x->called))
				return BW_GUARD_REVERSE_SHELL;
		}
	}
	if (which & BW_GUARD_EXEC && !bw_exec_listed())
		return BW_GUARD_EXEC;
	return 0;
}

// Number of the (one) guard bit + 1, as a record carries it.
BW_INLINE __u32 bw_guard_number(__u64 bit)
{
	__u32 n = 1;

	for (int i = 0; i < 16 && !(bit & 1); i++, n++)
		bit >>= 1;
	return n;
}
#endif
