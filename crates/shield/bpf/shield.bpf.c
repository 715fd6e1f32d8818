// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The shield: judges every packet of an interface before the machine sees it. judge() is the
 * whole policy; what it asks is in parse.h (what is this?), lists.h (allowed? banned?), limits.h
 * (too much?) and scan.h (a scanner?). Unknown and unreadable packets pass and are counted.
 *
 * Written for the verifier of Linux 6.1: a table index is masked as a whole, and loops over
 * payload keep their state in map memory.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "judgement.h"
#include "limits.h"
#include "lists.h"
#include "parse.h"
#include "report.h"
#include "scan.h"

#define COPY_BLOCK 64

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
		return over_fragment_rate(this) ? RATE_UNKNOWN : LATER_FRAGMENT;
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
	if (this.packet->fragment == FIRST_FRAGMENT && !dropped)
		remember_first_fragment(&this);

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
