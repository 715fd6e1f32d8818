/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Token buckets in one word each (GCRA): the word is the time at which the next token would be
 * due if every packet so far had come on time. */
#ifndef SIPWARD_RATE_H
#define SIPWARD_RATE_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

#define RATE_RETRIES 4

/* Takes a token; true where there is none left. Several CPUs race by compare-and-swap; who loses
 * every try passes, since a packet dropped wrongly is worse than one that slips through. */
static __always_inline int over_rate(__u64 *due_ns, const struct rate *rate, __u64 now)
{
	for (int i = 0; i < RATE_RETRIES; i++) {
		__u64 seen = *(volatile __u64 *)due_ns;
		__u64 due = seen > now ? seen : now;

		/* A debt beyond what this rate allows was made under another one. */
		if (due - now > rate->tolerance_ns + rate->interval_ns)
			due = now + rate->tolerance_ns;
		if (due - now > rate->tolerance_ns)
			return 1;
		if (__sync_val_compare_and_swap(due_ns, seen, due + rate->interval_ns) == seen)
			return 0;
	}
	return 0;
}

#endif
