/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Who sends too much: which bucket a packet takes a token of, and what a source is remembered for. */
#ifndef SIPWARD_LIMITS_H
#define SIPWARD_LIMITS_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "judgement.h"
#include "rate.h"

#define MILLISECOND 1000000ull
#define SECOND (1000 * MILLISECOND)
/* Timer F (RFC 3261 section 17.1.2.2). */
#define RETRANSMISSION_MAX (32 * SECOND)
#define HASH_WORDS 32
#define HASH_FACTOR 0x9e3779b97f4a7c15ull
/* What is not a first request gets so many times the rate of all unknown sources, each kind of it
 * and what is sent again: no site's strangers need more, and a PBX bears it. Who retransmits may be
 * a forger who sends the same bytes over and over. */
#define OTHERS 10

/* A refusal in 32 bits: which packet in the upper ones, when in the lower, in ticks of 33.6 ms,
 * which begin again after 34 s. Fewer bits for the packet would take forgers' packets for sent
 * again: of 600,000 a second, four compared with each, one in two seconds. */
#define REFUSALS_BITS 19
#define TICK_SHIFT 25
#define TICK_MASK 0x3ffu
/* 403 to 436 ms: half a second is T1 (RFC 3261 section 17.1.1.2). */
#define RETRANSMISSION_MIN_TICKS 13
#define RETRANSMISSION_MAX_TICKS (RETRANSMISSION_MAX >> TICK_SHIFT)

/* Events of drops for rates beyond this one are left out: forged sources, each over its rate, must
 * not silence the other events. */
static const struct rate rate_event_rate = {
	.interval_ns = 5 * MILLISECOND,
	.tolerance_ns = 199 * 5 * MILLISECOND,
};
/* 50 a second, 200 at once, of all later fragments that follow no first one. */
static const struct rate fragment_rate = {
	.interval_ns = 20 * MILLISECOND,
	.tolerance_ns = 199 * 20 * MILLISECOND,
};
/* As long as Linux waits for the rest (net.ipv4.ipfrag_time). */
#define FRAGMENTS_WAIT (30 * SECOND)
/* Drops for its rate are told of a source once in so long. */
#define TELL_RATE_EVERY (1000 * MILLISECOND)

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

/* What the common buckets refused, by a hash of the packet: of those that share a place the last
 * REFUSALS_HELD, the latest first. An LRU as large as this forgets a phone's packet before it is sent again,
 * within 0.3 s of a flood of 200,000 packets a second. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << REFUSALS_BITS);
	__type(key, __u32);
	__type(value, struct refusals);
} refusals SEC(".maps");

/* When a first fragment of a source to a destination has passed. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct connection);
	__type(value, __u64);
} first_fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct connection);
	__type(value, __u64);
} ssh_sources SEC(".maps");

/* Until when, in boot time, a source is free of the SSH limit: it has somebody logged in. What has
 * lapsed makes room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct address);
	__type(value, __u64);
} ssh_sessions SEC(".maps");

/* The buckets that all share. Unknown sources have one for each kind of packet, so that a flood of
 * one kind leaves the others alone. */
enum common_bucket {
	UNKNOWN_REQUESTS, /* what opens a TCP connection, too */
	UNKNOWN_ANSWERS, /* responses and keep-alives */
	UNKNOWN_SEGMENTS, /* within TCP connections */
	LATER_FRAGMENTS,
	RETRANSMISSIONS,
	EVENTS,
	RATE_EVENTS,
	COMMON_BUCKETS,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COMMON_BUCKETS);
	__type(key, __u32);
	__type(value, __u64);
} common SEC(".maps");

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

/* Whether this packet was refused before and comes again in time; a new one is remembered. */
static __always_inline bool was_refused(__u64 hash, __u64 now)
{
	__u32 slot = hash >> (64 - REFUSALS_BITS);
	__u32 which = (__u32)hash & ~TICK_MASK;
	__u32 tick = now >> TICK_SHIFT & TICK_MASK;
	struct refusals *held = bpf_map_lookup_elem(&refusals, &slot);

	if (!held)
		return false;
#pragma unroll
	for (int i = 0; i < REFUSALS_HELD; i++) {
		__u32 age = (tick - held->at[i]) & TICK_MASK;

		if ((held->at[i] & ~TICK_MASK) == which && age <= RETRANSMISSION_MAX_TICKS)
			return age >= RETRANSMISSION_MIN_TICKS;
	}
#pragma unroll
	for (int i = REFUSALS_HELD - 1; i > 0; i--)
		held->at[i] = held->at[i - 1];
	held->at[0] = which | tick;
	return false;
}

/* All unknown sources together are over their share. Few forgers retransmit, and phones do: a
 * packet is refused and remembered, the same bytes half a second later pass, and so does what the
 * source sends within 32 s. */
static __always_inline bool is_retransmission(struct xdp_md *ctx, const struct judgement *this,
					      struct source *source)
{
	struct address address = source_of(this->packet);
	__u64 hash;

