// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Records of the process source.
#ifndef BOLLWERK_PROCESS_H
#define BOLLWERK_PROCESS_H

#include "event.h"

#define BW_PROCESS_KTHREAD 1
#define BW_PROCESS_NO_NEW_PRIVS 2
#define BW_PROCESS_MEMFD 4
#define BW_PROCESS_UNLINKED 8
#define BW_PROCESS_EXISTING 16
#define BW_PROCESS_OWN_NAMESPACES 32 // of a fork: others than its parent's

// What every record of a process says about it.
struct bw_task {
	__u64 parent_start;
	__u64 effective, permitted;
	__u32 parent;
	__u32 ns_pid;
	__u32 uid, euid, gid, login_uid;
	__u32 session;
	__u32 mnt_ns, pid_ns, net_ns, user_ns;
	__u16 flags;
	__u8 seccomp;
	__u8 pad;
	char comm[16];
};

enum bw_stdio_kind { BW_STDIO_NONE = 0, BW_STDIO_SOCKET = 1, BW_STDIO_PIPE = 2, BW_STDIO_TTY = 3, BW_STDIO_FILE = 4, BW_STDIO_OTHER = 5 };

struct bw_stdio {
	__u64 inode;
	__u8 kind, family, protocol, state;
	__u16 local_port, remote_port;
	__u8 local[16], remote[16];
};

#define BW_ARGS_MOST 4096
#define BW_ENV_MOST 2048
#define BW_SCRIPT_MOST 1024
#define BW_CGROUP_MOST 1024
#define BW_EXEC_DATA (BW_ARGS_MOST + BW_ENV_MOST + 4096 + 4096 + BW_SCRIPT_MOST + BW_CGROUP_MOST)

// A program start, also one that was before us. The texts follow in
// the order of their lengths: args and environment with a zero byte after each, path,
// cwd and the path of the cgroup (only with the first start in it) from the last name to the first.
struct bw_exec {
	struct bw_header h;
	struct bw_task task;
	__u64 inode, size;
	__u32 device;
	__u16 mode;
	__u8 origin;
	__u8 pad;
	__u16 args, environment, path, cwd, script, cgroup; // lengths
	__u16 cut;                                           // which of them are not whole, bits in this order
	__u16 pad2;
	char tty[16];
	struct bw_stdio stdio[3];
};

struct bw_fork {
	struct bw_header h;
	struct bw_task task;
};

struct bw_exit {
	struct bw_header h;
	struct bw_task task;
	__s32 code;
	__u32 pad;
};

struct bw_moved {
	struct bw_header h;
	char path[1024]; // of the cgroup below its root; as long as it fits
};

struct bw_signal {
	struct bw_header h;
	__u64 target_start, target_cgroup;
	__u32 target, signal;
};

struct bw_usage {
	__u64 start, cgroup, runtime; // ns
	__u32 pid, pad;
};

struct bw_builder {
	__u32 set;
	char name[28];
};

struct bw_exec_path {
	__u32 set;
	char names[252]; // as bw_walk writes it, zeros behind
};

// First four letters of a variable that is kept; user space looks closer.
struct bw_variable {
	__u64 want, mask; // of the first eight letters
};

struct bw_signal_seen {
	__u64 from, to; // cgroups
	__u32 from_pid, signal;
};
#endif
