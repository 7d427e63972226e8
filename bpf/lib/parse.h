/* SPDX-License-Identifier: GPL-2.0-only */
/* Frame -> struct fl_packet. Pure: reads the packet through the cursor and
 * nothing else.
 */
#ifndef FAIRLEAD_BPF_LIB_PARSE_H_
#define FAIRLEAD_BPF_LIB_PARSE_H_

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "bpf/abi/flow_table.h"
#include "bpf/lib/addr.h"
#include "bpf/lib/cursor.h"

#define FL_IPPROTO_HOPOPTS 0
#define FL_IPPROTO_ICMP 1
#define FL_IPPROTO_ROUTING 43
#define FL_IPPROTO_FRAGMENT 44
#define FL_IPPROTO_ICMPV6 58
#define FL_IPPROTO_DSTOPTS 60

#define FL_TCP_FIN 0x01
#define FL_TCP_SYN 0x02
#define FL_TCP_RST 0x04
#define FL_TCP_ACK 0x10
#define FL_TCP_FLAGS_OFFSET 13

/* Extension headers that are walked; a packet with more is nobody's. */
#define FL_IPV6_EXT_MAX 6
/* Tags in the frame; a frame with more is nobody's. */
#define FL_VLAN_MAX 2

enum fl_packet_kind {
	FL_PACKET_OTHER = 0,	  /* nothing that is ever translated */
	FL_PACKET_FLOW = 1,	  /* TCP, UDP or SCTP, ports known */
	FL_PACKET_ICMP_ERROR = 2, /* about such a packet */
	FL_PACKET_FRAGMENT = 3,	  /* not the first: its id is in the ports */
	FL_PACKET_TRUNCATED = 4,  /* ends before what it should have */
};

/* `tuple` is what flows are looked up by (without the hook). An ICMP error
 * about packet P is treated like an answer to P, so its tuple is P's,
 * reversed. */
struct fl_packet {
	struct fl_flow_key tuple;
	__u16 l3_off;
	__u16 l4_off;
	__u16 inner_l3_off; /* ICMP errors: the packet in the packet */
	__u16 inner_l4_off;
	__u32 l3_len; /* the IP datagram's, as it says; 0: not said */
	__u8 kind;    /* enum fl_packet_kind */
	__u8 ipv6;
	__u8 tcp_flags; /* SCTP: what comes nearest */
	__u8 malformed; /* lengths contradict each other */
	/* Filled in on the way: where it goes; what the event record says. */
	__be16 to_port;
	__u8 masquerade; /* the source is to be translated, too */
	__u8 no_csum;	 /* UDP without a checksum */
	__u32 fragment_id;
	__u8 first_fragment; /* more of this datagram will come */
	__u8 pad;
	__sum16 ip_csum; /* IPv4: as it is in the header */
	__u32 service_id;
	struct fl_addr to; /* by words: fl_addr_copy() */
	__u32 backend_id;
	__u32 backend_generation;
	__u32 ifindex; /* the device's */
	__u32 pad2;
	__u64 hash; /* ingress: the tuple's, in the flow table */
};

static __always_inline __u32 fl_flags_open(__u8 tcp_flags)
{
	return (tcp_flags & (FL_TCP_SYN | FL_TCP_ACK | FL_TCP_RST)) ==
	       FL_TCP_SYN;
}

/* The first packet of a connection (a datagram is none). */
static __always_inline __u32 fl_is_opening(const struct fl_packet *pkt)
{
	return fl_flags_open(pkt->tcp_flags);
}

static __always_inline enum fl_packet_kind
fl_parse_ipv4(struct fl_cursor *cursor, struct fl_packet *pkt)
{
	const struct iphdr *ip =
		(const struct iphdr *)fl_cursor_take(cursor, sizeof(*ip));

	if (!ip)
		return FL_PACKET_TRUNCATED;
	if (ip->version != 4 || ip->ihl < 5)
		return FL_PACKET_OTHER;
	pkt->tuple.src = fl_addr_from_v4(ip->saddr);
	pkt->tuple.dst = fl_addr_from_v4(ip->daddr);
	pkt->tuple.proto = ip->protocol;
	pkt->l3_len = bpf_ntohs(ip->tot_len);
	pkt->ip_csum = ip->check;
	fl_cursor_skip(cursor, (ip->ihl - 5) * 4);
	if (fl_likely(!(ip->frag_off & bpf_htons(0x3fff))))
		return FL_PACKET_FLOW;
	pkt->fragment_id = ip->id;
	if (ip->frag_off & bpf_htons(0x1fff))
		return FL_PACKET_FRAGMENT;
	pkt->first_fragment = 1;
	return FL_PACKET_FLOW;
}

