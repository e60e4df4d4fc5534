// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What the network programs know: of sockets, flows, what was seen before, and allow
// lists. Part of network.bpf.c.
#ifndef BOLLWERK_NETWORK_TABLES_H
#define BOLLWERK_NETWORK_TABLES_H

#define AF_INET 2
#define PROTO_MPTCP 262
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define EPERM 1
#define ENOMEM 12
#define EADDRNOTAVAIL 99
#define ENOBUFS 105
#define ENETUNREACH 101
#define EADDRINUSE 98
#define ECANCELED 125
enum { ESTABLISHED = 1, SYN_SENT = 2, SYN_RECV = 3, CLOSED = 7, LISTEN = 10 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct in6_addr___net {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};
typedef struct {
	struct net *net;
} possible_net_t___net;
struct sock_common___net {
	__be32 skc_daddr, skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t___net skc_net;
	struct in6_addr___net skc_v6_daddr, skc_v6_rcv_saddr;
	struct {
		__s64 counter;
	} skc_cookie;
	unsigned long skc_flags;
};
struct sock___net;
struct sk_buff___net {
	struct sk_buff___net *next;
	struct sock___net *sk;
	unsigned int len, data_len, end;
	unsigned char *head, *data;
	__u16 transport_header, network_header;
	__be16 protocol;
	char cb[48];
};
struct sk_buff_head___net {
	struct sk_buff___net *next;
	__u32 qlen;
};
struct skb_frag___net {
	int unused;
};
struct skb_shared_info___net {
	__u8 nr_frags;
	unsigned short gso_segs;
	struct sk_buff___net *frag_list;
	struct skb_frag___net frags[1];
};
struct iov_iter___net {
	__u8 iter_type;
	unsigned int type; // before 5.14
	unsigned long iov_offset, count, nr_segs;
	void *iov, *__iov, *ubuf;
};
struct msghdr___net {
	void *msg_name;
	struct iov_iter___net msg_iter;
	unsigned int msg_flags;
};
struct page___net {
	unsigned long flags;
};
enum iter_type___net { ITER_UBUF, ITER_IOVEC, ITER_BVEC, ITER_KVEC };
struct sock___net {
	struct sock_common___net __sk_common;
	struct sk_buff_head___net sk_receive_queue, sk_write_queue;
	__u16 sk_protocol, sk_type;
	int sk_err;
};
struct socket___net {
	struct sock___net *sk;
};
struct inet_sock___net {
	__be16 inet_sport;
};
struct inet_connection_sock___net {
	struct inet_sock___net icsk_inet;
};
struct tcp_sock___net {
	struct inet_connection_sock___net inet_conn;
	__u64 bytes_sent, bytes_retrans, bytes_received;
	__u32 segs_out, segs_in, data_segs_out;
	_Bool is_mptcp;
};
struct mptcp_sock___net {
	struct sock___net *first;
};
struct inode___net {
	unsigned long i_ino;
	unsigned short i_mode;
};
struct file___net {
	struct inode___net *f_inode;
	void *private_data;
};
struct mm_struct___net {
	struct file___net *exe_file;
};
struct task_struct___net {
	struct mm_struct___net *mm;
};
#pragma clang attribute pop

// What is known of a socket.
struct bw_sock {
	__u64 cgroup, start, exe;
	__u64 root; // of the policy, 0 for none
	__u32 pid, tid;
	__u32 netns;
	__u32 flags;
	__u8 remote[16]; // of the connection, or of the first peer
	__u16 rport, lport;
	__u8 protocol, direction, type;
	__u8 probe;  // data packets of a new connection still to look at, or PROBE_REFUSE
	__u32 slot;  // datagrams: 0 no peer yet, 1 being set, 2 remote and rport hold
	__u32 asked; // bind: the port asked for; connections: pieces of what is sent still to look at
};

// The same in the storage of a socket that lasts. Programs of before 6.2 may use 512
// bytes of stack in all, so what is only needed there is not in the part above.
struct bw_long {
	struct bw_sock s;
	__u64 tx_bytes, rx_bytes, tx_packets, rx_packets; // datagrams of the slot, only rising
	__u64 said_tx_bytes, said_rx_bytes, said_tx_packets, said_rx_packets; // already in a flow
	__u64 said_connections;
};
#define PROBE_REFUSE 255 // nothing may be sent any more
#define counts(st) ((struct bw_long *)(st)) // st is a socket's storage
#define S_CONTAINED 1
#define S_IGNORE 2    // the agent's own
#define S_LISTENER 4
#define S_LONG 512    // storage of a connection: what was said of it stands there
#define S_SERVER 8    // datagrams: bound to a port of its choice
#define S_ASKED 16    // connect called, no state change yet
#define S_SENT 32     // first datagram to the slot's peer was seen
#define S_BLOCKED 64  // refused by content
#define S_EXISTING 128
#define S_BARE_LENGTH 256 // DNS over TCP: the length came alone
#define S_BARE_ASKED 1024 // the same, where functions tell: of a question
#define S_BARE_ANSWER 2048

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct bw_long);
} socks SEC(".maps");

