// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The shield: judges every packet of an interface before the machine sees it. judge() is the
 * whole policy; what it asks is in parse.h (what is this?), rate.h (too much?), scan.h (a
 * scanner?) and in the lookups below it. Unknown and unreadable packets pass and are counted.
 *
 * Written for the verifier of Linux 6.1: a table index is masked as a whole, and loops over
 * payload keep their state in map memory.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "parse.h"
#include "rate.h"
#include "scan.h"

#define MILLISECOND 1000000ull
#define RETRANSMISSION_MIN (400 * MILLISECOND)
#define RETRANSMISSION_MAX (32000 * MILLISECOND)
#define HASH_WORDS 32
#define HASH_FACTOR 0x9e3779b97f4a7c15ull
#define REFUSALS_BITS 20
/* Who retransmits may be a forger who sends the same bytes over and over. All of them together
 * get so many times the rate of all unknown sources, which no site's phones need and a PBX bears. */
#define RETRANSMITTERS 10
#define COPY_BLOCK 64

/* Events beyond these rates are left out: a flood must not become a flood of events, and one of
 * forged sources, each over its rate, must not silence the other events. */
static const struct rate event_rate = {
	.interval_ns = MILLISECOND,
	.tolerance_ns = 1023 * MILLISECOND,
};
static const struct rate rate_event_rate = {
	.interval_ns = 5 * MILLISECOND,
	.tolerance_ns = 199 * 5 * MILLISECOND,
};
/* Drops for its rate are told of a source once in so long. */
#define TELL_RATE_EVERY (1000 * MILLISECOND)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct active);
} active SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct policy);
} policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct tables);
} signature_tables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, (1 << LISTED_BITS) / LISTED_BLOCK);
	__type(key, __u32);
	__type(value, struct listed);
} listed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix4);
	__type(value, __u64);
} allowed4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix6);
	__type(value, __u64);
} allowed6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ban_key);
	__type(value, struct ban);
} bans SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix4);
	__type(value, struct ban);
} prefix_bans4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix6);
	__type(value, struct ban);
} prefix_bans6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address);
	__type(value, struct source);
} trusted SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 131072);
	__type(key, struct address);
	__type(value, struct source);
} sources SEC(".maps");

/* What the common bucket refused: which packet in the upper half, when in the lower, in
 * milliseconds. A later packet takes the place of an earlier one, of which 20 bits of the hash are
 * the index: an LRU as large as this forgets a phone's packet before it is sent again, within 0.3 s
 * of a flood of 200,000 packets a second. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << REFUSALS_BITS);
	__type(key, __u32);
	__type(value, __u64);
} refusals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct connection);
	__type(value, __u64);
} ssh_sources SEC(".maps");

/* The buckets that all share. */
enum common_bucket { UNKNOWN_SOURCES, RETRANSMITTING_SOURCES, EVENTS, RATE_EVENTS, COMMON_BUCKETS };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COMMON_BUCKETS);
	__type(key, __u32);
	__type(value, __u64);
} common SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scan);
} scans SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1048576);
} events SEC(".maps");

/* What judge() knows. */
struct judgement {
	const struct policy *policy;
	const struct tables *tables;
	const struct active *active;
	struct scan *scan;
	struct packet *packet;
	__u64 now;
	enum port_class class;
	__u32 listed;
	bool trusted;
	bool reject;
};

/* What may be listed of the source's network: a lookup that cannot find anything is not made. */
static __always_inline __u32 listed_of(const struct judgement *this)
{
	const struct address *source = &this->packet->source;
	__u64 network = this->packet->ipv4 ? source->low >> 32 & 0xffffff :
					    source->high & 0xffffffffffff;
	__u32 hash = network * 0x9e3779b97f4a7c15ull >> (64 - LISTED_BITS);
	__u32 block = hash / LISTED_BLOCK;
	const struct listed *flags = bpf_map_lookup_elem(&listed, &block);

	if (!flags)
		return ~0u;
	return flags->flags[hash % LISTED_BLOCK] | this->active->listed;
}

static __always_inline bool is_allowed(const struct judgement *this)
{
	const struct packet *packet = this->packet;

	if (!(this->listed & LISTED_ALLOWED))
		return false;
	if (packet->ipv4) {
		struct prefix4 key = { .prefix_len = 32 };

		__builtin_memcpy(key.address, (__u8 *)&packet->source + 12, 4);
		return bpf_map_lookup_elem(&allowed4, &key) != NULL;
	}
	struct prefix6 key = { .prefix_len = 128 };

	__builtin_memcpy(key.address, &packet->source, 16);
	return bpf_map_lookup_elem(&allowed6, &key) != NULL;
}