/* Walks to the transport header. */
static __always_inline enum fl_packet_kind
fl_parse_ipv6_ext(struct fl_cursor *cursor, struct fl_packet *pkt)
{
	const __u8 *ext;
	int i;

	for (i = 0; i < FL_IPV6_EXT_MAX; i++) {
		__u8 proto = pkt->tuple.proto;

		if (fl_likely(proto != FL_IPPROTO_HOPOPTS &&
			      proto != FL_IPPROTO_ROUTING &&
			      proto != FL_IPPROTO_DSTOPTS &&
			      proto != FL_IPPROTO_FRAGMENT))
			return FL_PACKET_FLOW;
		ext = (const __u8 *)fl_cursor_take(cursor, 8);
		if (!ext)
			return FL_PACKET_TRUNCATED;
		pkt->tuple.proto = ext[0];
		if (proto == FL_IPPROTO_FRAGMENT) {
			pkt->fragment_id = *(const __u32 *)(ext + 4);
			/* 13 bits of offset in units of 8 bytes, "more" */
			if (ext[2] || (ext[3] & 0xf8))
				return FL_PACKET_FRAGMENT;
			pkt->first_fragment = ext[3] & 1;
			continue;
		}
		fl_cursor_skip(cursor, ext[1] * 8);
	}
	return FL_PACKET_OTHER;
}

static __always_inline enum fl_packet_kind
fl_parse_ipv6(struct fl_cursor *cursor, struct fl_packet *pkt)
{
	const struct ipv6hdr *ip =
		(const struct ipv6hdr *)fl_cursor_take(cursor, sizeof(*ip));

	if (!ip)
		return FL_PACKET_TRUNCATED;
	if (ip->version != 6)
		return FL_PACKET_OTHER;
	__builtin_memcpy(&pkt->tuple.src, &ip->saddr, sizeof(pkt->tuple.src));
	__builtin_memcpy(&pkt->tuple.dst, &ip->daddr, sizeof(pkt->tuple.dst));
	pkt->tuple.proto = ip->nexthdr;
	if (ip->payload_len)
		pkt->l3_len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	return fl_parse_ipv6_ext(cursor, pkt);
}

static __always_inline enum fl_packet_kind
fl_parse_ip(struct fl_cursor *cursor, struct fl_packet *pkt)
{
	return pkt->ipv6 ? fl_parse_ipv6(cursor, pkt) :
			   fl_parse_ipv4(cursor, pkt);
}

static __always_inline enum fl_packet_kind
fl_parse_ports(struct fl_cursor *cursor, struct fl_packet *pkt)
{
	/* The ports are at the same place in every protocol that has them. */
	const __be16 *ports = (const __be16 *)fl_cursor_take(cursor, 8);

	if (!ports)
		return FL_PACKET_TRUNCATED;
	pkt->no_csum = pkt->tuple.proto == FL_IPPROTO_UDP && !ports[3];
	pkt->tuple.sport = ports[0];
	pkt->tuple.dport = ports[1];
	return FL_PACKET_FLOW;
}

static __always_inline __u32 fl_has_ports(__u8 proto)
{
	return proto == FL_IPPROTO_TCP || proto == FL_IPPROTO_UDP ||
	       proto == FL_IPPROTO_SCTP;
}

/* A packet's first chunk, as the TCP flags with the same part in the life of a
 * connection. */
static __always_inline __u8 fl_sctp_flags(__u8 chunk)
{
	switch (chunk) {
	case 1: /* INIT */
		return FL_TCP_SYN;
	case 2: /* INIT ACK */
		return FL_TCP_SYN | FL_TCP_ACK;
	case 6: /* ABORT */
		return FL_TCP_RST;
	case 7: /* SHUTDOWN */
	case 8: /* SHUTDOWN ACK */
	case 14: /* SHUTDOWN COMPLETE */
		return FL_TCP_FIN | FL_TCP_ACK;
	default:
		return FL_TCP_ACK;
	}
}

/* A datagram that is longer than its frame is malformed; padding behind it is
 * not. */
static __always_inline __u32 fl_lengths_differ(const struct fl_cursor *cursor,
					       __u32 l3_off, __u32 headers,
					       __u32 l3_len)
{
	return l3_len < headers || l3_off + l3_len > cursor->len;
}

