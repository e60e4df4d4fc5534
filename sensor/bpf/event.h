// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Layout of what passes between the kernel programs and the agent. The Go side is
// generated from here (bpf2go -type). All members are naturally aligned, no holes.
#ifndef BOLLWERK_EVENT_H
#define BOLLWERK_EVENT_H

// Event kinds: the numbers of bollwerk.EventKind (event.go).
enum bw_kind {
	BW_EXEC = 1, BW_FORK = 2, BW_EXIT = 3, BW_OPEN = 4, BW_CREATE = 5, BW_RENAME = 6, BW_UNLINK = 7, BW_CHMOD = 8,
	BW_CHOWN = 9, BW_LINK = 10, BW_SYMLINK = 11, BW_MMAP = 12, BW_CONNECT = 13, BW_ACCEPT = 14, BW_LISTEN = 15,
	BW_BIND = 16, BW_SEND = 17, BW_DNS = 18, BW_FLOW = 19, BW_CREDENTIALS = 20, BW_CAPABILITY = 21, BW_NAMESPACE = 22,
	BW_MOUNT = 23, BW_PTRACE = 24, BW_MEMFD = 25, BW_MODULE = 26, BW_BPF = 27, BW_SOCKET = 28, BW_SIGNAL = 29,
	BW_SETTING = 30, BW_PROTOCOL = 31, BW_TRACEME = 35, BW_USERFAULT = 36,
	BW_MOVED = 56, // of the sensor's own, no event: a process is in another cgroup
};

// Origins of a file: the words of bollwerk.Origin.
enum bw_origin {
	BW_ORIGIN_UNKNOWN = 0, BW_ORIGIN_IMAGE = 1, BW_ORIGIN_MODIFIED = 2, BW_ORIGIN_CREATED = 3, BW_ORIGIN_VOLUME = 4,
	BW_ORIGIN_MEMORY = 5, BW_ORIGIN_HOST = 6,
};

enum bw_outcome { BW_SEEN = 0, BW_DENIED = 1, BW_KILLED = 2 };

enum bw_hierarchy { BW_CGROUP_V2 = 0, BW_CGROUP_MEMORY = 1, BW_CGROUP_PIDS = 2, BW_CGROUP_CPU = 3 };

// Flags of a record.
#define BW_F_CONTAINED 1
#define BW_F_TRUNCATED 2
#define BW_F_NO_PROCESS 4 // pid is not who did it (softirq)

// Guards: what a policy may enforce or report (bits of bw_policy.enforce and .report).
#define BW_GUARD_FILELESS (1ULL << 0)      // exec of a memfd or a file without a name
#define BW_GUARD_DRIFT (1ULL << 1)         // exec of a file made or changed at run time
#define BW_GUARD_REVERSE_SHELL (1ULL << 2) // a shell whose stdin and stdout are a connection
#define BW_GUARD_MINER (1ULL << 3)         // mining protocol
#define BW_GUARD_SETTING (1ULL << 4)       // core_pattern, release_agent, uevent_helper, modprobe
#define BW_GUARD_MODULE (1ULL << 5)        // kernel module load
#define BW_GUARD_EXEC (1ULL << 6)          // only listed executables
#define BW_GUARD_FILE (1ULL << 7)          // write only below listed prefixes
#define BW_GUARD_EGRESS (1ULL << 8)        // connect and send only to listed destinations
#define BW_GUARD_INGRESS (1ULL << 9)       // accept only on listed ports, from listed networks
#define BW_GUARD_BIND (1ULL << 10)         // listen only on listed ports
#define BW_GUARD_READ (1ULL << 11)         // no reads of sensitive files but the listed ones
#define BW_GUARD_BPF (1ULL << 12)          // BPF program load
#define BW_GUARD_PTRACE (1ULL << 13)       // attaching to other processes
#define BW_GUARD_MOUNT (1ULL << 14)        // mounts

struct bw_header {
	__u64 time;   // ns since boot
	__u64 cgroup; // of the task, in the hierarchy of bw_config
	__u64 start;  // of the process, ns since boot
	__u32 pid;    // thread group, host view
	__u32 tid;
	__u32 size; // of the record, with the header
	__u16 kind;
	__u8 outcome;
	__u8 source; // program that saw it, a number of the object's own
	__s32 result;
	__u32 flags;
	__u32 guard; // number of the guard bit + 1 that acted or would have; 0 none
	__u32 pad;
};

struct bw_config {
	__u32 host_mnt_ns;
	__u32 host_pid_ns;
	__u32 host_net_ns;
	__u32 host_user_ns;
	__u32 host_cgroup_ns;
	__u32 agent_pid; // thread group of the agent: never watched, never denied
	__u32 hierarchy; // enum bw_hierarchy
	__u32 wakeup_bytes;
	__u64 options; // bits of the object's own, below BW_OPT_OVERLAY_ENTRY
};

// Set by the loader for all objects.
#define BW_OPT_OVERLAY_ENTRY (1ULL << 63) // struct ovl_inode has an ovl_entry (6.5)

#define BW_POLICY_OUTLIVE 1 // bw_policy.flags: holds also when the agent is gone

struct bw_policy {
	__u64 enforce; // guards that deny or kill
	__u64 report;  // guards that only say so
	__u64 root;    // the cgroup at which the workload begins
	__u32 set;     // names the workload's allow lists
	__u32 flags;
};

struct bw_loss_key {
	__u64 cgroup;
	__u32 kind;
	__u32 pad;
};
#endif
