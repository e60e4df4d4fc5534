// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The first words of a connection. Part of network.bpf.c.
#ifndef BOLLWERK_NETWORK_PROBE_H
#define BOLLWERK_NETWORK_PROBE_H

#define WORD(a, b, c, d, e, f, g, h)                                                                                  \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40 |      \
	 (__u64)(g) << 48 | (__u64)(h) << 56)
#define SEVEN 0x00ffffffffffffffULL

// 1 when equal, without a branch: the verifier would follow each by itself.
BW_INLINE __u64 equal(__u64 a, __u64 b)
{
	__u64 x = a ^ b;

	asm volatile("" : "+r"(x));
	x |= -x;
	asm volatile("" : "+r"(x));
	return (x >> 63) ^ 1;
}

struct words {
	__u64 mining, eth, method, login, agent, pass;
	__u32 which, end;
};

BW_INLINE void word(struct words *s, __u64 w)
{
	s->mining |= equal(w, WORD('"', 'm', 'i', 'n', 'i', 'n', 'g', '.'));
	s->eth |= equal(w, WORD('"', 'e', 't', 'h', '_', 's', 'u', 'b'));
	s->method |= equal(w, WORD('"', 'm', 'e', 't', 'h', 'o', 'd', '"'));
	s->login += equal(w & SEVEN, WORD('"', 'l', 'o', 'g', 'i', 'n', '"', 0));
	s->agent |= equal(w & SEVEN, WORD('"', 'a', 'g', 'e', 'n', 't', '"', 0));
	s->pass |= equal(w & (SEVEN >> 8), WORD('"', 'p', 'a', 's', 's', '"', 0, 0));
}

BW_INLINE __u32 mining(struct words *s)
{
	if (!s->method)
		return 0;
	return s->mining || s->eth || (s->login && s->agent) || (s->login > 1 && s->pass);
}

BW_INLINE __u32 words_of(const __u8 *b, const volatile __u32 *end)
{
	struct words s = {};
	__u32 n = *end;

	for (__u32 i = 0; i < BW_PROBE_BYTES - 8; i++) {
		if (i + 8 > n)
			break;
		word(&s, *(const __u64 *)(b + i));
	}
	return mining(&s);
}

// The open form of version 2's SetupConnection. len: of the whole message.
BW_INLINE __u32 setup_connection(const __u8 *b, __u32 len)
{
	__u32 l;

	// extension 0, message 0, length of 3 bytes, protocol ≤ 2, versions 2 to 2..9
	l = b[3] | b[4] << 8 | b[5] << 16;
	return !b[1] && !b[2] && l + 6 == len && b[6] <= 2 && b[7] == 2 && !b[8] && b[9] >= 2 && b[9] < 10 && !b[10];
}

// The first message of a mining connection: a JSON object that subscribes, authorises
// or logs in, or the open form of version 2's SetupConnection. 0 refuses the packet.
__attribute__((noinline)) int probe(struct __sk_buff *skb, __u32 off, __u32 len)
{
	struct bpf_sock *sk = skb->sk;
	struct bw_probe_event *r;
	struct bw_policy *p;
	struct bw_sock *st, *stored;
	__u64 at;
	__u64 n = len;
	__u32 what = 0;
	__u8 first;
	int deny = 0;

	if (!sk || bpf_skb_load_bytes(skb, off, &first, 1))
		return 1;
	at = number(sk);
	st = conn_of(at);
	if (!st || !st->probe)
		return 1;
	if (first != '{' && first != 0) {
		st->probe = 0;
		return 1;
	}
	st->probe--;
	r = bw_reserve(sizeof(*r));
	if (!r) {
		bw_lost(st->cgroup, BW_PROTOCOL);
		return 1;
	}
	asm volatile("" : "+r"(n));
	if (n > BW_PROBE_BYTES)
		n = BW_PROBE_BYTES;
	asm volatile("" : "+r"(n));
	if (n < 16)
		goto discard;
	if (bpf_skb_load_bytes(skb, off, r->payload, n))
		goto discard;
	if (first == '{') {
		r->kept = n;
		if (words_of(r->payload, &r->kept))
			what = BW_PROBE_STRATUM;
	} else if (setup_connection(r->payload, len)) {
		what = BW_PROBE_STRATUM2;
	}
	if (!what)
		goto discard;
	// Asked for again: the verifier would follow the words once for each table it may be in.
	st = conn_of(at);
	if (!st)
		goto discard;
	st->probe = 0;
	p = policy_by_root(st->root);
	if (!p && st->flags & S_CONTAINED && BPF_CORE_READ(bw_current(), tgid) == st->pid)
		p = bw_policy_of(bw_current());
	if (p && p->enforce & BW_GUARD_MINER) {
		deny = 1;
		stored = bpf_sk_storage_get(&socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (stored) {
			if (!(stored->flags & S_LONG))
				*stored = *st;
			stored->flags |= S_LONG | S_BLOCKED;
			st->flags |= S_LONG | S_BLOCKED;
		}
	}
	header_from(&r->n.h, st, BW_PROTOCOL, sizeof(*r), BW_NET_EGRESS);
	copy_addr(r->n.remote, st->remote);
	__builtin_memset(r->n.local, 0, 16);
	remote_in(skb, r->n.local, 1);
	r->n.cookie = bpf_get_socket_cookie(skb);
	r->n.count = 1;
	r->n.rport = st->rport;
	r->n.lport = st->lport;
	r->n.netns = st->netns;
	r->n.protocol = IPPROTO_TCP;
	r->n.type = SOCK_STREAM;
	r->n.direction = st->direction;
	r->n.state = 0;
	r->n.pad = 0;
	r->kept = n;
	r->what = what;
	if (p && (p->enforce | p->report) & BW_GUARD_MINER)
		r->n.h.guard = GUARD_NUMBER(BW_GUARD_MINER);
	if (deny) {
		r->n.h.outcome = BW_DENIED;
		r->n.h.result = -EPERM;
	}
	bw_submit(r, 1);
	return !deny;
discard:
	bw_discard(r);
	return 1;
}
#endif
