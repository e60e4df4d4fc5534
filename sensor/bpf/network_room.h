// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Bytes of messages where no helper of packets loads them: gathered from the pieces that
// they lie in into room of their own. Part of network.bpf.c.
//
// What a sender in the workload gains: a message in more pieces than are followed here
// (17 of a packet, 8 packets in one, 64 of a call) is told as far as it was gathered, and
// as truncated. What a call is to send lies in memory of the process, which another
// thread may change after the look; what then goes out is looked at again (`pushed`).
#ifndef BOLLWERK_NETWORK_ROOM_H
#define BOLLWERK_NETWORK_ROOM_H

#define ROOM 2048
// Of each use one: they may interrupt each other.
enum { ROOM_SENT, ROOM_RECEIVED, ROOM_READ, ROOM_PUSHED, ROOMS };

struct bw_room {
	struct bw_sock owner;
	__u32 busy; // in use by what was interrupted
	__u32 skip; // bytes before the message
	__u32 want; // how many are of use
	__u32 n;    // how many there are
	__u32 length; // of the whole message
	__u32 pad;
	__u8 server[16];
	__u8 bytes[2 * ROOM]; // an index below ROOM and a length up to it
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ROOMS);
	__type(key, __u32);
	__type(value, struct bw_room);
} net_room SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bw_net_pages);
} net_pages SEC(".maps");

struct bw_net_pages *unused_net_pages __attribute__((unused));

BW_INLINE struct bw_room *room_of(__u32 which)
{
	return bpf_map_lookup_elem(&net_room, &which);
}

// The room for a message of this owner; 0, and the loss counted, when it is in use.
BW_INLINE struct bw_room *room_for(__u32 which, struct bw_sock *st, __u32 skip, __u32 length, __u32 want, __u32 kind)
{
	struct bw_room *r = room_of(which);

	if (!r || r->busy) {
		bw_lost(st->cgroup, kind);
		return 0;
	}
	r->busy = 1;
	r->owner = *st;
	r->skip = skip;
	r->want = length < want ? length : want;
	r->n = 0;
	r->length = length;
	copy_addr(r->server, st->remote);
	return r;
}

// Adds a piece; 1: that is enough.
static __noinline int room_add(__u32 which, __u64 from, __u32 len, __u32 user)
{
	struct bw_room *r = room_of(which);
	__u64 at, n, most;

	if (!r)
		return 1;
	if (len <= r->skip) {
		r->skip -= len;
		return 0;
	}
	from += r->skip;
	n = len - r->skip;
	r->skip = 0;
	at = r->n;
	most = r->want;
	if (at >= most)
		return 1;
	most -= at;
	if (n > most)
		n = most;
	asm volatile("" : "+r"(n), "+r"(at));
	if (at >= ROOM || n > ROOM)
		return 1;
	asm volatile("" : "+r"(n), "+r"(at));
	if (user ? bpf_probe_read_user(r->bytes + at, n, (void *)from) : bpf_probe_read_kernel(r->bytes + at, n, (void *)from))
		return 1;
	r->n = at + n;
	return r->n >= r->want;
}

// Where the memory of a page is; 0 when it is not the kernel's.
BW_INLINE __u64 page_memory(__u64 page)
{
	__u64 memory = 0, table = 0;
	__u32 zero = 0;
	struct bw_net_pages *p = bpf_map_lookup_elem(&net_pages, &zero);

	if (!p || !p->memory || !p->table || !page || page & 1)
		return 0;
	if (bpf_probe_read_kernel(&memory, 8, (void *)p->memory) || bpf_probe_read_kernel(&table, 8, (void *)p->table) || page < table)
		return 0;
	return memory + ((page - table) / bpf_core_type_size(struct page___net) << 12);
}

struct pieces {
	__u64 from; // an array of them
	__u32 which, n, user, pad;
};