/* The rest of the transport header. */
static __always_inline enum fl_packet_kind
fl_parse_transport(struct fl_cursor *cursor, struct fl_packet *pkt)
{
	const __u8 *rest;
	__u32 header = 8;

	if (fl_parse_ports(cursor, pkt) == FL_PACKET_TRUNCATED)
		return FL_PACKET_TRUNCATED;
	if (pkt->tuple.proto == FL_IPPROTO_TCP) {
		rest = (const __u8 *)fl_cursor_take(cursor, 12);
		if (!rest) {
			/* Ports are known: whose it is can be told. */
			pkt->malformed = 1;
			return FL_PACKET_TRUNCATED;
		}
		header = (rest[4] >> 4) * 4;
		pkt->tcp_flags = rest[5];
		pkt->malformed = header < sizeof(struct tcphdr);
	} else if (pkt->tuple.proto == FL_IPPROTO_SCTP) {
		/* The checksum, and a chunk's header. */
		rest = (const __u8 *)fl_cursor_take(cursor, 8);
		if (!rest) {
			pkt->malformed = 1;
			return FL_PACKET_TRUNCATED;
		}
		header = 16;
		pkt->tcp_flags = fl_sctp_flags(rest[4]);
	}
	if (pkt->l3_len)
		pkt->malformed |= fl_lengths_differ(
			cursor, pkt->l3_off,
			pkt->l4_off - pkt->l3_off + header, pkt->l3_len);
	return FL_PACKET_FLOW;
}

static __always_inline __u32 fl_icmp_is_error(__u32 ipv6, __u8 type)
{
	if (ipv6) /* unreachable, too big, time exceeded, parameter problem */
		return type >= 1 && type <= 4;
	return type == 3 || type == 11 || type == 12;
}

/* Behind the ICMP header: whose packet the error is about. */
static __always_inline enum fl_packet_kind
fl_parse_icmp_quote(struct fl_cursor *cursor, struct fl_packet *pkt)
{
	enum fl_packet_kind kind;

	pkt->inner_l3_off = cursor->off;
	kind = fl_parse_ip(cursor, pkt);
	pkt->inner_l4_off = cursor->off;
	if (kind == FL_PACKET_TRUNCATED)
		return kind;
	if (kind != FL_PACKET_FLOW || !fl_has_ports(pkt->tuple.proto))
		return FL_PACKET_OTHER;
	return fl_parse_ports(cursor, pkt);
}

/* At the ICMP header. An error about nothing that is known is a packet to who
 * it is addressed to, as any other, but nobody may answer it. */
static __always_inline enum fl_packet_kind
fl_parse_icmp_error(struct fl_cursor *cursor, struct fl_packet *pkt)
{
	const __u8 *icmp = (const __u8 *)fl_cursor_take(cursor, 8);
	struct fl_addr outer_dst = pkt->tuple.dst, swap_addr;
	enum fl_packet_kind kind;
	__be16 swap_port;

	if (!icmp)
		return FL_PACKET_TRUNCATED;
	if (!fl_icmp_is_error(pkt->ipv6, icmp[0]))
		return FL_PACKET_OTHER;
	kind = fl_parse_icmp_quote(cursor, pkt);
	/* An error goes to who sent what it is about, or it isn't one. */
	if (kind == FL_PACKET_FLOW &&
	    !fl_addr_equal(&outer_dst, &pkt->tuple.src))
		kind = FL_PACKET_OTHER;
	if (kind != FL_PACKET_FLOW) {
		pkt->tuple.dst = outer_dst;
		pkt->malformed = kind == FL_PACKET_OTHER;
		return kind;
	}
	swap_addr = pkt->tuple.src;
	pkt->tuple.src = pkt->tuple.dst;
	pkt->tuple.dst = swap_addr;
	swap_port = pkt->tuple.sport;
	pkt->tuple.sport = pkt->tuple.dport;
	pkt->tuple.dport = swap_port;
	return FL_PACKET_ICMP_ERROR;
}

/* Tags that are still in the frame: the kernel has taken the outermost one out
 * of it. Returns the EtherType of what comes behind them. */
static __always_inline __be16 fl_skip_vlan(struct fl_cursor *cursor,
					   __be16 ethertype)
{
	const __be16 *tag;
	int i;

	for (i = 0; i < FL_VLAN_MAX; i++) {
		if (fl_likely(ethertype != bpf_htons(ETH_P_8021Q) &&
			      ethertype != bpf_htons(ETH_P_8021AD)))
			break;
		tag = (const __be16 *)fl_cursor_take(cursor, 4);
		if (!tag)
			break;
		ethertype = tag[1];
	}
	return ethertype;
}

/* ---- what nearly every packet is ---- */

/* What is asked to be there behind the IP header: TCP's, more than UDP's. */
#define FL_PLAIN_L4 20u

/* Behind an IP header of `l3_size` bytes, all that there is of it in *pkt. */
static __always_inline __u32 fl_parse_plain_l4(const struct fl_cursor *cursor,
					       const __u8 *l4, __u32 l3_size,
					       __u8 proto, __u8 hook,
					       __u32 l3_len,
					       struct fl_packet *pkt)
{
	__u32 header = 8;

