// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Layout of the network records and tables. Addresses are 16 bytes, version 4 mapped
// into version 6; ports are in host order.
#ifndef BOLLWERK_NETWORK_H
#define BOLLWERK_NETWORK_H
#include "event.h"

// bw_header.source of the records of this object: the program that saw it.
enum bw_net_source {
	BW_NET_CONNECT = 161, BW_NET_SENDMSG = 162, BW_NET_BIND = 163, BW_NET_POST_BIND = 164, BW_NET_STATE = 165,
	BW_NET_EGRESS = 166, BW_NET_INGRESS = 167, BW_NET_SOCK_CREATE = 168, BW_NET_RELEASE = 169, BW_NET_ITER = 170,
	BW_NET_FAILED = 171, BW_NET_RAW = 172, BW_NET_UDP_OUT = 173, BW_NET_UDP_IN = 174, BW_NET_SENT = 175, BW_NET_PUSHED = 176,
	BW_NET_READ = 177,
};

enum bw_net_direction { BW_NET_UNKNOWN = 0, BW_NET_OUT = 1, BW_NET_IN = 2 };

// bw_config.options of this object.
#define BW_NET_OPT_NO_DNS 1
#define BW_NET_OPT_NO_PROBE 2

struct bw_net_event {
	struct bw_header h;
	__u8 local[16];
	__u8 remote[16];
	__u64 cookie;
	__u64 count; // equal events since the last record, this one included
	__u16 lport;
	__u16 rport;
	__u32 netns;
	__u8 protocol; // IPPROTO_*
	__u8 type;     // SOCK_*
	__u8 direction;
	__u8 state;    // of an existing socket: TCP_*
	__u32 pad;
};

#define BW_DNS_SMALL 512
#define BW_DNS_LARGE 1280

struct bw_dns_event {
	struct bw_header h;
	__u8 server[16];
	__u64 count;
	__u32 netns;
	__u32 length; // of the whole message
	__u16 kept;   // of it below
	__u16 port;   // of the server
	__u8 answer;
	__u8 tcp;
	__u8 pad[2];
	__u8 message[BW_DNS_SMALL];
};

struct bw_dns_large {
	struct bw_header h;
	__u8 server[16];
	__u64 count;
	__u32 netns;
	__u32 length;
	__u16 kept;
	__u16 port;
	__u8 answer;
	__u8 tcp;
	__u8 pad[2];
	__u8 message[BW_DNS_LARGE];
};

#define BW_PROBE_BYTES 384

struct bw_probe_event {
	struct bw_net_event n;
	__u32 kept;
	__u32 what; // enum bw_probe
	__u8 payload[BW_PROBE_BYTES];
};
enum bw_probe { BW_PROBE_STRATUM = 1, BW_PROBE_STRATUM2 = 2 };

struct bw_flow_key {
	__u64 cgroup;
	__u8 remote[16];
	__u16 rport; // 0 when the peer began it
	__u16 lport; // 0 when this side began it
	__u8 protocol;
	__u8 direction;
	__u8 pad[2];
};

struct bw_flow {
	__u64 from; // ns since boot
	__u64 to;
	__u64 start; // of the process that used it last
	__u64 tx_bytes, rx_bytes, tx_packets, rx_packets;
	__u64 connections, failed;
	__u32 pid;
	__u32 netns;
};

struct bw_flow_place {
	struct bw_flow_key key;
	struct bw_flow flow;
	__u64 state; // enum bw_flow_state
	__u64 tick;  // of the kernel's clock, in which flow.to was set
};
enum bw_flow_state { BW_FLOW_FREE = 0, BW_FLOW_FILLING = 1, BW_FLOW_HELD = 2 };

// What was seen before: by workload, executable and subject.
struct bw_seen_key {
	__u64 cgroup;
	__u64 exe;
	__u8 remote[16]; // or a hash
	__u16 port;
	__u8 protocol;
	__u8 kind;
	__s32 result;
};

struct bw_seen {
	__u64 last; // ns since boot
	__u64 count; // since the last record
	__u64 total; // since the entry was made
};

// Allow lists. A set is one workload's lists in one version.
struct bw_net_set {
	__u32 set;
	__u32 flags;
	__u32 named; // addresses known by name (struct bw_net_named)
	__u32 pad;
};
#define BW_SET_BIND_ANY_TCP 1
#define BW_SET_BIND_ANY_UDP 2
#define BW_SET_EGRESS 4  // the lists of this guard are complete
#define BW_SET_INGRESS 8
#define BW_SET_BIND 16
#define BW_SET_BIND_HIGH_TCP 32 // every port from BW_HIGH_PORT on
#define BW_SET_BIND_HIGH_UDP 64
#define BW_SET_NAMES 128 // some destinations are known by name
#define BW_HIGH_PORT 32768

struct bw_net_prefix {
	__u32 prefixlen;
	__u32 set; // set * 2 + direction (0 egress, 1 ingress)
	__u8 address[16];
};
struct bw_net_ports {
	__u32 id; // of the prefix, for bw_net_port
	__u32 flags;
};
#define BW_PORTS_ANY_TCP 1
#define BW_PORTS_ANY_UDP 2
#define BW_PORTS_HIGH_TCP 4
#define BW_PORTS_HIGH_UDP 8
struct bw_net_port {
	__u32 set; // as in bw_net_prefix, or for bind the set with the highest bit
	__u32 id;
	__u16 port;
	__u8 protocol;
	__u8 pad;
};
#define BW_SET_OF_BIND 0x80000000u

// A name of the egress list, as messages write it but backwards, so that what names end
// with is what keys begin with: "com" 3 "example" 7 without the "*.", and a zero at the
// end of a whole name. Its value is a bw_net_ports.
#define BW_NAME 240
struct bw_net_name {
	__u32 prefixlen;
	__u32 set;
	char name[BW_NAME];
};

// An address that a name server gave for a name of the list, and until when.
struct bw_net_named_key {
	__u32 set;
	__u32 pad;
	__u8 address[16];
};
#define BW_NAMED_RULES 4
struct bw_net_named {
	__u64 till[BW_NAMED_RULES]; // ns since boot
	struct bw_net_ports rule[BW_NAMED_RULES];
};
#define BW_NAMED_MOST 512 // addresses of one workload

// Where the kernel keeps the beginning of its memory and of the table of its pages; 0: not
// known.
struct bw_net_pages {
	__u64 memory, table;
};

// A question for a name of the list. Only its answer is believed.
struct bw_net_question {
	__u64 root;
	__u8 server[16];
	__u32 netns;
	__u16 lport;
	__u16 id;
};
struct bw_net_asked {
	__u64 time;
	__u32 rule;
	__u32 pad;
};
#endif
