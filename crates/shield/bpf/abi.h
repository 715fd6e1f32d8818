/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the kernel program and its loader (src/abi.rs) both know. Every struct is free of implicit
 * padding; the sizes are asserted here and there. Pinned maps of another shape are made anew; a change
 * of what is in them that leaves their shape is a new LAYOUT.
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
/* Bytes of one IP packet that an event carries for an ICMP error to quote: the header and 8 more. */
#define QUOTE_LEN 48
/* Bytes that a first fragment to a protected port must bring to be taken from a stranger. */
#define FIRST_FRAGMENT_MIN 256

/* Refused packets that are remembered in one place. */
#define REFUSALS_HELD 4

/* A row is named by its place in units of so many bytes; a cell is the row entered. */
#define ROW_UNIT 128
#define TABLE_CELLS (65536u * ROW_UNIT / 2)
/* Offsets of columns are below this, in bytes. */
#define COLUMNS_MASK 1023
#define SIGNATURES_MAX 8192

/* In a row's info: slot + 1 of the signature that entering it completes; */
#define INFO_SLOT 0xffffull
/* nearly every byte leads back to it: all but control bytes below 16 and, in either case, */
#define INFO_SKIP (1ull << 16)
/* the two bytes from this bit on, 0 for none; */
#define INFO_EXITS 32
/* the headers have ended. */
#define INFO_END (1ull << 17)

/* What is listed of an IPv4 /24 or an IPv6 /48. */
#define LISTED_ALLOWED 1
#define LISTED_BANNED 2
#define LISTED_PORT_BANNED 4
#define LISTED_PREFIX_BANNED 8
#define LISTED_TRUSTED 16
/* Networks are told apart by so many bits, in blocks of so many bytes. */
#define LISTED_BITS 20
#define LISTED_BLOCK 256

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
	__u32 observe;
	__u32 reject; /* what is over the bucket sip is told with a quote */
	__u8 udp[65536];
	__u8 tcp[65536];
};

/* Which of the two policies and of the two tables is in force. */
struct active {
	__u32 policy;
	__u32 tables;
	__u32 listed; /* flags that hold for every network: a prefix is too wide to mark each */
	__u32 reserved;
};

/* Flags of networks, by a hash of theirs: none set says that no lookup there finds anything. They
 * are set before an entry is made and cleared after it is gone. */
struct listed {
	__u8 flags[LISTED_BLOCK];
};

/* The automaton that sipward-signature compiles, laid out by src/automaton.rs. */
struct tables {
	__u16 start; /* the row to begin with */
	__u16 special; /* rows below this one have an info that is not zero */
	__u16 eof; /* the column taken at the end of a payload that was seen to its end */
	__u16 info; /* the column of the info, 64 bits */
	__u32 generation;
	__u32 reserved;
	__u8 classes[256]; /* byte to column */
	__u8 confidence[SIGNATURES_MAX];
	/* The last row may have its columns behind the last unit. */
	__u16 cells[TABLE_CELLS + (COLUMNS_MASK + 1) / 2];
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

/* What is remembered of a source: the buckets' theoretical arrival times, when it was last seen to
 * retransmit what the common bucket had refused, when drops for its rate were last told, and the
 * packets since. */
struct source {
	__u64 requests_ns;
	__u64 responses_ns;
	__u64 retransmitted_ns;
	__u64 told_ns;
	__u32 passed;
	__u32 dropped;
};

/* Packets that were refused: which and when, the latest first. */
struct refusals {
	__u32 at[REFUSALS_HELD];
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
	/* Packets of the source since the last event of this reason: dropped, this one included, and
	 * passed. */
	__u32 count;
	__u32 passed;
	__u32 quote_len; /* 0: nothing is to be rejected */
	__u32 ip_len; /* of the packet, where there is a quote */
	__u8 quote[QUOTE_LEN];
	__u8 sample[SAMPLE_MAX];
};

_Static_assert(sizeof(struct policy) == 5 * 16 + 8 + 2 * 65536, "policy");
_Static_assert(sizeof(struct active) == 16, "active");
_Static_assert(sizeof(struct listed) == LISTED_BLOCK, "listed");
_Static_assert(sizeof(struct tables) ==
		       16 + 256 + SIGNATURES_MAX + 2 * TABLE_CELLS + COLUMNS_MASK + 1,
	       "tables");
_Static_assert(sizeof(struct ban_key) == 24, "ban_key");
_Static_assert(sizeof(struct prefix4) == 8, "prefix4");
_Static_assert(sizeof(struct prefix6) == 20, "prefix6");
_Static_assert(sizeof(struct ban) == 40, "ban");
_Static_assert(sizeof(struct source) == 40, "source");
_Static_assert(sizeof(struct refusals) == 16, "refusals");
_Static_assert(sizeof(struct connection) == 32, "connection");
_Static_assert(sizeof(struct count) == 16, "count");
_Static_assert(sizeof(struct event) == 80 + QUOTE_LEN + SAMPLE_MAX, "event");

#endif