static __always_inline bool in_force(struct ban *ban, const struct judgement *this)
{
	if (!ban)
		return false;
	__u64 now = bpf_ktime_get_boot_ns();

	if (now >= ban->all_until_ns && (now >= ban->sip_until_ns || this->class == CLASS_NONE ||
					 this->class == CLASS_SSH))
		return false;
	__sync_fetch_and_add(&ban->dropped, 1);
	return true;
}

static __always_inline bool is_banned(const struct judgement *this)
{
	const struct packet *packet = this->packet;
	struct ban_key key = { .address = packet->source, .prefix_len = 128 };

	if (this->listed & LISTED_BANNED && in_force(bpf_map_lookup_elem(&bans, &key), this))
		return true;
	if (this->listed & LISTED_PORT_BANNED && packet->source_port) {
		key.port = packet->source_port;
		if (in_force(bpf_map_lookup_elem(&bans, &key), this))
			return true;
		key.port = 0;
	}
	if (this->listed & LISTED_BANNED && !packet->ipv4) {
		key.address.low = 0;
		key.prefix_len = 64;
		if (in_force(bpf_map_lookup_elem(&bans, &key), this))
			return true;
	}
	if (!(this->listed & LISTED_PREFIX_BANNED))
		return false;
	if (packet->ipv4) {
		struct prefix4 prefix = { .prefix_len = 32 };

		__builtin_memcpy(prefix.address, (__u8 *)&packet->source + 12, 4);
		return in_force(bpf_map_lookup_elem(&prefix_bans4, &prefix), this);
	}
	struct prefix6 prefix = { .prefix_len = 128 };

	__builtin_memcpy(prefix.address, &packet->source, 16);
	return in_force(bpf_map_lookup_elem(&prefix_bans6, &prefix), this);
}

static __always_inline enum port_class class_of(const struct judgement *this)
{
	const struct packet *packet = this->packet;
	__u32 port = packet->destination_port;

	if (packet->fragment == LATER_FRAGMENT_OF)
		return CLASS_NONE;
	/* Spilled to the stack, a 16-bit value is any number to the verifier of 6.1. */
	barrier_var(port);
	port &= 0xffff;
	switch (packet->protocol) {
	case PROTOCOL_UDP:
		return this->policy->udp[port];
	case PROTOCOL_TCP:
		return this->policy->tcp[port];
	default:
		return CLASS_NONE;
	}
}

/* A source is an IPv4 address or an IPv6 /64. */
static __always_inline struct address source_of(const struct packet *packet)
{
	struct address source = packet->source;

	if (!packet->ipv4)
		source.low = 0;
	return source;
}

/* What answers or keeps a hole in a NAT open: SIP/2.0 ..., CRLF, NUL, STUN. */
static __always_inline bool is_response_or_keep_alive(struct xdp_md *ctx,
						      const struct packet *packet)
{
	__u8 head[8] __attribute__((aligned(8)));

	if (packet->payload_len <= sizeof(head))
		return true;
	if (load(ctx, packet->payload, head, sizeof(head)))
		return false;
	if ((head[0] | 0x20) == 's' && (head[1] | 0x20) == 'i' && (head[2] | 0x20) == 'p' &&
	    head[3] == '/')
		return true;
	/* RFC 8489 section 5: two zero bits, and the magic cookie. */
	return head[0] < 4 && head[4] == 0x21 && head[5] == 0x12 && head[6] == 0xa4 &&
	       head[7] == 0x42;
}

/* A hash of the first 256 bytes, to know a retransmission again (RFC 3261 section 17.1.1.2 sends
 * the same bytes). Not meant to resist an attacker: he may retransmit, too. */
static __always_inline __u64 payload_hash(struct xdp_md *ctx, const struct packet *packet,
					  struct scan *scan)
{
	__u64 hash = packet->payload_len + 1;

	if (packet->payload_len >= HASH_WORDS * 8) {
		if (bpf_xdp_load_bytes(ctx, packet->payload, scan->payload, HASH_WORDS * 8))
			return hash;
		for (int i = 0; i < HASH_WORDS; i++)
			hash = (hash ^ ((__u64 *)scan->payload)[i]) * HASH_FACTOR;
	}
	return hash;
}

/* All unknown sources together are over their share. Few forgers retransmit, and phones do: a
 * packet is refused and remembered, the same bytes half a second later pass, and so does what the
 * source sends within 32 s (timer F, RFC 3261 section 17.1.2.2). */
