/* SPDX-License-Identifier: GPL-2.0-only */
/* ICMP errors about translated flows (path MTU above all).
 *
 * An error about packet P is translated like an answer to P: where an answer's
 * destination is written, the error's outer destination and P's source are;
 * where an answer's source, the outer source and P's destination. The outer
 * source becomes the translated address whoever has sent the error, as
 * netfilter does: what is behind a frontend doesn't show.
 */
#ifndef FAIRLEAD_BPF_LIB_ICMP_H_
#define FAIRLEAD_BPF_LIB_ICMP_H_

#include "bpf/lib/rewrite.h"

/* The quoted transport checksum, if the quote is long enough to have it. It is
 * checked by nobody but people; still it shall be right. Returns the change
 * of the sum of the quote's bytes. */
static __always_inline __u32 fl_icmp_inner_csum(struct __sk_buff *ctx,
						const struct fl_packet *pkt,
						__u32 diff)
{
	__u32 at = pkt->inner_l4_off + fl_l4_csum_offset(pkt->tuple.proto);
	__u16 field, next;

	/* SCTP's doesn't cover addresses, and quotes are too short to change it
	 * for the port. Zero: none (UDP), or the padding behind a short quote (RFC 4884). */
	if (pkt->tuple.proto == FL_IPPROTO_SCTP ||
	    bpf_skb_load_bytes(ctx, at, &field, sizeof(field)) || !field)
		return 0;
	next = fl_csum_apply(field, diff);
	if (bpf_skb_store_bytes(ctx, at, &next, sizeof(next), 0))
		return 0;
	return fl_csum_port_diff(field, next);
}

/* The quoted packet's `side` becomes addr:port. The ICMP checksum follows. */
static __always_inline long fl_icmp_rewrite_inner(struct __sk_buff *ctx,
						  const struct fl_packet *pkt,
						  enum fl_side side,
						  const struct fl_addr *from,
						  __be16 from_port,
						  const struct fl_addr *to,
						  __be16 to_port)
{
	__u32 at = pkt->inner_l3_off + fl_ip_addr_offset(pkt->ipv6, side);
	__u32 addr_diff = fl_csum_addr_diff(from, to);
	__u32 port_diff = fl_csum_port_diff(from_port, to_port);
	__u32 sum = fl_csum_add(addr_diff, port_diff);
	__u16 field, next;
	long err;

	if (pkt->ipv6) {
		err = bpf_skb_store_bytes(ctx, at, to, sizeof(*to), 0);
	} else {
		err = bpf_skb_load_bytes(ctx, pkt->inner_l3_off + 10, &field,
					 sizeof(field));
		if (err)
			return err;
		next = fl_csum_apply(field, addr_diff);
		sum = fl_csum_add(sum, fl_csum_port_diff(field, next));
		err = bpf_skb_store_bytes(ctx, pkt->inner_l3_off + 10, &next,
					  sizeof(next), 0);
		if (err)
			return err;
		err = bpf_skb_store_bytes(ctx, at, &to->w[3], 4, 0);
	}
	if (err)
		return err;
	err = bpf_skb_store_bytes(
		ctx, pkt->inner_l4_off + (side == FL_SIDE_DST ? 2 : 0),
		&to_port, sizeof(to_port), 0);
	if (err)
		return err;
	sum = fl_csum_add(sum, fl_icmp_inner_csum(ctx, pkt,
						  fl_csum_add(addr_diff,
							      port_diff)));
	return bpf_l4_csum_replace(ctx, pkt->l4_off + 2, 0, sum, 0);
}

/* `side`, of the answer, becomes pkt->to, to_port. 0: done. A function of its
 * own for the verifier, which checks it once. */
__noinline int fl_icmp_translate(struct __sk_buff *ctx,
				 const struct fl_packet *pkt, enum fl_side side)
{
	struct fl_addr old;
	__u32 at;

	if (!pkt)
		return -1;
	at = pkt->l3_off + fl_ip_addr_offset(pkt->ipv6, side);
	/* An error's outer source needn't be the flow's. */
	if (pkt->ipv6) {
		if (bpf_skb_load_bytes(ctx, at, &old, sizeof(old)))
			return -1;
	} else {
		old = fl_addr_from_v4(0);
		if (bpf_skb_load_bytes(ctx, at, &old.w[3], 4))
			return -1;
	}
	if (side == FL_SIDE_DST) {
		if (fl_icmp_rewrite_inner(ctx, pkt, FL_SIDE_SRC,
					  &pkt->tuple.dst, pkt->tuple.dport,
					  &pkt->to, pkt->to_port))
			return -1;
	} else {
		if (fl_icmp_rewrite_inner(ctx, pkt, FL_SIDE_DST,
					  &pkt->tuple.src, pkt->tuple.sport,
					  &pkt->to, pkt->to_port))
			return -1;
	}
	/* ICMPv6 has a pseudo header, ICMP has none. */
	if (pkt->ipv6 &&
	    bpf_l4_csum_replace(ctx, pkt->l4_off + 2, 0,
				fl_csum_addr_diff(&old, &pkt->to),
				BPF_F_PSEUDO_HDR))
		return -1;
	return fl_rewrite_ip(ctx, pkt, side, &old, &pkt->to) ? -1 : 0;
}

#endif /* FAIRLEAD_BPF_LIB_ICMP_H_ */
