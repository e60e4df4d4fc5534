// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Reads the questions and answers of workloads whose policy knows destinations by name.
// Part of network.bpf.c. Source: RFC 1035, section 4.
#ifndef BOLLWERK_NETWORK_ANSWERS_H
#define BOLLWERK_NETWORK_ANSWERS_H

#define NAMES_MESSAGE 2048
#define NAMES_LABELS 24
#define NAMES_RECORDS 48
// A connection may come long after the answer, as programs keep what they looked up:
// an address holds longer than the answer says (names.go has the same bounds).
#define NAMED_LEAST 300
#define NAMED_LONGEST 86400
#define NAMES_PATIENCE (30ULL * 1000000000)

struct names_room {
	struct bw_net_name key;
	struct bw_net_ports rule;
	__u64 root;
	__u32 set;
	__u32 at; // in the message
	__u32 n;  // bytes of it
	__u32 pad;
	__u8 message[NAMES_MESSAGE + 32]; // an index and the few bytes behind it
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct names_room);
} names_room SEC(".maps");

BW_INLINE struct names_room *names_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&names_room, &zero);
}

BW_INLINE __u32 byte_at(struct names_room *r, __u32 at)
{
	return r->message[at & (NAMES_MESSAGE - 1)];
}

// The functions with names the linker sees are verified once each, and keep what they
// know in the room, where the verifier forgets it.

// Where the name of the question ends: its zero byte is at r->at. 0: nowhere.
__attribute__((noinline)) int names_end(void)
{
	struct names_room *r = names_here();
	__u32 q = 12, l;

	if (!r)
		return 0;
	for (int i = 0; i < NAMES_LABELS; i++) {
		l = byte_at(r, q);
		if (!l || l > 63) {
			r->at = q;
			return !l;
		}
		q += l + 1;
	}
	return 0;
}

// The name of the question into the key; r->at then stands behind the question. 0: none.
__attribute__((noinline)) int names_question(void)
{
	struct names_room *r = names_here();
	__u32 n;

	if (!r)
		return 0;
	n = r->at - 12;
	if (!n || n >= BW_NAME || r->at + 5 > r->n)
		return 0;
	r->at += 5;
	r->key.prefixlen = (4 + n + 1) * 8;
	for (__u32 i = 0; i < BW_NAME; i++) {
		__u32 c;

		if (i >= n) {
			r->key.name[i] = 0;
			break;
		}
		c = byte_at(r, 11 + n - i);
		if (c - 'A' < 26)
			c |= 0x20;
		r->key.name[i] = c;
	}
	return 1;
}

// An address is allowed from now on.
BW_INLINE void names_learn(struct names_room *r, const __u8 *addr, __u32 ttl)
{
	struct bw_net_named_key key __attribute__((aligned(8))) = {.set = r->set};
	struct bw_net_named *v, first = {};
	struct bw_net_set *set;
	__u64 now = bpf_ktime_get_boot_ns(), till, root = r->root;
	int at = 0;

	if (ttl < NAMED_LEAST)
		ttl = NAMED_LEAST;
	if (ttl > NAMED_LONGEST)
		ttl = NAMED_LONGEST;
	till = now + ttl * 1000000000ULL;
	copy_addr(key.address, addr);
	v = bpf_map_lookup_elem(&net_named, &key);
	if (!v) {
		set = bpf_map_lookup_elem(&net_sets, &root);
		if (!set || set->set != r->set)
			return;
		if (set->named >= BW_NAMED_MOST) {
			bw_lost(root, BW_DNS); // refused until others are over
			return;
		}
		first.till[0] = till;
		first.rule[0] = r->rule;
		if (bpf_map_update_elem(&net_named, &key, &first, BPF_NOEXIST))
			bw_lost(root, BW_DNS);
		else
			bw_add(&set->named, 1);
		return;
	}
	// The place of this rule, else the one that ends first.
	for (int i = 0; i < BW_NAMED_RULES; i++) {
		if (v->till[i] && v->rule[i].id == r->rule.id) {
			at = i;
			break;
		}
		if (v->till[i] < v->till[at & (BW_NAMED_RULES - 1)])
			at = i;
	}
	at &= BW_NAMED_RULES - 1;
	v->rule[at] = r->rule;
	v->till[at] = till;
}

