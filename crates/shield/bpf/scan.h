/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Walks a payload through the automaton of struct tables. All that is particular to SIP (line
 * ends, folds, names, values) is in the table, so that this walker and its twin in Rust
 * (sipward-signature, Tables::scan) can be compared at a glance.
 *
 * Offset and row are kept in map memory between the steps: held in registers or on the stack, the
 * verifier follows every value they can take and gives up ("sequence of 8193 jumps is too
 * complex" on 6.18).
 */
#ifndef SIPWARD_SCAN_H
#define SIPWARD_SCAN_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

#define BYTES_PER_RUN 16
#define RUNS_PER_STEP 8
#define WORDS_PER_SKIP 8
/* A byte can cost a run that leaves the line and a run that finds its end at once. */
#define MAX_STEPS (2 * SCAN_MAX / RUNS_PER_STEP)

#define EVERY_BYTE(byte) (0x0101010101010101ull * (byte))

struct scan {
	__u32 offset;
	__u32 len;
	__u32 row;
	__u32 skipping; /* to the next CR or LF */
	__u32 stream; /* TCP: another message may follow */
	__u32 trusted;
	__u32 signature; /* slot + 1 of the hit */
	__u32 reserved;
	/* The last word may reach beyond the payload. */
	__u8 payload[SCAN_MAX + 8];
};

struct walk {
	struct scan *scan;
	const struct tables *tables;
};

static __always_inline __u32 cell(const struct tables *tables, __u32 index)
{
	return tables->cells[index & (TABLE_CELLS - 1)];
}

/* High bit of each byte of the word that is zero, exact up to and with the first such byte. */
static __always_inline __u64 zero_bytes(__u64 word)
{
	return (word - EVERY_BYTE(0x01)) & ~word & EVERY_BYTE(0x80);
}

/* Moves to the next CR or LF, at most 64 bytes a step. */
static __always_inline void skip_line(struct scan *scan)
{
	__u32 offset = scan->offset;
	__u64 found = 0;

	for (int i = 0; i < WORDS_PER_SKIP; i++) {
		__u64 word = *(__u64 *)(scan->payload + (offset & (SCAN_MAX - 1)));

		found = zero_bytes(word ^ EVERY_BYTE('\n')) | zero_bytes(word ^ EVERY_BYTE('\r'));
		if (found)
			break;
		offset += 8;
		if (offset >= scan->len)
			break;
	}
	if (found) {
		if (!(found & 0xffffffff)) {
			offset += 4;
			found >>= 32;
		}
		if (!(found & 0xffff)) {
			offset += 2;
			found >>= 16;
		}
		if (!(found & 0xff))
			offset += 1;
		scan->skipping = 0;
	}
	scan->offset = offset;
}

/* A row that wants attention was entered: true ends the walk. */
static __always_inline int arrived(struct scan *scan, const struct tables *tables, __u32 row)
{
	__u32 info = cell(tables, row + tables->info);
	__u32 signature = info & INFO_SLOT;

	if (signature) {
		/* A login of this source speaks against a signature that genuine devices send. */
		if (!scan->trusted ||
		    tables->confidence[(signature - 1) & (SIGNATURES_MAX - 1)] == CERTAIN) {
			scan->signature = signature;
			return 1;
		}
	}
	if (info & INFO_END && !scan->stream)
		return 1;
	scan->skipping = !!(info & INFO_DEAD);
	return 0;
}

/* Feeds one byte; true where the row it leads to wants attention. */
static __always_inline int feed(const struct scan *scan, const struct tables *tables, __u32 offset,
				__u32 *row)
{
	__u8 byte = scan->payload[offset & (SCAN_MAX - 1)];

	/* The mark stays in the row: the mask of the next index takes it off, one step cheaper. */
	*row = cell(tables, *row + tables->classes[byte]);
	return *row & CELL_SPECIAL ? 1 : 0;
}

/* A run of bytes, or the way to the end of a line; true where the walk is at its end. */
static __always_inline int advance(struct scan *scan, const struct tables *tables)
{
	if (scan->skipping) {
		skip_line(scan);
		return scan->offset >= scan->len;
	}

	__u32 offset = scan->offset;
	__u32 row = scan->row;
	int special = 0;

	if (scan->len - offset < BYTES_PER_RUN) {
		special = feed(scan, tables, offset++, &row);
	} else {
#pragma unroll
		for (int i = 0; i < BYTES_PER_RUN; i++) {
			special = feed(scan, tables, offset++, &row);
			if (special)
				break;
		}
	}
	scan->row = row;
	scan->offset = offset;
	return (special && arrived(scan, tables, row)) || offset >= scan->len;
}

/* Where returns are made safe against speculation, each costs as much as ten bytes: so a step is
 * several runs. */
static long step(__u32 index, struct walk *walk)
{
	for (int i = 0; i < RUNS_PER_STEP; i++) {
		if (advance(walk->scan, walk->tables))
			return 1;
	}
	return 0;
}

/* Scans scan->payload; whole says that the message ends with it. True where a signature hit. */
static __always_inline int scan_payload(struct scan *scan, const struct tables *tables, int whole)
{
	struct walk walk = { .scan = scan, .tables = tables };

	scan->offset = 0;
	scan->row = tables->start;
	scan->skipping = 0;
	scan->signature = 0;
	bpf_loop(MAX_STEPS, step, &walk, 0);
	if (!scan->signature && whole && scan->offset >= scan->len) {
		__u32 last = cell(tables, scan->row + tables->eof);

		if (last & CELL_SPECIAL)
			arrived(scan, tables, last);
	}
	return scan->signature != 0;
}

#endif
