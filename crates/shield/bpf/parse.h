/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Frame to struct packet. A jumbo frame, or what generic mode hands over, is not in one piece, so
 * every header is read through load(). What is not understood is said, never guessed.
 * The twin is sipward-wire: the same bounds, the same order.
 */
#ifndef SIPWARD_PARSE_H
#define SIPWARD_PARSE_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

/* In the frame. The outermost tag may be beside it (skb->vlan_tci), where XDP in neither mode sees it:
 * of a network card that takes tags out, and of a veth whose sender leaves that to its card. So no
 * verdict may depend on a tag, and with the one beside there may be three. Shown on Linux 6.1 and 6.12
 * by crates/sipward/tests/conformance/stacked.rs. */
#define MAX_VLAN_TAGS 2
#define MAX_IPV6_EXTENSIONS 8
/* Beyond it the verifier refuses a direct access. */
#define LINEAR_MAX 0x7fff

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8

#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ROUTING 43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_AH 51
#define PROTOCOL_DESTINATION 60
#define PROTOCOL_MOBILITY 135
#define PROTOCOL_HIP 139
#define PROTOCOL_SHIM6 140

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

enum fragment { WHOLE, FIRST_FRAGMENT, LATER_FRAGMENT_OF };

struct packet {
	struct address source;
	struct address destination;
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 fragment;
	__u8 ipv4;
	__u8 tcp_flags;
	__u32 ip; /* offset in the frame */
	__u32 payload; /* offset in the frame */
	__u32 payload_len;
	__u32 ip_end; /* offset behind the IP packet, link padding left out */
};

/* How far the frame could be read: a banned source stays banned, whatever it writes behind its
 * address. */
enum parsed { PARSED_ALL, PARSED_ADDRESSES, PARSED_NOT_UNDERSTOOD, PARSED_NOT_IP };

/* A length from 1 to max, a power of two, in a form whose bounds the verifier of 6.1 sees: it
 * does not keep those of a comparison across the compiler's spills. */
static __always_inline __u32 provably_at_most(__u32 len, __u32 max)
{
	len--;
	barrier_var(len);
	return (len & (max - 1)) + 1;
}

#define COPY_BY(type, to, from, len)                                                              \
	for (__u32 i = 0; i < (len) / sizeof(type); i++)                                           \
	((type *)(to))[i] = ((const type *)(from))[i]

/* Copies an even number of bytes of the frame to where they are aligned, from its linear part where
 * they are there: a helper call costs as much as the rest of the parser. Of bytes whose alignment
 * it does not know clang would load each. */
static __always_inline int load(struct xdp_md *ctx, __u32 offset, void *to, __u32 len)
{
	const void *from = (void *)(long)ctx->data + offset;

	if (offset > LINEAR_MAX || from + len > (void *)(long)ctx->data_end)
		return bpf_xdp_load_bytes(ctx, offset, to, len);
	if (len % 8 == 0)
		COPY_BY(__u64, to, from, len);
	else if (len % 4 == 0)
		COPY_BY(__u32, to, from, len);
	else
		COPY_BY(__u16, to, from, len);
	return 0;
}

static __always_inline struct address mapped(__u32 ipv4)
{
	struct address address = {
		.high = 0,
		.low = (__u64)ipv4 << 32 | 0xffff0000,
	};
	return address;
}

