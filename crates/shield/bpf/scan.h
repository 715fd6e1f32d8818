/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Walks a payload through the automaton of struct tables. All that is particular to SIP (line
 * ends, folds, names, values) is in the table, so that this walker and its twin in Rust
 * (sipward-signature, Tables::scan) can be compared at a glance. What this one has more is a short
 * cut: from a row that nearly every byte leads back to, it goes to the next byte that may not.
 *
 * Between the steps offset and row are in map memory: held on the stack or in registers all the
 * way, the verifier follows every value they can take and gives up ("sequence of 8193 jumps is too
 * complex" on 6.18).
 */
#ifndef SIPWARD_SCAN_H
#define SIPWARD_SCAN_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "parse.h"

/* A segment takes so many bytes through the automaton, and then looks over so many words. */
#define SEGMENT_BYTES 16
#define SEGMENT_WORDS 16
/* Where returns are made safe against speculation each costs as much as ten bytes, so a step is
 * many segments. */
#define SEGMENTS_PER_STEP 32
/* A segment takes one byte at least. */
#define MAX_STEPS (SCAN_MAX / SEGMENTS_PER_STEP)

#define EVERY_BYTE(byte) (0x0101010101010101ull * (byte))

/* What the verifier had better not follow. */
struct scan {
	struct packet packet;
	__u32 dropped; /* of a source over its rate, since that was last told; 0: nothing to tell */
	__u32 passed;
	__u32 offset;
	__u32 len;
	__u16 row;
	__u16 signature; /* slot + 1 of the hit */
	__u16 stream; /* TCP: another message may follow */
	__u16 trusted;
	/* A segment may look beyond the payload. */
	__u8 payload[SCAN_MAX + 8 * SEGMENT_WORDS];
};

struct walk {
	struct scan *scan;
	const struct tables *tables;
};

static __always_inline const void *cells_of(const struct tables *tables, __u16 row)
{
	return (const void *)tables->cells + (__u64)row * ROW_UNIT;
}

static __always_inline __u16 next(const struct tables *tables, __u16 row, __u8 byte)
{
	/* Column before row: the column does not wait for the cell before. */
	const void *column = (const void *)tables->cells + 2 * tables->classes[byte];

	barrier_var(column);
	return *(const __u16 *)(column + (__u64)row * ROW_UNIT);
}

/* The number of bytes before the first one that may lead out of a row, at most a segment's words.
 * Those are control bytes and, unless the line is lost, the row's two, in either case. */
static __always_inline __u32 bytes_to_skip(const __u8 *from, __u64 info, bool lost)
{
	__u64 one = EVERY_BYTE(info >> INFO_EXITS & 0xff);
	__u64 other = EVERY_BYTE(info >> (INFO_EXITS + 8) & 0xff);

#pragma unroll
	for (int i = 0; i < SEGMENT_WORDS; i++) {
		__u64 word = ((const __u64 *)from)[i];
		/* The high bit of each byte below the one subtracted, exact up to the first. */
		__u64 exits = word - EVERY_BYTE(0x10);

		if (!lost) {
			__u64 folded = word | EVERY_BYTE(0x20);

			exits |= (folded ^ one) - EVERY_BYTE(1);
			exits |= (folded ^ other) - EVERY_BYTE(1);
		}
		exits &= ~word & EVERY_BYTE(0x80);
		if (exits) {
			/* A byte 0x01 for each byte before the first, and their sum. */
			exits = (((exits & -exits) >> 7) - 1) & EVERY_BYTE(1);
			return 8 * i + (exits * EVERY_BYTE(1) >> 56);
		}
	}
	return 8 * SEGMENT_WORDS;
}

static __always_inline __u64 info_of(const struct tables *tables, __u16 row)
{
	return *(const __u64 *)(cells_of(tables, row) + (tables->info & COLUMNS_MASK));
}

/* Whether the walk ends at a row with this info. */
static __always_inline bool ends(struct scan *scan, const struct tables *tables, __u64 info)
{
	__u16 signature = info & INFO_SLOT;

	/* A login of this source speaks against a signature that genuine devices send. */
	if (signature &&
	    (!scan->trusted ||
	     tables->confidence[(signature - 1) & (SIGNATURES_MAX - 1)] == CERTAIN)) {
		scan->signature = signature;
		return true;
	}
	return info & INFO_END && !scan->stream;
}

/* Feeds bytes up to a row that wants attention, and skips what leads back to that. Returns true
 * where the walk is at its end. */
static __always_inline bool segment(struct scan *scan, const struct tables *tables, __u32 *offset,
				    __u16 *row)
{
	const __u8 *from = scan->payload + (*offset & (SCAN_MAX - 1));
	__u32 left = scan->len - *offset;
	__u32 fed = 0;

#pragma unroll
	for (int i = 0; i < SEGMENT_BYTES; i++) {
		*row = next(tables, *row, from[i]);
		fed = i + 1;
		if (*row < tables->special || fed >= left)
			break;
	}
	*offset += fed;
	if (*row < tables->special) {
		__u64 info = info_of(tables, *row);

		from = scan->payload + (*offset & (SCAN_MAX - 1));
		if (info & INFO_SKIP)
			*offset += info >> INFO_EXITS ? bytes_to_skip(from, info, false) :
							bytes_to_skip(from, info, true);
		else if (ends(scan, tables, info))
			return true;
	}
	return *offset >= scan->len;
}

static long step(__u32 index, struct walk *walk)
{
	struct scan *scan = walk->scan;
	__u32 offset = scan->offset;
	__u16 row = scan->row;
	bool over = false;

#pragma clang loop unroll(disable)
	for (int i = 0; i < SEGMENTS_PER_STEP && !over; i++)
		over = segment(scan, walk->tables, &offset, &row);
	scan->offset = offset;
	scan->row = row;
	return over;
}

/* Scans scan->payload; whole says that the message ends with it. True where a signature hit. */
static __always_inline bool scan_payload(struct scan *scan, const struct tables *tables, bool whole)
{
	struct walk walk = { .scan = scan, .tables = tables };

	scan->offset = 0;
	scan->row = tables->start;
	scan->signature = 0;
	bpf_loop(MAX_STEPS, step, &walk, 0);
	if (!scan->signature && whole && scan->offset >= scan->len) {
		const void *column = cells_of(tables, scan->row) + (tables->eof & COLUMNS_MASK);
		__u16 last = *(const __u16 *)column;

		if (last < tables->special)
			ends(scan, tables, info_of(tables, last));
	}
	return scan->signature != 0;
}

#endif
