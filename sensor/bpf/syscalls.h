// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What syscalls.bpf.c keeps.
#ifndef BOLLWERK_SYSCALLS_H
#define BOLLWERK_SYSCALLS_H
#include "event.h"

#define BW_SYSCALLS 512 // numbers above are no calls of this table

// A byte for each call, not a bit: two CPUs may store at once without taking anything
// from each other, and kernels before 5.12 have no atomic or.
struct bw_calls {
	__u8 used[BW_SYSCALLS];
};

// Numbers of syscall_counts.
enum bw_syscall_count {
	BW_SYSCALLS_FULL = 0,    // calls of a workload for which there was no room
	BW_SYSCALLS_FOREIGN = 1, // calls by another table: 32-bit, x32
	BW_SYSCALLS_RUNTIME = 2, // calls of the container runtime in a container's cgroup
	BW_SYSCALLS_COUNTS = 3,
};
#endif
