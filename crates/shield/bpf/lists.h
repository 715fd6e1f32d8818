/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Who is allowed and who is banned. */
#ifndef SIPWARD_LISTS_H
#define SIPWARD_LISTS_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "judgement.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, (1 << LISTED_BITS) / LISTED_BLOCK);
	__type(key, __u32);
	__type(value, struct listed);
} listed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix4);
	__type(value, __u64);
} allowed4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix6);
	__type(value, __u64);
} allowed6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ban_key);
	__type(value, struct ban);
} bans SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix4);
	__type(value, struct ban);
} prefix_bans4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix6);
	__type(value, struct ban);
} prefix_bans6 SEC(".maps");

/* What may be listed of the source's network: a lookup that cannot find anything is not made. */
static __always_inline __u32 listed_of(const struct judgement *this)
{
	const struct address *source = &this->packet->source;
	__u64 network = this->packet->ipv4 ? source->low >> 32 & 0xffffff :
					    source->high & 0xffffffffffff;
	__u32 hash = network * 0x9e3779b97f4a7c15ull >> (64 - LISTED_BITS);
	__u32 block = hash / LISTED_BLOCK;
	const struct listed *flags = bpf_map_lookup_elem(&listed, &block);

	if (!flags)
		return ~0u;
	return flags->flags[hash % LISTED_BLOCK] | this->active->listed;
}

static __always_inline bool is_allowed(const struct judgement *this)
{
	const struct packet *packet = this->packet;

	if (!(this->listed & LISTED_ALLOWED))
		return false;
	if (packet->ipv4) {
		struct prefix4 key = { .prefix_len = 32 };

		__builtin_memcpy(key.address, (__u8 *)&packet->source + 12, 4);
		return bpf_map_lookup_elem(&allowed4, &key) != NULL;
	}
	struct prefix6 key = { .prefix_len = 128 };

	__builtin_memcpy(key.address, &packet->source, 16);
	return bpf_map_lookup_elem(&allowed6, &key) != NULL;
}

static __always_inline bool in_force(struct ban *ban, const struct judgement *this)
{
	if (!ban)
		return false;
	__u64 now = bpf_ktime_get_boot_ns();

	if (now >= ban->all_until_ns && (now >= ban->sip_until_ns || this->class == CLASS_NONE ||
					 this->class == CLASS_SSH))
		return false;
	__sync_fetch_and_add(&ban->dropped, 1);
	return true;
}

static __always_inline bool is_banned(const struct judgement *this)
{
	const struct packet *packet = this->packet;
	struct ban_key key = { .address = packet->source, .prefix_len = 128 };

	if (this->listed & LISTED_BANNED && in_force(bpf_map_lookup_elem(&bans, &key), this))
		return true;
	if (this->listed & LISTED_PORT_BANNED && packet->source_port) {
		key.port = packet->source_port;
		if (in_force(bpf_map_lookup_elem(&bans, &key), this))
			return true;
		key.port = 0;
	}
	if (this->listed & LISTED_BANNED && !packet->ipv4) {
		key.address.low = 0;
		key.prefix_len = 64;
		if (in_force(bpf_map_lookup_elem(&bans, &key), this))
			return true;
	}
	if (!(this->listed & LISTED_PREFIX_BANNED))
		return false;
	if (packet->ipv4) {
		struct prefix4 prefix = { .prefix_len = 32 };

		__builtin_memcpy(prefix.address, (__u8 *)&packet->source + 12, 4);
		return in_force(bpf_map_lookup_elem(&prefix_bans4, &prefix), this);
	}
	struct prefix6 prefix = { .prefix_len = 128 };

	__builtin_memcpy(prefix.address, &packet->source, 16);
	return in_force(bpf_map_lookup_elem(&prefix_bans6, &prefix), this);
}

#endif