	*(fl_flow_half *)&pkt->tuple.sport = *(const fl_flow_half *)l4;
	fl_flow_key_kind(&pkt->tuple, proto, hook);
	pkt->l3_off = cursor->off;
	pkt->l4_off = cursor->off + l3_size;
	pkt->l3_len = l3_len;
	pkt->kind = FL_PACKET_FLOW;
	if (proto == FL_IPPROTO_TCP) {
		header = (l4[12] >> 4) * 4;
		pkt->tcp_flags = l4[FL_TCP_FLAGS_OFFSET];
		pkt->malformed = header < sizeof(struct tcphdr);
	} else {
		pkt->no_csum = !*(const __be16 *)(l4 + 6);
	}
	if (fl_likely(l3_len))
		pkt->malformed |= fl_lengths_differ(cursor, cursor->off,
						    l3_size + header, l3_len);
	return 1;
}

/* TCP or UDP right behind an IP header without options or extensions, whole and
 * not a fragment: as fl_parse(), for half of it; with `hook` in the tuple.
 * Returns 0 if it isn't that, with all zeros in *pkt. */
static __always_inline __u32 fl_parse_plain(const struct fl_cursor *cursor,
					    __be16 ethertype, __u8 hook,
					    struct fl_packet *pkt)
{
	const __u8 *l3;
	__u8 proto;

	__builtin_memset(pkt, 0, sizeof(*pkt));
	if (cursor->off > FL_CURSOR_MAX)
		return 0;
	l3 = cursor->start + cursor->off;
	fl_pin_pointer(l3);
	if (ethertype == bpf_htons(ETH_P_IP)) {
		const struct iphdr *ip = (const struct iphdr *)l3;

		if (l3 + sizeof(*ip) + FL_PLAIN_L4 > cursor->end ||
		    l3[0] != 0x45 || ip->frag_off & bpf_htons(0x3fff))
			return 0;
		proto = ip->protocol;
		if (proto != FL_IPPROTO_TCP && proto != FL_IPPROTO_UDP)
			return 0;
		pkt->tuple.src = fl_addr_from_v4(ip->saddr);
		pkt->tuple.dst = fl_addr_from_v4(ip->daddr);
		pkt->ip_csum = ip->check;
		return fl_parse_plain_l4(cursor, l3 + sizeof(*ip), sizeof(*ip),
					 proto, hook, bpf_ntohs(ip->tot_len),
					 pkt);
	}
	if (ethertype == bpf_htons(ETH_P_IPV6)) {
		const struct ipv6hdr *ip = (const struct ipv6hdr *)l3;

		if (l3 + sizeof(*ip) + FL_PLAIN_L4 > cursor->end ||
		    (l3[0] & 0xf0) != 0x60)
			return 0;
		proto = ip->nexthdr;
		if (proto != FL_IPPROTO_TCP && proto != FL_IPPROTO_UDP)
			return 0;
		pkt->ipv6 = 1;
		fl_addr_copy(&pkt->tuple.src, &ip->saddr);
		fl_addr_copy(&pkt->tuple.dst, &ip->daddr);
		return fl_parse_plain_l4(
			cursor, l3 + sizeof(*ip), sizeof(*ip), proto, hook,
			ip->payload_len ?
				bpf_ntohs(ip->payload_len) + sizeof(*ip) : 0,
			pkt);
	}
	return 0;
}

/* `cursor` is at the network header, whose EtherType is `ethertype`. All of
 * *pkt is written. */
static __always_inline void fl_parse(struct fl_cursor *cursor,
				     __be16 ethertype, struct fl_packet *pkt)
{
	enum fl_packet_kind kind;

	__builtin_memset(pkt, 0, sizeof(*pkt));
	pkt->l3_off = cursor->off;
	if (ethertype == bpf_htons(ETH_P_IPV6))
		pkt->ipv6 = 1;
	else if (ethertype != bpf_htons(ETH_P_IP))
		return;
	kind = fl_parse_ip(cursor, pkt);
	pkt->l4_off = cursor->off;
	if (kind == FL_PACKET_FLOW) {
		if (fl_likely(fl_has_ports(pkt->tuple.proto)))
			kind = fl_parse_transport(cursor, pkt);
		else if (pkt->tuple.proto == (pkt->ipv6 ? FL_IPPROTO_ICMPV6 :
							  FL_IPPROTO_ICMP))
			kind = fl_parse_icmp_error(cursor, pkt);
		else
			kind = FL_PACKET_OTHER;
	}
	pkt->kind = kind;
}

#endif /* FAIRLEAD_BPF_LIB_PARSE_H_ */