static __always_inline int parse_ipv4(struct xdp_md *ctx, __u32 *offset, struct packet *packet)
{
	struct {
		__u8 version_ihl;
		__u8 tos;
		__be16 total_len;
		__be16 id;
		__be16 fragment;
		__u8 ttl;
		__u8 protocol;
		__be16 checksum;
		__be32 source;
		__be32 destination;
	} ip;

	if (load(ctx, *offset, &ip, sizeof(ip)))
		return -1;
	__u32 header_len = (ip.version_ihl & 0x0f) * 4;
	__u32 total_len = bpf_ntohs(ip.total_len);
	if (ip.version_ihl >> 4 != 4 || header_len < sizeof(ip))
		return -1;
	/* A segment train beyond 64 kB (BIG TCP) says 0: then it ends with the frame. */
	if (total_len == 0)
		total_len = bpf_xdp_get_buff_len(ctx) - *offset;
	if (total_len < header_len)
		return -1;

	packet->ipv4 = 1;
	packet->source = mapped(ip.source);
	packet->destination = mapped(ip.destination);
	packet->protocol = ip.protocol;
	packet->ip_end = *offset + total_len;
	if (bpf_ntohs(ip.fragment) & 0x1fff)
		packet->fragment = LATER_FRAGMENT_OF;
	else if (bpf_ntohs(ip.fragment) & 0x2000)
		packet->fragment = FIRST_FRAGMENT;
	*offset += header_len;
	return 0;
}

static __always_inline int parse_ipv6(struct xdp_md *ctx, __u32 *offset, struct packet *packet)
{
	struct {
		__be32 version;
		__be16 payload_len;
		__u8 next;
		__u8 hop_limit;
		struct address source;
		struct address destination;
	} ip;

	if (load(ctx, *offset, &ip, sizeof(ip)))
		return -1;
	if (bpf_ntohl(ip.version) >> 28 != 6)
		return -1;
	/* RFC 4291 section 2.5.5.2: never on the wire. Taken for the IPv4 address it spells, it would
	 * get that one banned. */
	if (!ip.source.high && (__u32)ip.source.low == 0xffff0000)
		return -1;
	packet->source = ip.source;
	packet->destination = ip.destination;
	*offset += sizeof(ip);
	packet->protocol = ip.next;
	/* A jumbogram says 0: the caller then lets it end with the frame. */
	packet->ip_end = ip.payload_len ? *offset + bpf_ntohs(ip.payload_len) : 0;
	return 0;
}

/* Follows the headers from packet->protocol at packet->payload on, and leaves there where they end.
 * Between two of them both are in memory: the verifier would follow every sum of lengths, and need
 * 166,000 instructions for that. */
static __always_inline int parse_extensions(struct xdp_md *ctx, struct packet *packet)
{
	/* Once more than there may be extensions, to see what follows the last. */
#pragma clang loop unroll(disable)
	for (int i = 0; i <= MAX_IPV6_EXTENSIONS; i++) {
		struct {
			__u8 next;
			__u8 len;
			__be16 fragment;
		} extension __attribute__((aligned(4)));
		__u32 offset = *(volatile __u32 *)&packet->payload;

		switch (*(volatile __u8 *)&packet->protocol) {
		case PROTOCOL_HOP_BY_HOP:
		case PROTOCOL_ROUTING:
		case PROTOCOL_DESTINATION:
		case PROTOCOL_MOBILITY:
		case PROTOCOL_HIP:
		case PROTOCOL_SHIM6:
			if (load(ctx, offset, &extension, sizeof(extension)))
				return -1;
			offset += (extension.len + 1) * 8;
			break;
		case PROTOCOL_AH:
			if (load(ctx, offset, &extension, sizeof(extension)))
				return -1;
			offset += (extension.len + 2) * 4;
			break;
		case PROTOCOL_FRAGMENT:
			if (load(ctx, offset, &extension, sizeof(extension)))
				return -1;
			offset += 8;
			if (bpf_ntohs(extension.fragment) & 0xfff8) {
				packet->fragment = LATER_FRAGMENT_OF;
				packet->protocol = extension.next;
				return 0;
			}
			if (bpf_ntohs(extension.fragment) & 1)
				packet->fragment = FIRST_FRAGMENT;
			break;
		default:
			return 0;
		}
		*(volatile __u32 *)&packet->payload = offset;
		*(volatile __u8 *)&packet->protocol = extension.next;
	}
	return -1;
}