// A piece in a page: of a packet, or of what splice sends.
static long page_piece(__u32 i, void *ctx)
{
	struct pieces *p = ctx;
	struct {
		__u64 page;
		__u32 len, offset;
	} f = {};
	__u64 at;

	if (i >= p->n || bpf_probe_read_kernel(&f, sizeof(f), (void *)(p->from + i * sizeof(f))))
		return 1;
	at = page_memory(f.page);
	return at ? room_add(p->which, at + f.offset, f.len, 0) : 1;
}

static long memory_piece(__u32 i, void *ctx)
{
	struct pieces *p = ctx;
	struct {
		__u64 at, len;
	} f = {};

	if (i >= p->n || bpf_probe_read_kernel(&f, sizeof(f), (void *)(p->from + i * sizeof(f))))
		return 1;
	return room_add(p->which, f.at, f.len, p->user);
}

static __noinline int packet_pieces(__u32 which, __u64 at)
{
	struct sk_buff___net *skb = (void *)at;
	__u32 len = BPF_CORE_READ(skb, len), paged = BPF_CORE_READ(skb, data_len);
	struct skb_shared_info___net *shared;
	struct pieces p = {.which = which};

	if (room_add(which, (__u64)BPF_CORE_READ(skb, data), len - paged, 0))
		return 1;
	if (!paged)
		return 0;
	shared = (void *)BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, end);
	p.n = BPF_CORE_READ(shared, nr_frags);
	p.from = (__u64)shared + bpf_core_field_offset(struct skb_shared_info___net, frags);
	bw_loop(17, page_piece, &p);
	return 0;
}

static long packet_of_list(__u32 i, void *ctx)
{
	struct pieces *p = ctx;
	struct sk_buff___net *skb = (void *)p->from;

	if (!skb || packet_pieces(p->which, (__u64)skb))
		return 1;
	p->from = (__u64)BPF_CORE_READ(skb, next);
	return 0;
}

// The bytes of a packet, from its data on.
__attribute__((noinline)) int room_packet(__u32 which, __u64 at)
{
	struct sk_buff___net *skb = (void *)at;
	struct skb_shared_info___net *shared;
	struct pieces p = {.which = which};

	if (packet_pieces(which, at) || !BPF_CORE_READ(skb, data_len))
		return 0;
	shared = (void *)BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, end);
	p.from = (__u64)BPF_CORE_READ(shared, frag_list);
	if (p.from)
		bw_loop(8, packet_of_list, &p);
	return 0;
}

// The bytes that a call is to send.
__attribute__((noinline)) int room_call(__u32 which, __u64 at)
{
	struct msghdr___net *msg = (void *)at;
	struct bw_room *r = room_of(which);
	struct pieces p = {.which = which};
	__u64 type, offset;

	if (!r)
		return 0;
	if (bpf_core_field_exists(msg->msg_iter.iter_type))
		type = BPF_CORE_READ(msg, msg_iter.iter_type);
	else
		type = BPF_CORE_READ(msg, msg_iter.type) & ~1U;
	offset = BPF_CORE_READ(msg, msg_iter.iov_offset);
	p.n = BPF_CORE_READ(msg, msg_iter.nr_segs);
	if (bpf_core_enum_value_exists(enum iter_type___net, ITER_UBUF) && type == bpf_core_enum_value(enum iter_type___net, ITER_UBUF)) {
		room_add(which, (__u64)BPF_CORE_READ(msg, msg_iter.ubuf) + offset, BPF_CORE_READ(msg, msg_iter.count), 1);
		return 0;
	}
	r->skip += offset;
	if (bpf_core_field_exists(msg->msg_iter.__iov))
		p.from = (__u64)BPF_CORE_READ(msg, msg_iter.__iov);
	else
		p.from = (__u64)BPF_CORE_READ(msg, msg_iter.iov);
	p.user = type == bpf_core_enum_value(enum iter_type___net, ITER_IOVEC);
	if (type == bpf_core_enum_value(enum iter_type___net, ITER_BVEC))
		bw_loop(17, page_piece, &p);
	else if (p.user || type == bpf_core_enum_value(enum iter_type___net, ITER_KVEC))
		bw_loop(64, memory_piece, &p);
	return 0;
}

