/* SPDX-License-Identifier: GPL-2.0-only */
/* Translating a packet's source or destination.
 *
 * Checksums are changed by difference, with the kernel's own helpers, because
 * only they know what skb->ip_summed says: a field that the device will fill
 * in (CHECKSUM_PARTIAL) holds the pseudo header's sum, and the sum that a
 * device has delivered (CHECKSUM_COMPLETE) must stay true.
 */
#ifndef FAIRLEAD_BPF_LIB_REWRITE_H_
#define FAIRLEAD_BPF_LIB_REWRITE_H_

#include "bpf/lib/crc32c.h"
#include "bpf/lib/csum.h"
#include "bpf/lib/parse.h"

enum fl_side {
	FL_SIDE_SRC = 0,
	FL_SIDE_DST = 1,
};

static __always_inline __u32 fl_l4_csum_offset(__u8 proto)
{
	return proto == FL_IPPROTO_TCP ? 16 : 6;
}

static __always_inline __u32 fl_ip_addr_offset(__u32 ipv6, enum fl_side side)
{
	if (ipv6)
		return side == FL_SIDE_DST ? 24 : 8;
	return side == FL_SIDE_DST ? 16 : 12;
}

/* Writes an address into the outermost IP header; for IPv4 its checksum
 * follows. The caller owes the transport checksum a BPF_F_PSEUDO_HDR update,
 * which takes part in keeping skb->csum true:
 * IPv4: address and header checksum cancel out. IPv6: the address changes the
 * sum of the packet, which BPF_F_RECOMPUTE_CSUM books; what BPF_F_PSEUDO_HDR
 * books is its opposite. (BPF_F_IPV6 does that, too, on newer kernels only.) */
static __always_inline long fl_rewrite_ip(struct __sk_buff *ctx,
					  const struct fl_packet *pkt,
					  enum fl_side side,
					  const struct fl_addr *from,
					  const struct fl_addr *to)
{
	__u32 at = pkt->l3_off + fl_ip_addr_offset(pkt->ipv6, side);
	long err;

	if (pkt->ipv6)
		return bpf_skb_store_bytes(ctx, at, to, sizeof(*to),
					   BPF_F_RECOMPUTE_CSUM);
	err = bpf_l3_csum_replace(ctx, pkt->l3_off + 10, from->w[3], to->w[3],
				  4);
	if (err)
		return err;
	return bpf_skb_store_bytes(ctx, at, &to->w[3], 4, 0);
}

/* The port of one side, when it is not in a checksum yet. */
static __always_inline long fl_store_port(struct __sk_buff *ctx,
					  const struct fl_packet *pkt,
					  enum fl_side side, __u64 flags)
{
	__be16 port = pkt->to_port;

	return bpf_skb_store_bytes(ctx,
				   pkt->l4_off + (side == FL_SIDE_DST ? 2 : 0),
				   &port, sizeof(port), flags);
}

/* SCTP's checksum is the packet's own: no pseudo header, nothing that the
 * kernel's helpers know. Zero is left to the device (CHECKSUM_PARTIAL). A first
 * fragment says nothing about the length that the checksum covers. */
__noinline int fl_rewrite_sctp_port(struct __sk_buff *ctx,
				    const struct fl_packet *pkt,
				    enum fl_side side)
{
	__u32 checksum, length;
	__be16 old;

	if (!pkt || pkt->first_fragment)
		return -1;
	old = side == FL_SIDE_DST ? pkt->tuple.dport : pkt->tuple.sport;
	if (old == pkt->to_port)
		return 0;
	length = pkt->l3_len ? pkt->l3_off + pkt->l3_len : ctx->len;
	length -= pkt->l4_off;
	if (bpf_skb_load_bytes(ctx, pkt->l4_off + 8, &checksum,
			       sizeof(checksum)))
		return -1;
	if (checksum) {
		checksum ^= fl_crc32c_diff(old, pkt->to_port,
					   length -
					   (side == FL_SIDE_DST ? 4 : 2));
		if (bpf_skb_store_bytes(ctx, pkt->l4_off + 8, &checksum,
					sizeof(checksum),
					BPF_F_RECOMPUTE_CSUM))
			return -1;
	}
	return fl_store_port(ctx, pkt, side, BPF_F_RECOMPUTE_CSUM) ? -1 : 0;
}

