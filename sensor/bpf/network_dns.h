// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// DNS messages. Part of network.bpf.c.
#ifndef BOLLWERK_NETWORK_DNS_H
#define BOLLWERK_NETWORK_DNS_H

// The end is read from memory, not passed in a register: else the verifier follows every
// length by itself.
BW_INLINE __u64 hash(const __u8 *b, const volatile __u16 *to, __u32 from, __u32 cap)
{
	__u32 end = *to;
	__u64 last, h = 0x9e3779b97f4a7c15ULL ^ end;

	for (__u32 i = from; i + 8 <= cap; i += 8) {
		if (i + 8 > end)
			break;
		h = (h ^ *(const __u64 *)(b + i)) * 0xff51afd7ed558ccdULL;
		h ^= h >> 32;
	}
	// The tail, with some bytes for the second time.
	last = *to;
	if (last >= 8) {
		last -= 8;
		asm volatile("" : "+r"(last)); // one comparison after the other, as the verifier wants it
		if (last <= cap - 8)
			h = (h ^ *(const __u64 *)(b + last)) * 0xc4ceb9fe1a85ec53ULL;
	}
	return h ^ h >> 29;
}

static __noinline int dns_within_rate(__u64 cgroup)
{
	struct rate *r = bpf_map_lookup_elem(&dns_rates, &cgroup), fresh_rate = {};
	__u64 window = bpf_ktime_get_boot_ns() >> 30;

	if (!r) {
		fresh_rate.window = window;
		fresh_rate.count = 1;
		bpf_map_update_elem(&dns_rates, &cgroup, &fresh_rate, BPF_ANY);
		return 1;
	}
	if (r->window != window) {
		r->window = window;
		r->count = 0;
	}
	bw_add(&r->count, 1);
	return r->count <= DNS_RATE;
}

BW_INLINE void remote_in(struct __sk_buff *skb, __u8 *to, int ingress)
{
	__be32 a;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (!bpf_skb_load_bytes(skb, ingress ? 12 : 16, &a, 4))
			map4(to, a);
	} else {
		bpf_skb_load_bytes(skb, ingress ? 8 : 24, to, 16);
	}
}

#define DNS_ANSWER 1
#define DNS_TCP 2

#include "network_answers.h"

// Copies a message into a record of one of two sizes. A question is known by its name
// and type, an answer by all its bytes but the number of the transaction, so that new
// addresses always come through. Functions with names the linker sees are verified once,
// not at every call; they may take the packet and numbers only.
#define DNS_TAKE(name, type_, CAP, ARGS, FIND, HAVE, LOAD, HASH, SERVER, SOURCE)                                  \
	__attribute__((noinline)) int name ARGS                                                                  \
	{                                                                                                        \
		struct bw_seen_key key = {.kind = BW_DNS};                                                       \
		struct bw_sock *st;                                                                              \
		struct type_ *r;                                                                                 \
		__u64 n;                                                                                         \
		__u32 q = 12;                                                                                    \
                                                                                                                 \
		FIND;                                                                                            \
		if (!st)                                                                                         \
			return 0;                                                                                \
		n = HAVE;                                                                                        \
		r = bw_reserve(sizeof(*r));                                                                      \
		if (!r) {                                                                                        \
			bw_lost(st->cgroup, BW_DNS);                                                             \
			return 0;                                                                                \
		}                                                                                                \
		/* Each bound by itself, on the register that is used: older verifiers follow no other way. */   \
		asm volatile("" : "+r"(n));                                                                      \
		if (n > CAP)                                                                                     \
			n = CAP;                                                                                 \
		asm volatile("" : "+r"(n));                                                                      \
		if (n < 17)                                                                                      \
			goto discard;                                                                            \
		if (LOAD)                                                                                        \
			goto discard;                                                                            \
		r->kept = n;                                                                                     \
		r->port = n;                                                                                     \
		if (!(how & DNS_ANSWER)) {                                                                       \
			for (int i = 0; i < 24; i++) {                                                           \
				__u64 at = q;                                                                    \
				__u8 l;                                                                          \
                                                                                                                 \
				asm volatile("" : "+r"(at));                                                     \
				if (at >= CAP - 6)                                                               \
					break;                                                                   \
				l = *(r->message + at);                                                          \
				if (!l) {                                                                        \
					if (q + 5 < n)                                                           \
						r->port = q + 5;                                                 \
					break;                                                                   \
				}                                                                                \
				q += (l & 63) + 1;                                                               \
			}                                                                                        \
		}                                                                                                \
		key.exe = HASH;                                                                                  \
		key.port = *(volatile __u16 *)&r->port;                                                          \
		key.cgroup = st->cgroup;                                                                         \
		key.protocol = how & DNS_ANSWER;                                                                 \
		r->count = fresh(&key, AGAIN);                                                                   \
		if (!r->count)                                                                                   \
			goto discard;                                                                            \
		if (!dns_within_rate(st->cgroup)) {                                                              \
			bw_lost(st->cgroup, BW_DNS);                                                             \
			goto discard;                                                                            \
		}                                                                                                \
		header_from(&r->h, st, BW_DNS, sizeof(*r), SOURCE);                                              \
		if (len > CAP)                                                                                   \
			r->h.flags |= BW_F_TRUNCATED;                                                            \
		r->netns = st->netns;                                                                            \
		r->length = len;                                                                                 \
		r->answer = how & DNS_ANSWER;                                                                    \
		r->tcp = (how & DNS_TCP) != 0;                                                                   \
		r->pad[0] = 0;                                                                                   \
		r->pad[1] = 0;                                                                                   \
		r->port = 53;                                                                                    \
		__builtin_memset(r->server, 0, 16);                                                              \
		SERVER;                                                                                          \
		bw_submit(r, 0);                                                                                 \
		return 0;                                                                                        \
	discard:                                                                                                 \
		bw_discard(r);                                                                                   \
		return 0;                                                                                        \
	}

BW_INLINE struct bw_sock *owner_of(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	return sk ? bpf_sk_storage_get(&socks, sk, 0, 0) : 0;
}

#define DNS_TAKE_PACKET(name, type_, CAP)                                                                         \
	DNS_TAKE(name, type_, CAP, (struct __sk_buff *skb, __u32 off, __u32 len, __u32 how), st = owner_of(skb), len, \
		 bpf_skb_load_bytes(skb, off, r->message, n), hash(r->message, &r->port, how & DNS_ANSWER ? 2 : 12, CAP), \
		 remote_in(skb, r->server, how & DNS_ANSWER),        \
		 how & DNS_ANSWER ? BW_NET_INGRESS : BW_NET_EGRESS)

DNS_TAKE_PACKET(dns_small, bw_dns_event, BW_DNS_SMALL)
DNS_TAKE_PACKET(dns_large, bw_dns_large, BW_DNS_LARGE)

BW_INLINE void dns(struct __sk_buff *skb, struct bw_sock *st, __u32 off, __u32 len, __u32 how)
{
	if (st->root)
		names_message(skb, off, len, how);
	if (config.options & BW_NET_OPT_NO_DNS || st->flags & S_IGNORE || len < 17)
		return;
	if (len <= BW_DNS_SMALL)
		dns_small(skb, off, len, how);
	else
		dns_large(skb, off, len, how);
}
#endif
