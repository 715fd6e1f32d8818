/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* What the daemon is told of. */
#ifndef SIPWARD_REPORT_H
#define SIPWARD_REPORT_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "judgement.h"
#include "limits.h"
#include "rate.h"

/* Events beyond this rate are left out: a flood must not become a flood of events. */
static const struct rate event_rate = {
	.interval_ns = MILLISECOND,
	.tolerance_ns = 1023 * MILLISECOND,
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1048576);
} events SEC(".maps");

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

#endif
