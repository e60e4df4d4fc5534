// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Records and keys of lsm.bpf.c. All members are naturally aligned, no holes.
#ifndef BOLLWERK_LSM_H
#define BOLLWERK_LSM_H
#include "event.h"
#include "process.h"

#define LSM_NAME 32
#define LSM_PATH 4096
#define LSM_PREFIX 240

// bw_header.source: the hook that saw it. Numbers that no other object uses.
enum lsm_source {
	LSM_EXEC = 129, LSM_FILE_OPEN, LSM_MMAP, LSM_RENAME, LSM_UNLINK, LSM_LINK, LSM_SYMLINK, LSM_CHMOD, LSM_CHOWN,
	LSM_TRUNCATE, LSM_MAKE, LSM_SETUID, LSM_CAPSET, LSM_CAPABLE, LSM_PTRACE, LSM_MOUNT, LSM_MOVE_MOUNT, LSM_BPF,
	LSM_MODULE_FILE, LSM_MODULE_DATA, LSM_MODULE_REQUEST, LSM_SOCKET, LSM_USERNS, LSM_SETNS, LSM_MEMFD,
	LSM_UNIX, LSM_TRACEME, LSM_USERFAULT,
};

// What is done with a watched file.
#define LSM_READ 1
#define LSM_WRITE 2  // opened for writing, made, replaced, its mode or owner changed
#define LSM_DELETE 4 // removed, renamed away, cut to nothing
#define LSM_POINT 8  // a link to it was made

// What a watched file is (bits of lsm_watch.class).
#define LSM_SECRET 1  // reading it gives rights: GUARD_READ
#define LSM_KERNEL 2 // writing it changes the kernel: GUARD_SETTING
#define LSM_CONTAINED 4 // only told of contained processes

// A file by its name, and by the name of its folder when the name alone says too
// little. Names are those of the file system (dentries), so a bind mount or a mount of
// the host's root elsewhere does not hide them. An empty name means all in the folder.
struct lsm_watch_key {
	char name[LSM_NAME];
	char folder[LSM_NAME];
};

struct lsm_watch {
	__u8 access;  // LSM_READ, …
	__u8 class;   // LSM_SECRET, …
	__u8 folder;  // look again with the folder's name
	__u8 pad;
	__u32 magic; // of the file system it must lie in; 0 any
};

// Most opens end at one bit test: by length and first eight letters of the name (word,
// little-endian, zeros behind a shorter name). The table has room enough that names which
// are not watched seldom meet one that is: with some 70 names, one in 250.
#define LSM_SLOTS 16384
#define LSM_SLOT(word, n) (((word) + (n) * 0xff51afd7ed558ccdULL) * 0x9e3779b97f4a7c15ULL >> 50)

struct lsm_filter {
	__u64 names[LSM_SLOTS / 64]; // watched for reading
	__u64 longs[4];              // lengths of names that do not fit into lsm_watch_key
	__u64 folders;               // lengths of folders' names
};

// What repeats: one thing done by one workload.
struct lsm_seen_key {
	__u64 cgroup;
	__u64 inode;
	__u64 other; // the executable that did it, or what else tells two apart
	__u32 device;
	__u16 kind;
	__u16 access;
};

struct lsm_seen {
	__u64 since; // ns since boot
	__u32 n;     // how often since then
	__u32 told;  // how many of these user space knows
};

// A process opened a file for writing that is not watched and that it may write. Holds
// only for what it was found for: the same place of the file, as the same task would name
// it, under the same policies, for some seconds. A table of fixed places, where the newest
// stays, is a third of the price of one that finds everything.
#define LSM_QUIET 4096
struct lsm_quiet {
	__u64 inode;
	__u64 parent; // inode of the folder
	__u64 name;   // hash and length
	__u64 mnt;    // addresses
	__u64 root;
	__u64 groups;
	__u64 spaces;
	__u32 tgid; // 0: free
	__u32 access;
	__u32 generation; // of the policies, and of moved folders
	__u32 epoch;
	__u32 n;
	__u32 told; // how many of these were asked about
};

enum lsm_list { LSM_LIST_PRESENT = 1, LSM_LIST_WRITE = 2, LSM_LIST_READ = 3 };

// An allowed path of a workload: a prefix, or with its zero byte a whole path.
struct lsm_prefix_key {
	__u32 length; // bits after this member
	__u32 list;
	__u64 root; // cgroup of the policy
	char path[LSM_PREFIX];
};

// Followed by the path and the target, without zero bytes.
struct lsm_file {
	struct bw_header h;
	__u64 inode;
	__s64 size;
	__u32 device;
	__u32 mode;
	__u32 old_mode;
	__u32 uid;
	__u32 gid;
	__u32 count;
	__u16 access; // bits of bollwerk.Access
	__u16 path;   // bytes
	__u16 target; // bytes
	__u8 origin;
	__u8 class;
};

// A program start that was refused. Followed by the path and the name as called.
struct lsm_exec {
	struct bw_header h;
	__u64 inode;
	__s64 size;
	__u32 device;
	__u32 count;
	__u16 mode;
	__u16 path;
	__u16 called;
	__u8 origin;
	__u8 pad;
	struct bw_stdio stdio[3];
};

// Credentials, capability, ptrace, socket, namespace, BPF, module, memfd, mount.
struct lsm_act {
	struct bw_header h;
	__u64 a, b;         // see lsm.bpf.c at each hook
	__u64 target_start; // of the process it is done to
	__u32 target;
	__u32 count;
	__u32 old[3]; // uid, euid, gid
	__u32 now[3];
	char name[128];
	char type[32];
};

// Followed by the target's path.
struct lsm_mount {
	struct bw_header h;
	__u64 flags;
	__u32 count;
	__u32 path;
	char source[256];
	char type[32];
};
#endif