BW_INLINE __u32 have_of(struct bw_room *r, __u32 off, __u32 len)
{
	__u32 n = r->n > off ? r->n - off : 0;

	return len < n ? len : n;
}

BW_INLINE int load_of(void *to, struct bw_room *r, __u32 off, __u64 n)
{
	__u64 at = off;

	asm volatile("" : "+r"(at));
	return at >= ROOM || bpf_probe_read_kernel(to, n, r->bytes + at);
}

struct hashing {
	__u64 h;
	__u32 which, off, end, pad;
};

static long hash_step(__u32 i, void *ctx)
{
	struct hashing *s = ctx;
	struct bw_room *r = room_of(s->which);
	__u64 at = s->off + i * 8;

	if (!r || at + 8 > s->end)
		return 1;
	asm volatile("" : "+r"(at));
	if (at >= ROOM)
		return 1;
	s->h = (s->h ^ *(__u64 *)(r->bytes + at)) * 0xff51afd7ed558ccdULL;
	s->h ^= s->h >> 32;
	return 0;
}

// hash() of bytes in a room; the rest that fills no eight of them with some before it.
static __noinline __u64 hash_room(__u32 which, __u32 off, __u32 from, __u32 end)
{
	struct hashing s = {.h = 0x9e3779b97f4a7c15ULL ^ end, .which = which, .off = off + from, .end = off + end};

	bw_loop(BW_DNS_LARGE / 8, hash_step, &s);
	if (end >= from + 8) {
		s.off = off + end - 8;
		hash_step(0, &s);
	}
	return s.h ^ s.h >> 29;
}

#define DNS_TAKE_ROOM(name, type_, CAP)                                                                           \
	DNS_TAKE(name, type_, CAP, (__u32 which, __u32 off, __u32 len, __u32 how), struct bw_room *room = room_of(which); \
		 st = room ? &room->owner : 0, have_of(room, off, len), load_of(r->message, room, off, n),        \
		 hash_room(which, off, how & DNS_ANSWER ? 2 : 12, *(volatile __u16 *)&r->port),                     \
		 copy_addr(r->server, room->server), how >> 8)

DNS_TAKE_ROOM(dns_room_small, bw_dns_event, BW_DNS_SMALL)
DNS_TAKE_ROOM(dns_room_large, bw_dns_large, BW_DNS_LARGE)

// A message that lies in a room; how: DNS_*, and above these the source of the record.
BW_INLINE void dns_room(__u32 which, struct bw_sock *st, __u32 off, __u32 len, __u32 how)
{
	if (config.options & BW_NET_OPT_NO_DNS || st->flags & S_IGNORE || len < 17)
		return;
	if (len <= BW_DNS_SMALL)
		dns_room_small(which, off, len, how);
	else
		dns_room_large(which, off, len, how);
}

// Messages over TCP, each with its length before it. bare: that came alone before this.
// 1: it does now.
static __noinline int dns_stream(__u32 which, __u32 how, __u32 bare)
{
	struct bw_room *r = room_of(which);
	__u32 off = 0, rest, n;

	if (!r)
		return 0;
	for (int i = 0; i < 4; i++) {
		__u64 at = off;

		rest = r->length - off;
		if (off >= r->n || off >= r->length)
			return 0;
		if (bare) {
			dns_room(which, &r->owner, off, rest, how);
			return 0;
		}
		if (rest <= 2)
			return rest == 2;
		asm volatile("" : "+r"(at));
		if (at >= ROOM)
			return 0;
		n = r->bytes[at] << 8 | r->bytes[at + 1];
		if (n + 2 > rest)
			n = rest - 2;
		dns_room(which, &r->owner, off + 2, n, how);
		off += n + 2;
	}
	return 0;
}