	if (source->retransmitted_ns && this->now - source->retransmitted_ns <= RETRANSMISSION_MAX)
		return true;
	hash = payload_hash(ctx, this->packet, this->scan);
	hash = (hash ^ address.high) * HASH_FACTOR;
	hash = (hash ^ hash >> 32 ^ address.low) * HASH_FACTOR;
	hash = (hash ^ hash >> 32) * HASH_FACTOR;
	if (!was_refused(hash, this->now))
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

/* Takes a token of a bucket that all unknown sources share, or of that for what is sent again. */
static __always_inline bool over_common_rate(struct xdp_md *ctx, const struct judgement *this,
					     struct source *source, __u32 bucket)
{
	const struct rate *unknown = &this->policy->unknown;
	struct rate others;
	__u64 *due;

	others.interval_ns = unknown->interval_ns / OTHERS;
	others.tolerance_ns = unknown->tolerance_ns + unknown->interval_ns - others.interval_ns;
	due = bpf_map_lookup_elem(&common, &bucket);
	if (!due || !over_rate(due, bucket == UNKNOWN_REQUESTS ? unknown : &others, this->now))
		return false;
	if (!is_retransmission(ctx, this, source))
		return true;
	bucket = RETRANSMISSIONS;
	due = bpf_map_lookup_elem(&common, &bucket);
	return due && over_rate(due, &others, this->now);
}

/* An acknowledgement or an end, without data. */
static __always_inline bool is_bare_segment(const struct packet *packet)
{
	return packet->protocol == PROTOCOL_TCP && packet->fragment == WHOLE &&
	       !packet->payload_len && !(packet->tcp_flags & TCP_SYN);
}

/* Takes a token of an unknown source, or names the bucket that has none left. */
static __always_inline enum reason over_unknown_rate(struct xdp_md *ctx, struct judgement *this,
						     struct source *source)
{
	const struct packet *packet = this->packet;
	const struct policy *policy = this->policy;
	__u32 bucket = UNKNOWN_REQUESTS;

	if (is_bare_segment(packet) ||
	    (packet->protocol == PROTOCOL_UDP && is_response_or_keep_alive(ctx, packet))) {
		if (over_rate(&source->responses_ns, &policy->responses, this->now))
			return RATE;
		bucket = UNKNOWN_ANSWERS;
	} else if (over_rate(&source->requests_ns, &policy->sip, this->now)) {
		this->reject = policy->reject;
		return RATE;
	}
	if (packet->protocol == PROTOCOL_TCP && !(packet->tcp_flags & TCP_SYN))
		bucket = UNKNOWN_SEGMENTS;
	return over_common_rate(ctx, this, source, bucket) ? RATE_UNKNOWN : CLEAN;
}

/* Takes a token for a SIP packet, or names the bucket that has none left. */
static __always_inline enum reason over_sip_rate(struct xdp_md *ctx, struct judgement *this)
{
	const struct packet *packet = this->packet;
	struct address key = source_of(packet);
	struct source *source;
	enum reason reason;

	this->now = bpf_ktime_get_boot_ns();
	if (this->listed & LISTED_TRUSTED) {
		source = bpf_map_lookup_elem(&trusted, &key);
		this->trusted = source != NULL;
		if (source) {
			/* The transport's own. */
			if (is_bare_segment(packet))
				return CLEAN;
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

/* What one source sends to one destination. */
static __always_inline struct connection connection_of(const struct packet *packet)
{
	struct connection connection = {
		.source = source_of(packet),
		.destination = packet->destination,
	};

	return connection;
}

static __always_inline bool over_ssh_rate(struct judgement *this)
{
	const struct packet *packet = this->packet;
	struct connection key = connection_of(packet);
	__u64 *until;
	__u64 *due;

	if ((packet->tcp_flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK)) != TCP_SYN)
		return false;
	this->now = bpf_ktime_get_boot_ns();
	until = bpf_map_lookup_elem(&ssh_sessions, &key.source);
	if (until && this->now < *until)
		return false;
	due = bpf_map_lookup_elem(&ssh_sources, &key);
	if (!due) {
		__u64 first = this->now + this->policy->ssh.interval_ns;

		bpf_map_update_elem(&ssh_sources, &key, &first, BPF_ANY);
		return false;
	}
	return over_rate(due, &this->policy->ssh, this->now);
}

/* A first fragment has passed: so may what belongs to it. */
static __always_inline void remember_first_fragment(const struct judgement *this)
{
	struct connection key = connection_of(this->packet);
	__u64 now = bpf_ktime_get_boot_ns();
	__u64 *passed = bpf_map_lookup_elem(&first_fragments, &key);

	if (passed)
		*passed = now;
	else
		bpf_map_update_elem(&first_fragments, &key, &now, BPF_ANY);
}

/* Later fragments, to whatever port, follow a first one that has passed. The kernel puts together
 * what belongs to none for 30 s, in 4 MB for all: those share a small bucket. */
static __always_inline bool over_fragment_rate(const struct judgement *this)
{
	struct connection key = connection_of(this->packet);
	__u64 now = bpf_ktime_get_boot_ns();
	__u64 *passed = bpf_map_lookup_elem(&first_fragments, &key);
	__u32 bucket = LATER_FRAGMENTS;
	__u64 *due;

	if (passed && now - *passed <= FRAGMENTS_WAIT)
		return false;
	if (this->listed & LISTED_TRUSTED && bpf_map_lookup_elem(&trusted, &key.source))
		return false;
	due = bpf_map_lookup_elem(&common, &bucket);
	return due && over_rate(due, &fragment_rate, now);
}

#endif