/* Where the IP packet ends in this frame. */
static __always_inline __u32 packet_end(struct xdp_md *ctx, __u32 ip_end)
{
	__u32 len = (void *)(long)ctx->data_end - (void *)(long)ctx->data;

	/* Only what ends behind the linear part is worth a call. */
	if (ip_end <= len)
		return ip_end;
	len = bpf_xdp_get_buff_len(ctx);
	return ip_end < len ? ip_end : len;
}

/* Ports and payload. A first fragment may end within the TCP header: it then has ports and no
 * payload, so that the policy can judge it as too short. */
static __always_inline int parse_transport(struct xdp_md *ctx, __u32 offset,
					   struct packet *packet)
{
	__be16 ports[2] __attribute__((aligned(4)));
	__u32 end = packet_end(ctx, packet->ip_end);

	if (packet->fragment == LATER_FRAGMENT_OF)
		return 0;
	if (packet->protocol != PROTOCOL_UDP && packet->protocol != PROTOCOL_TCP)
		return 0;
	if (offset + sizeof(ports) > end || load(ctx, offset, ports, sizeof(ports)))
		return -1;
	packet->source_port = bpf_ntohs(ports[0]);
	packet->destination_port = bpf_ntohs(ports[1]);

	if (packet->protocol == PROTOCOL_UDP) {
		__be16 udp_len;

		if (offset + 8 > end || load(ctx, offset + 4, &udp_len, sizeof(udp_len)))
			return -1;
		__u32 said = bpf_ntohs(udp_len);
		packet->payload = offset + 8;
		packet->payload_len = end - packet->payload;
		/* A jumbogram says 0; a fragmented datagram says more than this frame holds. */
		if (said && said < 8)
			return -1;
		if (said && said - 8 < packet->payload_len)
			packet->payload_len = said - 8;
		return 0;
	}

	struct {
		__u8 data_offset;
		__u8 flags;
	} tcp;
	if (offset + 20 > end || load(ctx, offset + 12, &tcp, sizeof(tcp)))
		return packet->fragment == FIRST_FRAGMENT ? 0 : -1;
	__u32 header_len = (tcp.data_offset >> 4) * 4;
	if (header_len < 20)
		return -1;
	packet->tcp_flags = tcp.flags;
	packet->payload = offset + header_len;
	packet->payload_len = packet->payload < end ? end - packet->payload : 0;
	return 0;
}

/* A function of its own to the verifier, which else multiplies the ways through the headers with
 * all that follows: one million instructions were too few on 6.1. */
__noinline int parse(struct xdp_md *ctx, struct packet *packet)
{
	if (!packet)
		return PARSED_NOT_UNDERSTOOD;

	__u32 offset = 12;
	__be16 ethertype;

	if (load(ctx, offset, &ethertype, sizeof(ethertype)))
		return PARSED_NOT_UNDERSTOOD;
	offset += sizeof(ethertype);
	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		if (ethertype != bpf_htons(ETHERTYPE_VLAN) &&
		    ethertype != bpf_htons(ETHERTYPE_QINQ))
			break;
		if (load(ctx, offset + 2, &ethertype, sizeof(ethertype)))
			return PARSED_NOT_UNDERSTOOD;
		offset += 4;
	}

	packet->ip = offset;
	switch (ethertype) {
	case bpf_htons(ETHERTYPE_IPV4):
		if (parse_ipv4(ctx, &offset, packet))
			return PARSED_NOT_UNDERSTOOD;
		break;
	case bpf_htons(ETHERTYPE_IPV6):
		if (parse_ipv6(ctx, &offset, packet))
			return PARSED_NOT_UNDERSTOOD;
		if (!packet->ip_end)
			packet->ip_end = bpf_xdp_get_buff_len(ctx);
		packet->payload = offset;
		if (parse_extensions(ctx, packet))
			return PARSED_ADDRESSES;
		offset = packet->payload;
		break;
	default:
		return PARSED_NOT_IP;
	}
	return parse_transport(ctx, offset, packet) ? PARSED_ADDRESSES : PARSED_ALL;
}

#endif