// One record of the answer at r->at; 0 when it is the last that can be read.
__attribute__((noinline)) int names_record(void)
{
	struct names_room *r = names_here();
	__u32 at, l = 0, type, class, ttl, size, ended = 0;
	__u8 addr[16] __attribute__((aligned(8)));

	if (!r)
		return 0;
	at = r->at;
	for (int i = 0; i < NAMES_LABELS; i++) {
		l = byte_at(r, at);
		if (!l || l > 63) {
			ended = 1;
			break;
		}
		at += l + 1;
	}
	if (!ended)
		return 0;
	at += l ? 2 : 1; // a pointer ends a name, too
	if (at + 10 > r->n)
		return 0;
	type = byte_at(r, at) << 8 | byte_at(r, at + 1);
	class = byte_at(r, at + 2) << 8 | byte_at(r, at + 3);
	ttl = byte_at(r, at + 4) << 24 | byte_at(r, at + 5) << 16 | byte_at(r, at + 6) << 8 | byte_at(r, at + 7);
	size = byte_at(r, at + 8) << 8 | byte_at(r, at + 9);
	at += 10;
	r->at = at + size;
	if (r->at > r->n)
		return 0;
	at &= NAMES_MESSAGE - 1;
	if (class == 1 && type == 1 && size == 4) {
		__be32 a;

		__builtin_memcpy(&a, &r->message[at], 4);
		map4(addr, a);
		names_learn(r, addr, ttl);
	} else if (class == 1 && type == 28 && size == 16) {
		__builtin_memcpy(addr, &r->message[at], 16);
		names_learn(r, addr, ttl);
	}
	return 1;
}

// A message to or from port 53 of a name server.
__attribute__((noinline)) int names_message(struct __sk_buff *skb, __u32 off, __u32 len, __u32 how)
{
	struct bpf_sock *sk = skb->sk;
	struct bw_net_question q = {};
	struct bw_net_asked *asked, now = {};
	struct names_room *r = names_here();
	struct bw_net_ports *rule;
	struct bw_net_set *set;
	struct bw_sock *st;
	__u64 n = len;
	__u32 count;

	if (!sk || !r)
		return 0;
	q.lport = sk->src_port;
	st = bpf_sk_storage_get(&socks, sk, 0, 0);
	if (!st || !st->root)
		return 0;
	q.root = st->root;
	q.netns = st->netns;
	set = bpf_map_lookup_elem(&net_sets, &q.root);
	if (!set || !(set->flags & BW_SET_NAMES))
		return 0;
	asm volatile("" : "+r"(n));
	if (n > NAMES_MESSAGE)
		return 0;
	asm volatile("" : "+r"(n));
	if (n < 17)
		return 0;
	if (bpf_skb_load_bytes(skb, off, r->message, n))
		return 0;
	r->n = n;
	r->root = q.root;
	r->set = set->set;
	// A question or an answer to it, a plain query about one name.
	if ((r->message[2] & 0x80) != (how & DNS_ANSWER ? 0x80 : 0) || r->message[2] & 0x78 || r->message[4] || r->message[5] != 1)
		return 0;
	if (!names_end() || !names_question())
		return 0;
	r->key.set = r->set;
	rule = bpf_map_lookup_elem(&net_names, &r->key);
	if (!rule)
		return 0;
	r->rule = *rule;
	remote_in(skb, q.server, how & DNS_ANSWER);
	q.id = r->message[0] << 8 | r->message[1];
	if (!(how & DNS_ANSWER)) {
		if (!listed_plain(set, q.server, 53, how & DNS_TCP ? IPPROTO_TCP : IPPROTO_UDP, 0))
			return 0;
		now.time = bpf_ktime_get_boot_ns();
		now.rule = r->rule.id;
		bpf_map_update_elem(&net_asked, &q, &now, BPF_ANY);
		return 0;
	}
	asked = bpf_map_lookup_elem(&net_asked, &q);
	if (!asked || asked->rule != r->rule.id || bpf_ktime_get_boot_ns() - asked->time > NAMES_PATIENCE)
		return 0;
	bpf_map_delete_elem(&net_asked, &q);
	if (r->message[3] & 0x0f) // the name server refused
		return 0;
	count = r->message[6] << 8 | r->message[7];
	for (int i = 0; i < NAMES_RECORDS; i++) {
		if (i >= count || !names_record())
			break;
	}
	return 0;
}
#endif