/* What lies together in an IPv4 packet without options. */
struct fl_rewrite4 {
	__u16 pad;
	__sum16 csum;
	__be32 src;
	__be32 dst;
	__be16 sport;
	__be16 dport;
};

/* All of that at once, in place of fl_rewrite_ip() and fl_store_port(). Nothing
 * of it needs to be booked in skb->csum: the header's checksum makes up for the
 * address, the transport's, which the caller sees to, for the port. */
static __always_inline long fl_rewrite_plain4(struct __sk_buff *ctx,
					      const struct fl_packet *pkt,
					      enum fl_side side)
{
	const struct fl_flow_key *tuple = &pkt->tuple;
	__u32 from = side == FL_SIDE_DST ? tuple->dst.w[3] : tuple->src.w[3];
	__u32 diff = fl_csum_add(pkt->to.w[3], ~from);
	struct fl_rewrite4 part = {
		.csum = fl_csum_apply(pkt->ip_csum, diff),
		.src = tuple->src.w[3],
		.dst = tuple->dst.w[3],
		.sport = tuple->sport,
		.dport = tuple->dport,
	};

	if (side == FL_SIDE_DST) {
		part.dst = pkt->to.w[3];
		part.dport = pkt->to_port;
	} else {
		part.src = pkt->to.w[3];
		part.sport = pkt->to_port;
	}
	return bpf_skb_store_bytes(ctx, pkt->l3_off + 10, &part.csum,
				   sizeof(part) - 2, 0);
}

/* One side of the tuple becomes pkt->to, to_port; 0: done. A UDP checksum of
 * zero ("none") stays zero, and none becomes zero by accident. */
static __always_inline int fl_rewrite(struct __sk_buff *ctx,
				      const struct fl_packet *pkt,
				      enum fl_side side)
{
	const struct fl_addr *from =
		side == FL_SIDE_DST ? &pkt->tuple.dst : &pkt->tuple.src;
	__be16 old_port;
	__u32 csum;
	__u64 flags;

	old_port = side == FL_SIDE_DST ? pkt->tuple.dport : pkt->tuple.sport;
	if (fl_unlikely(pkt->tuple.proto == FL_IPPROTO_SCTP))
		return fl_rewrite_ip(ctx, pkt, side, from, &pkt->to) ?
			       -1 : fl_rewrite_sctp_port(ctx, pkt, side);
	csum = pkt->l4_off + fl_l4_csum_offset(pkt->tuple.proto);
	flags = pkt->tuple.proto == FL_IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	if (bpf_l4_csum_replace(ctx, csum, 0, fl_csum_addr_diff(from, &pkt->to),
				flags | BPF_F_PSEUDO_HDR))
		return -1;
	if (fl_likely(!pkt->ipv6 && !pkt->no_csum &&
		      pkt->l4_off - pkt->l3_off == sizeof(struct iphdr)))
		return (pkt->to_port != old_port &&
			bpf_l4_csum_replace(ctx, csum, old_port, pkt->to_port,
					    flags | 2)) ||
				       fl_rewrite_plain4(ctx, pkt, side) ?
			       -1 : 0;
	if (fl_rewrite_ip(ctx, pkt, side, from, &pkt->to))
		return -1;
	if (pkt->to_port == old_port)
		return 0;
	/* Without a checksum there is nothing that the port cancels with. */
	return bpf_l4_csum_replace(ctx, csum, old_port, pkt->to_port,
				   flags | 2) ||
			       fl_store_port(ctx, pkt, side,
					     pkt->no_csum ?
						     BPF_F_RECOMPUTE_CSUM : 0) ?
		       -1 : 0;
}

#endif /* FAIRLEAD_BPF_LIB_REWRITE_H_ */
