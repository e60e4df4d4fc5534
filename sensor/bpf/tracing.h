// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Records of tracing.bpf.c.
#ifndef BOLLWERK_TRACING_H
#define BOLLWERK_TRACING_H
#include "event.h"

#define BW_FROM_TRACING 208 // bw_header.source of all records here
#define BW_FROM_TRACING_MODULE 209 // the module stands loaded
#define BW_FROM_REACH 210 // records of reach.bpf.c
#define BW_TRACING_PER_SECOND 256 // records of one workload; more are counted as lost
#define BW_TRACING_AGAIN 10000000000ULL // ns after which a repeat is told again, with a count
#define BW_SETTING_NAME 96
#define BW_SETTING_VALUE 256

// First use of a capability by a workload, or a check that failed.
struct bw_capability {
	struct bw_header h;
	__u32 cap;
	__u32 syscall;
	__u32 user_ns; // in which it was asked for
	__u32 pad;
};

// A mount that was asked for and allowed by capability; how the call ended is not known.
struct bw_mount {
	struct bw_header h;
	__u64 flags;
	__u32 syscall;
	// Bytes of names that stand in source and target instead of a text: of a path, the last
	// one first, each with its zero byte.
	__u16 source_names;
	__u16 target_names;
	char source[256];
	char target[256];
	char type[32];
};

// Memory of another process that is read or written (process_vm_readv and its sister).
struct bw_memory {
	struct bw_header h;
	__u64 target_start;
	__u32 target; // 0: not known
	__u32 syscall;
};

// A kernel setting that is written.
struct bw_setting {
	struct bw_header h;
	__u32 means; // enum bw_setting_means
	__u32 length; // of the whole new value
	char name[BW_SETTING_NAME];
	char value[BW_SETTING_VALUE];
	char old[BW_SETTING_VALUE];
};

enum bw_setting_means { BW_SETTING_SYSCTL = 1, BW_SETTING_FILE = 2 };

// A kernel module or BPF program that is about to be loaded, or a packet socket that is
// about to be made (type: its domain).
struct bw_object {
	struct bw_header h;
	__u32 syscall;
	__u32 type;
	char name[64];
	char text[128];
};

// setns, unshare or clone with new namespaces, asked for and allowed by capability.
struct bw_namespace {
	struct bw_header h;
	__u64 flags; // CLONE_NEW*
	__u32 syscall;
	__u32 inum; // setns: of the namespace, 0 when a process was named
	__u32 target; // setns: PID of the process named by a pidfd, else 0
	__u32 pad;
	char kind[16]; // setns: as the kernel names it
};

struct bw_capability_key {
	__u64 cgroup;
	__u32 cap;
	__u32 ok; // bit 0: it was there; above: the call, for those that are told apart; bit 31: by a program of its own
};

struct bw_mount_key {
	__u64 cgroup;
	__u64 hash;
};

// A disk or the machine's memory that is opened from a container, past its file systems.
struct bw_device {
	struct bw_header h;
	__u32 access; // as in bpf_cgroup_dev_ctx
	__u32 major;
	__u32 minor;
	__u32 pad;
};

// A connection to a socket that has a name.
struct bw_unix {
	struct bw_header h;
	__u32 length; // of the path, which in a record with this has no zero byte at its end
	__u32 type;   // SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM
	char path[112];
};

// A file that is mapped for a program, and was not in its image. The names of its path
// follow, the last one first.
struct bw_map {
	struct bw_header h;
	__u64 inode;
	__s64 size;
	__u32 device;
	__u16 mode;
	__u8 origin;
	__u8 sure; // 0: whether anything of it becomes executable, the agent has to look
	__u32 names;
	__u32 pad;
};

// How often something was told, and how often not.
struct bw_fold {
	__u64 last;
	__u32 more;
	__u32 pad;
};

struct bw_setting_key {
	char name[64];
};

// bw_config.options of this object.
#define BW_TRACING_NO_MOUNT (1ULL << 0)
#define BW_TRACING_NO_CAPABILITY (1ULL << 1)
#define BW_TRACING_NO_SETTING (1ULL << 2)
#define BW_TRACING_NO_OBJECT (1ULL << 3)
#define BW_TRACING_NO_NAMESPACE (1ULL << 4)
#define BW_TRACING_NO_PACKET (1ULL << 5)
#define BW_TRACING_NO_DEVICE (1ULL << 6)
#define BW_TRACING_NO_MEMORY (1ULL << 7)

// The same of reach.bpf.c.
#define BW_REACH_NO_UNIX (1ULL << 0)
#define BW_REACH_NO_MAP (1ULL << 1)
#endif
