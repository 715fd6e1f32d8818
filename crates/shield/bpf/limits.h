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
#define RETRANSMISSION_MIN (400 * MILLISECOND)
#define RETRANSMISSION_MAX (32000 * MILLISECOND)
#define HASH_WORDS 32
#define HASH_FACTOR 0x9e3779b97f4a7c15ull
#define REFUSALS_BITS 20
/* Who retransmits may be a forger who sends the same bytes over and over. All of them together
 * get so many times the rate of all unknown sources, which no site's phones need and a PBX bears. */
#define RETRANSMITTERS 10

/* Events of drops for rates beyond this one are left out: forged sources, each over its rate, must
 * not silence the other events. */
static const struct rate rate_event_rate = {
	.interval_ns = 5 * MILLISECOND,
	.tolerance_ns = 199 * 5 * MILLISECOND,
};
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

#endif