static __always_inline bool is_retransmission(struct xdp_md *ctx, const struct judgement *this,
					      struct source *source)
{
	struct address address = source_of(this->packet);
	__u32 now = this->now / MILLISECOND;
	__u64 hash, *refusal;
	__u32 slot, which, age;

	if (source->retransmitted_ns && this->now - source->retransmitted_ns <= RETRANSMISSION_MAX)
		return true;
	hash = payload_hash(ctx, this->packet, this->scan);
	hash = (hash ^ address.high) * HASH_FACTOR;
	hash = (hash ^ hash >> 32 ^ address.low) * HASH_FACTOR;
	hash = (hash ^ hash >> 32) * HASH_FACTOR;
	slot = hash >> (64 - REFUSALS_BITS);
	which = hash;
	refusal = bpf_map_lookup_elem(&refusals, &slot);
	if (!refusal)
		return false;
	age = now - (__u32)*refusal;
	if (*refusal >> 32 != which || age > RETRANSMISSION_MAX / MILLISECOND) {
		*refusal = (__u64)which << 32 | now;
		return false;
	}
	/* Both times were rounded down, so an age of 400 may be 399.1. */
	if (age <= RETRANSMISSION_MIN / MILLISECOND)
		return false;
	source->retransmitted_ns = this->now;
	return true;
}

/* Counts a packet of a source, and notes whether the daemon is to hear that its rate drops it. Several
 * CPUs may lose a packet that passed, none that is dropped. */
static __always_inline void count_of_source(const struct judgement *this, struct source *source,
					    enum reason reason)
{
	__u32 shared = RATE_EVENTS;
	__u64 *due;

	if (reason == CLEAN) {
		source->passed++;
		return;
	}
	__sync_fetch_and_add(&source->dropped, 1);
	if (source->told_ns && this->now - source->told_ns < TELL_RATE_EVERY)
		return;
	due = bpf_map_lookup_elem(&common, &shared);
	if (!due || over_rate(due, &rate_event_rate, this->now))
		return;
	source->told_ns = this->now;
	this->scan->dropped = __sync_lock_test_and_set(&source->dropped, 0);
	this->scan->passed = __sync_lock_test_and_set(&source->passed, 0);
}

/* Takes a token of an unknown source, or names the bucket that has none left. */
static __always_inline enum reason over_unknown_rate(struct xdp_md *ctx, struct judgement *this,
						     struct source *source)
{
	const struct packet *packet = this->packet;
	const struct policy *policy = this->policy;
	__u32 shared = UNKNOWN_SOURCES;
	struct rate retransmitters;
	__u64 *due;

	if (packet->protocol == PROTOCOL_UDP && is_response_or_keep_alive(ctx, packet))
		return over_rate(&source->responses_ns, &policy->responses, this->now) ? RATE : CLEAN;
	if (over_rate(&source->requests_ns, &policy->sip, this->now)) {
		this->reject = policy->reject;
		return RATE;
	}

	/* Data within a TCP connection was not sent from a forged address. */
	if (packet->protocol == PROTOCOL_TCP && packet->payload_len)
		return CLEAN;
	due = bpf_map_lookup_elem(&common, &shared);
	if (!due || !over_rate(due, &policy->unknown, this->now))
		return CLEAN;
	if (!is_retransmission(ctx, this, source))
		return RATE_UNKNOWN;
	retransmitters.interval_ns = policy->unknown.interval_ns / RETRANSMITTERS;
	retransmitters.tolerance_ns = policy->unknown.tolerance_ns + policy->unknown.interval_ns -
				      retransmitters.interval_ns;
	shared = RETRANSMITTING_SOURCES;
	due = bpf_map_lookup_elem(&common, &shared);
	if (due && over_rate(due, &retransmitters, this->now))
		return RATE_UNKNOWN;
	return CLEAN;
}

/* Takes a token for a SIP packet, or names the bucket that has none left. */
static __always_inline enum reason over_sip_rate(struct xdp_md *ctx, struct judgement *this)
{
	const struct packet *packet = this->packet;
	struct address key = source_of(packet);
	struct source *source;
	enum reason reason;

	/* Acknowledgements without data are the transport's own. */
	if (packet->protocol == PROTOCOL_TCP && packet->fragment == WHOLE &&
	    !packet->payload_len && !(packet->tcp_flags & TCP_SYN))
		return CLEAN;

	this->now = bpf_ktime_get_boot_ns();
	if (this->listed & LISTED_TRUSTED) {
		source = bpf_map_lookup_elem(&trusted, &key);
		this->trusted = source != NULL;
		if (source) {
			reason = over_rate(&source->requests_ns, &this->policy->trusted, this->now) ?
					 RATE :
					 CLEAN;
			count_of_source(this, source, reason);
			return reason;
		}
	}
	if (packet->fragment == FIRST_FRAGMENT && packet->payload_len < FIRST_FRAGMENT_MIN)
		return TINY_FRAGMENT;

	source = bpf_map_lookup_elem(&sources, &key);
	if (!source) {
		struct source fresh = {};

		bpf_map_update_elem(&sources, &key, &fresh, BPF_NOEXIST);
		source = bpf_map_lookup_elem(&sources, &key);
		if (!source)
			return CLEAN;
	}
	reason = over_unknown_rate(ctx, this, source);
	count_of_source(this, source, reason);
	return reason;
}

