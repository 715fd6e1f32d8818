/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the kernel program and its loader (src/abi.rs) both know. Every struct is free of implicit
 * padding; the sizes are asserted here and there. A change of any of them is a new LAYOUT.
 */
#ifndef SIPWARD_ABI_H
#define SIPWARD_ABI_H

#include <linux/types.h>

/* Names the folder of the pins, so that a program never meets a map of another shape. */
#define LAYOUT 1

/* Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d. Ports and lengths are in host order. */
#define ADDRESS_LEN 16

/* Bytes of one payload that are scanned; the tap behind the shield reads what is beyond. */
#define SCAN_MAX 2048
/* Bytes of one payload that an event carries. */
#define SAMPLE_MAX 512
/* Bytes that a first fragment to a protected port must bring to be taken from a stranger. */
#define FIRST_FRAGMENT_MIN 256

#define TABLE_CELLS (1u << 20)
#define SIGNATURES_MAX 8192

#define CELL_SPECIAL (1u << 31)
#define INFO_SLOT 0xffffu
#define INFO_DEAD (1u << 16)
#define INFO_END (1u << 17)

enum reason {
	NOT_IP,
	NOT_UNDERSTOOD,
	ALLOWED,
	NOT_PROTECTED,
	LATER_FRAGMENT,
	CLEAN,
	CLEAN_LONG,
	BANNED,
	TRIPWIRE,
	RATE,
	RATE_UNKNOWN,
	TINY_FRAGMENT,
	SIGNATURE,
	REASONS,
};

enum port_class {
	CLASS_NONE,
	CLASS_SIP,
	CLASS_SIP_OPAQUE,
	CLASS_SSH,
	CLASS_TRIPWIRE,
};

enum confidence {
	CERTAIN,
	LIKELY,
	SHARED,
};

struct address {
	__u64 high;
	__u64 low;
};

/* A token bucket as GCRA: one token each interval, tolerance = (burst - 1) * interval. */
struct rate {
	__u64 interval_ns;
	__u64 tolerance_ns;
};

/* Everything that an administrator sets, in one value, so that it is swapped as one. */
struct policy {
	struct rate sip;
	struct rate responses;
	struct rate unknown;
	struct rate trusted;
	struct rate ssh;
	__u64 observe;
	__u8 udp[65536];
	__u8 tcp[65536];
};

/* Which of the two policies and of the two tables is in force, and which lookups are worth it. */
struct active {
	__u32 policy;
	__u32 tables;
	__u32 port_bans;
	__u32 prefix_bans;
};

/* The automaton that sipward-signature compiles; src/tables.rs there says how it is walked. */
struct tables {
	__u32 start;
	__u32 eof;
	__u32 info;
	__u32 generation;
	__u8 classes[256];
	__u8 confidence[SIGNATURES_MAX];
	__u32 cells[TABLE_CELLS];
};

struct ban_key {
	struct address address;
	__u16 port; /* 0: every port */
	__u8 prefix_len; /* 128, or 64 for an IPv6 network */
	__u8 reserved;
	__u32 reserved2;
};

struct prefix4 {
	__u32 prefix_len;
	__u8 address[4];
};

struct prefix6 {
	__u32 prefix_len;
	__u8 address[16];
};

/* Ends in boot time; 0: no ban of this scope. A trie answers with the longest prefix only, so the
 * first two are the latest ends of this prefix and of all that cover it; the own ones are for
 * the loader. */
struct ban {
	__u64 all_until_ns;
	__u64 sip_until_ns;
	__u64 own_all_until_ns;
	__u64 own_sip_until_ns;
	__u64 dropped;
};

/* What is remembered of a source: the buckets' theoretical arrival times, and when it was last
 * seen to retransmit what the common bucket had refused. */
struct source {
	__u64 requests_ns;
	__u64 responses_ns;
	__u64 retransmitted_ns;
};

/* A packet that the common bucket refused. Many phones may be behind one source. */
struct refusal {
	struct address source;
	__u64 hash;
};

struct connection {
	struct address source;
	struct address destination;
};

struct count {
	__u64 passed;
	__u64 dropped;
};

struct event {
	__u64 at_ns;
	struct address source;
	struct address destination;
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 reason;
	__u8 dropped;
	__u8 reserved;
	__u32 payload_len;
	__u32 sample_len;
	__u32 signature; /* slot + 1; 0: none */
	__u32 generation;
	__u8 sample[SAMPLE_MAX];
};

_Static_assert(sizeof(struct policy) == 5 * 16 + 8 + 2 * 65536, "policy");
_Static_assert(sizeof(struct active) == 16, "active");
_Static_assert(sizeof(struct tables) == 16 + 256 + SIGNATURES_MAX + 4 * TABLE_CELLS, "tables");
_Static_assert(sizeof(struct ban_key) == 24, "ban_key");
_Static_assert(sizeof(struct prefix4) == 8, "prefix4");
_Static_assert(sizeof(struct prefix6) == 20, "prefix6");
_Static_assert(sizeof(struct ban) == 40, "ban");
_Static_assert(sizeof(struct source) == 24, "source");
_Static_assert(sizeof(struct refusal) == 24, "refusal");
_Static_assert(sizeof(struct connection) == 32, "connection");
_Static_assert(sizeof(struct count) == 16, "count");
_Static_assert(sizeof(struct event) == 64 + SAMPLE_MAX, "event");

#endif