// Two tables in turn: one is filled while the other is read and emptied.
struct bw_flow_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct bw_flow_key);
	__type(value, struct bw_flow);
} flows_a SEC(".maps"), flows_b SEC(".maps");

// Most flows have a place of their own before these, as looking there costs a fifth. What
// finds its place taken goes to the table.
#define FLOW_BITS 10
struct bw_flow_places {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << FLOW_BITS);
	__type(key, __u32);
	__type(value, struct bw_flow_place);
} flow_places_a SEC(".maps"), flow_places_b SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct bw_seen_key);
	__type(value, struct bw_seen);
} net_seen SEC(".maps");

// What this CPU saw lately of net_seen: repeats end here. The agent's epoch bounds how
// long the table does not learn of them.
#define RECENT 256
struct bw_recent {
	struct bw_seen_key key; // of cgroup 0: none
	__u64 count; // since the table learned of it
	__u32 epoch;
	__u32 pad;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RECENT);
	__type(key, __u32);
	__type(value, struct bw_recent);
} net_recent SEC(".maps");

struct rate {
	__u64 window;
	__u64 count;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct rate);
} dns_rates SEC(".maps");

// Connections, by the address of the socket, from connect or accept to the close. Each has
// its place in an array, as looking there costs a tenth of looking in a hash table. An
// outgoing one whose place is taken goes to the table below; an accepted one does without,
// as its listener tells the same.
#define CONN_BITS 13
struct bw_conn {
	__u64 at; // 0: free
	__u32 spilled; // how many of this place are in the table
	__u32 pad;
	struct bw_sock s;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << CONN_BITS);
	__type(key, __u32);
	__type(value, struct bw_conn);
} conn_places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct bw_sock);
} conns SEC(".maps");

// Who listens: the owner of what is accepted. The address is zero for all addresses; the
// port is zero for a socket that listens without bind, as it has none yet.
struct listen_key {
	__u8 local[16];
	__u32 netns;
	__u32 port;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct listen_key);
	__type(value, struct bw_sock);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct bw_net_set);
} net_sets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct bw_net_prefix);
	__type(value, struct bw_net_ports);
} net_prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct bw_net_port);
	__type(value, __u8);
} net_ports SEC(".maps");

struct bw_net_state {
	__u32 epoch;    // which flow table is filled
	__u32 policies; // how many network policies are in force
	__u32 told;     // the sockets that are older than the sensor are known
	__u32 egress;   // how many of the policies restrict destinations
	__u32 ingress;  // and how many sources
	__u32 version;  // of all policies: changes whenever one does
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bw_net_state);
} net_state SEC(".maps");

// The policies' roots of the cgroups that this CPU met lately.
#define ROOTS 64
struct bw_root {
	__u64 cgroup;
	__u64 root;
	__u32 version;
	__u32 pad;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ROOTS);
	__type(key, __u32);
	__type(value, struct bw_root);
} net_roots SEC(".maps");

// Flow updates that found no room, not even in the workload's rest.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} net_overflow SEC(".maps");

// Who sent datagrams to a server of a restricted workload: it may answer.
struct asker {
	__u64 root;
	__u8 remote[16];
	__u16 rport, lport;
	__u32 netns;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct asker);
	__type(value, __u64);
} askers SEC(".maps");

#define IDLE (300ULL * 1000000000)
#define AGAIN (60ULL * 1000000000)
#define DENY_AGAIN (10ULL * 1000000000)
#define DNS_RATE 500 // records a second and workload
#endif
