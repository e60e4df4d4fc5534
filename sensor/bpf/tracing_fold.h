// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Repeats stay in the kernel, and nobody may fill the ring for all.
#ifndef BOLLWERK_TRACING_FOLD_H
#define BOLLWERK_TRACING_FOLD_H
#include "bollwerk.h"
#include "tracing.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct bw_mount_key);
	__type(value, struct bw_fold);
} told SEC(".maps");

// Records told by each workload in the present second.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct bw_fold);
} rates SEC(".maps");

BW_INLINE __u64 hash(__u64 h, const char *s, int most)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < most && s[i]; i++)
		h = (h ^ (unsigned char)s[i]) * 0x100000001b3ULL;
	return h;
}

// How many equal things a record would stand for now: 0 when one was told a moment ago.
__noinline int again(__u64 cgroup, __u64 what)
{
	struct bw_mount_key key = {.cgroup = cgroup, .hash = what};
	struct bw_fold first = {}, *f = bpf_map_lookup_elem(&told, &key);
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 n;

	if (!f) {
		first.last = now;
		bpf_map_update_elem(&told, &key, &first, BPF_ANY);
		return 1;
	}
	if (now - f->last < BW_TRACING_AGAIN) {
		bw_add(&f->more, 1);
		return 0;
	}
	n = f->more + 1;
	f->more = 0;
	f->last = now;
	return n;
}

// A workload that makes up something new each time must not fill the ring for all.
__noinline int rated(__u64 cgroup, __u32 kind)
{
	struct bw_fold first = {.more = 1}, *f = bpf_map_lookup_elem(&rates, &cgroup);
	__u64 now = bpf_ktime_get_boot_ns();

	if (!f || now - f->last > 1000000000ULL) {
		first.last = now;
		bpf_map_update_elem(&rates, &cgroup, &first, BPF_ANY);
		return 1;
	}
	if (f->more >= BW_TRACING_PER_SECOND) {
		bw_lost(cgroup, kind);
		return 0;
	}
	bw_add(&f->more, 1);
	return 1;
}

BW_INLINE void tell(struct bw_header *h, __u32 count, int urgent)
{
	if (!count || !rated(h->cgroup, h->kind)) {
		bw_discard(h);
		return;
	}
	h->pad = count;
	bpf_ringbuf_submit(h, bw_wakeup(urgent));
}
#endif
