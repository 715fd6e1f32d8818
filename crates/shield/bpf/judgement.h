/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* What is known of a packet while it is judged. */
#ifndef SIPWARD_JUDGEMENT_H
#define SIPWARD_JUDGEMENT_H

#include <linux/types.h>
#include <stdbool.h>

#include "abi.h"
#include "parse.h"
#include "scan.h"

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

/* A source is an IPv4 address or an IPv6 /64. */
static __always_inline struct address source_of(const struct packet *packet)
{
	struct address source = packet->source;

	if (!packet->ipv4)
		source.low = 0;
	return source;
}

#endif