static __always_inline bool over_ssh_rate(struct judgement *this)
{
	const struct packet *packet = this->packet;
	struct connection key = {
		.source = source_of(packet),
		.destination = packet->destination,
	};
	__u64 *due;

	if ((packet->tcp_flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK)) != TCP_SYN)
		return false;
	this->now = bpf_ktime_get_boot_ns();
	due = bpf_map_lookup_elem(&ssh_sources, &key);
	if (!due) {
		__u64 first = this->now + this->policy->ssh.interval_ns;

		bpf_map_update_elem(&ssh_sources, &key, &first, BPF_ANY);
		return false;
	}
	return over_rate(due, &this->policy->ssh, this->now);
}

static __always_inline void copy_block(__u64 *to, const __u64 *from)
{
#pragma unroll
	for (int i = 0; i < COPY_BLOCK / 8; i++)
		to[i] = from[i];
}

/* Copies a payload of up to SCAN_MAX bytes: in blocks from the linear part where it is there, since
 * each return of a helper costs as much as copying 500 bytes. */
static __always_inline int load_payload(struct xdp_md *ctx, const struct packet *packet,
					__u8 *to, __u32 len)
{
	const void *from = (void *)(long)ctx->data;
	const void *end = (void *)(long)ctx->data_end;
	__u32 offset = packet->payload;
	__u32 at = 0;

	if (offset > LINEAR_MAX || from + offset + len > end || len < COPY_BLOCK)
		return bpf_xdp_load_bytes(ctx, offset, to, len);
	from += offset;
#pragma clang loop unroll(disable)
	for (int i = 0; i < SCAN_MAX / COPY_BLOCK && at + COPY_BLOCK <= len; i++) {
		if (from + at + COPY_BLOCK > end)
			return -1;
		copy_block((void *)to + at, from + at);
		at += COPY_BLOCK;
	}
	at = (len - COPY_BLOCK) & (SCAN_MAX - 1);
	if (from + at + COPY_BLOCK > end)
		return -1;
	copy_block((void *)to + at, from + at);
	return 0;
}

/* The signature step: CLEAN, CLEAN_LONG or SIGNATURE. */
static __always_inline enum reason scan_sip(struct xdp_md *ctx, const struct judgement *this)
{
	const struct packet *packet = this->packet;
	struct scan *scan = this->scan;
	__u32 len = packet->payload_len;

	if (!len)
		return CLEAN;
	if (len > SCAN_MAX)
		len = SCAN_MAX;
	len = provably_at_most(len, SCAN_MAX);
	if (load_payload(ctx, packet, scan->payload, len))
		return NOT_UNDERSTOOD;
	scan->len = len;
	scan->stream = packet->protocol == PROTOCOL_TCP;
	scan->trusted = this->trusted;

	bool whole = !scan->stream && packet->fragment == WHOLE && packet->payload_len <= SCAN_MAX;

	if (scan_payload(scan, this->tables, whole))
		return SIGNATURE;
	return packet->payload_len > SCAN_MAX ? CLEAN_LONG : CLEAN;
}

/* The policy: the first answer that fits is the packet's reason. */
static __always_inline enum reason judge(struct xdp_md *ctx, struct judgement *this)
{
	enum parsed parsed = (enum parsed)parse(ctx, this->packet);
	enum reason reason;

	switch (parsed) {
	case PARSED_NOT_IP:
		return NOT_IP;
	case PARSED_NOT_UNDERSTOOD:
		return NOT_UNDERSTOOD;
	case PARSED_ADDRESSES:
	case PARSED_ALL:
		break;
	}
	this->listed = listed_of(this);
	if (is_allowed(this))
		return ALLOWED;
	this->class = parsed == PARSED_ALL ? class_of(this) : CLASS_NONE;
	if (is_banned(this))
		return BANNED;
	if (parsed == PARSED_ADDRESSES)
		return NOT_UNDERSTOOD;
	if (this->packet->fragment == LATER_FRAGMENT_OF)
		return LATER_FRAGMENT;
	switch (this->class) {
	case CLASS_NONE:
		return NOT_PROTECTED;
	case CLASS_TRIPWIRE:
		return TRIPWIRE;
	case CLASS_SSH:
		return over_ssh_rate(this) ? RATE : CLEAN;
	case CLASS_SIP_OPAQUE:
		return CLEAN;
	case CLASS_SIP:
		reason = over_sip_rate(ctx, this);
		return reason == CLEAN ? scan_sip(ctx, this) : reason;
	}
	return NOT_PROTECTED;
}