static long word_at(__u32 i, void *ctx)
{
	struct words *s = ctx;
	struct bw_room *r = room_of(s->which);

	if (!r || i + 8 > s->end || i >= BW_PROBE_BYTES)
		return 1;
	word(s, *(__u64 *)(r->bytes + i));
	return 0;
}

// What was sent first on a connection: probe() for bytes in a room. 1 refuses it.
__attribute__((noinline)) int probe_room(__u32 which, __u64 at)
{
	struct bw_room *room = room_of(which);
	struct bw_sock *st = conn_of(at);
	struct bw_probe_event *r;
	struct bw_policy *p;
	struct words words = {.which = which};
	__u32 what = 0, len, outcome = BW_SEEN;
	__u64 n;
	__u8 first;

	if (!room || !room->n)
		return 0;
	if (!st)
		st = &room->owner; // not a connection yet
	n = room->n;
	len = room->length;
	first = room->bytes[0];
	if (first != '{' && first != 0) {
		if (which == ROOM_SENT)
			st->probe = 0;
		else
			st->asked = 0;
		return 0;
	}
	if (which == ROOM_SENT)
		st->probe--;
	else
		st->asked--;
	r = bw_reserve(sizeof(*r));
	if (!r) {
		bw_lost(st->cgroup, BW_PROTOCOL);
		return 0;
	}
	asm volatile("" : "+r"(n));
	if (n > BW_PROBE_BYTES)
		n = BW_PROBE_BYTES;
	asm volatile("" : "+r"(n));
	if (n < 16)
		goto discard;
	if (bpf_probe_read_kernel(r->payload, n, room->bytes))
		goto discard;
	if (first == '{') {
		words.end = n;
		bw_loop(BW_PROBE_BYTES - 8, word_at, &words);
		if (mining(&words))
			what = BW_PROBE_STRATUM;
	} else if (setup_connection(r->payload, len)) {
		what = BW_PROBE_STRATUM2;
	}
	if (!what)
		goto discard;
	st->probe = 0;
	st->asked = 0;
	p = policy_by_root(st->root);
	if (!p && st->flags & S_CONTAINED && BPF_CORE_READ(bw_current(), tgid) == st->pid)
		p = bw_policy_of(bw_current());
	if (p && p->enforce & BW_GUARD_MINER) {
		if (which == ROOM_SENT)
			outcome = BW_DENIED;
		else if (BPF_CORE_READ(bw_current(), tgid) == st->pid && !bpf_send_signal(9))
			outcome = BW_KILLED; // its bytes are on their way
		st->probe = PROBE_REFUSE; // no flag: those are changed with the socket locked
	}
	header_from(&r->n.h, st, BW_PROTOCOL, sizeof(*r), which == ROOM_SENT ? BW_NET_SENT : BW_NET_PUSHED);
	copy_addr(r->n.remote, st->remote);
	__builtin_memset(r->n.local, 0, 16);
	r->n.cookie = 0;
	r->n.count = 1;
	r->n.rport = st->rport;
	r->n.lport = st->lport;
	r->n.netns = st->netns;
	r->n.protocol = IPPROTO_TCP;
	r->n.type = SOCK_STREAM;
	r->n.direction = st->direction;
	r->n.state = 0;
	r->n.pad = 0;
	if (at) {
		local_of(r->n.local, (struct sock___net *)at);
		r->n.cookie = BPF_CORE_READ((struct sock___net *)at, __sk_common.skc_cookie.counter);
	}
	r->kept = n;
	r->what = what;
	if (p && (p->enforce | p->report) & BW_GUARD_MINER)
		r->n.h.guard = GUARD_NUMBER(BW_GUARD_MINER);
	r->n.h.outcome = outcome;
	if (outcome == BW_DENIED)
		r->n.h.result = -EPERM;
	bw_submit(r, 1);
	return outcome == BW_DENIED;
discard:
	bw_discard(r);
	return 0;
}
#endif
