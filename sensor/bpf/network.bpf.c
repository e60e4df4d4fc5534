//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The network: connections with their result, listeners, datagrams, DNS, flows, and the
// refusal of what a workload's policy does not allow.
//
// Who a socket belongs to is noted where a process uses it (connect, listen, first
// datagram); packets and state changes, which come in interrupts, find it there. TCP is
// counted by the kernel already, so its flows cost nothing per packet: they are read at
// the close. A socket gets storage of its own only when it lasts (datagrams, connections
// of more than LONG segments), as making and freeing that costs more than all the rest:
// an iterator reads those while they live.
// bpf2go-type: bw_net_event bw_dns_event bw_probe_event bw_flow_key bw_flow bw_flow_place
// bpf2go-type: bw_seen_key bw_seen bw_net_set bw_net_prefix bw_net_ports bw_net_port bw_net_state
// bpf2go-type: bw_net_name bw_net_named bw_net_named_key bw_net_pages
#include "bollwerk.h"
#include "network.h"
#include "tracing_call.h"
#include <bpf/bpf_endian.h>
#include <linux/in.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

// Their types reach the Go side by these.
struct bw_net_event *unused_net_event __attribute__((unused));
struct bw_dns_event *unused_dns_event __attribute__((unused));
struct bw_probe_event *unused_probe_event __attribute__((unused));

#include "network_tables.h"
#include "network_own.h"
#include "network_flow.h"
#include "network_names.h"
#include "network_guard.h"
#include "network_call.h"
#include "network_state.h"
#include "network_packet.h"
#include "network_call_fn.h"
#include "network_room.h"
#include "network_packet_fn.h"
#include "network_iter.h"