static __always_inline bool is_drop(enum reason reason)
{
	switch (reason) {
	case NOT_IP:
	case NOT_UNDERSTOOD:
	case ALLOWED:
	case NOT_PROTECTED:
	case LATER_FRAGMENT:
	case CLEAN:
	case CLEAN_LONG:
		return false;
	case BANNED:
	case TRIPWIRE:
	case RATE:
	case RATE_UNKNOWN:
	case TINY_FRAGMENT:
	case SIGNATURE:
	case REASONS:
		return true;
	}
	return false;
}

/* When a drop that the daemon is to hear of happened, or 0. */
static __always_inline __u64 told_at(const struct judgement *this, enum reason reason)
{
	__u32 shared = EVENTS;
	__u64 *due;
	__u64 now;

	if (reason != SIGNATURE && reason != TRIPWIRE)
		return this->scan->dropped ? this->now : 0;
	now = bpf_ktime_get_boot_ns();
	due = bpf_map_lookup_elem(&common, &shared);
	return due && !over_rate(due, &event_rate, now) ? now : 0;
}

/* Tells the daemon of a drop that it should act on. */
static __always_inline void report(struct xdp_md *ctx, const struct judgement *this,
				   enum reason reason, bool dropped)
{
	const struct packet *packet = this->packet;
	__u32 len = packet->payload_len;
	__u64 now = told_at(this, reason);
	struct event *event;

	if (!now)
		return;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return;
	event->at_ns = now;
	event->source = packet->source;
	event->destination = packet->destination;
	event->source_port = packet->source_port;
	event->destination_port = packet->destination_port;
	event->protocol = packet->protocol;
	event->reason = reason;
	event->dropped = dropped;
	event->reserved = 0;
	event->payload_len = packet->payload_len;
	event->signature = reason == SIGNATURE ? this->scan->signature : 0;
	event->generation = this->tables->generation;
	event->count = reason == SIGNATURE || reason == TRIPWIRE ? 1 : this->scan->dropped;
	event->passed = this->scan->passed;
	event->quote_len = 0;
	event->ip_len = 0;
	if (this->reject && !bpf_xdp_load_bytes(ctx, packet->ip, event->quote, QUOTE_LEN)) {
		event->quote_len = QUOTE_LEN;
		event->ip_len = packet_end(ctx, packet->ip_end) - packet->ip;
	}
	event->sample_len = 0;
	if (len) {
		if (len > SAMPLE_MAX)
			len = SAMPLE_MAX;
		len = provably_at_most(len, SAMPLE_MAX);
		if (!bpf_xdp_load_bytes(ctx, packet->payload, event->sample, len))
			event->sample_len = len;
	}
	bpf_ringbuf_submit(event, 0);
}

SEC("xdp.frags")
int shield(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct judgement this = {};
	struct count *count;
	enum reason reason;
	bool dropped;

	this.active = bpf_map_lookup_elem(&active, &zero);
	if (!this.active)
		return XDP_PASS;
	__u32 policy = this.active->policy & 1;
	__u32 tables = this.active->tables & 1;

	this.policy = bpf_map_lookup_elem(&policies, &policy);
	this.tables = bpf_map_lookup_elem(&signature_tables, &tables);
	this.scan = bpf_map_lookup_elem(&scans, &zero);
	if (!this.policy || !this.tables || !this.scan)
		return XDP_PASS;
	this.packet = &this.scan->packet;
	__builtin_memset(this.packet, 0, sizeof(*this.packet));
	this.scan->dropped = 0;
	this.scan->passed = 0;

	reason = judge(ctx, &this);
	dropped = is_drop(reason) && !this.policy->observe;
	if (is_drop(reason))
		report(ctx, &this, reason, dropped);

	__u32 index = reason;

	count = bpf_map_lookup_elem(&counts, &index);
	if (count) {
		if (dropped)
			count->dropped++;
		else
			count->passed++;
	}
	return dropped ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
