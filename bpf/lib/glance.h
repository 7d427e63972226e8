/* SPDX-License-Identifier: GPL-2.0-only */
/* What nearly every packet is, at a glance: not ours, by its headers where they
 * lie in nearly every packet. Nothing is written down, as nothing comes of it.
 *
 * FL_GLANCE_UNSURE says nothing: such a packet is read (parse.h) and looked up.
 * The verdict NOT_OURS is the one that it would get there.
 */
#ifndef FAIRLEAD_BPF_LIB_GLANCE_H_
#define FAIRLEAD_BPF_LIB_GLANCE_H_

#include "bpf/lib/config.h"
#include "bpf/lib/lookup.h"
#include "bpf/lib/parse.h"

enum fl_glance {
	FL_GLANCE_UNSURE = 0,
	FL_GLANCE_NOT_OURS = 1,
	/* The filter has it, by its destination at ingress, by its source at
	 * egress. */
	FL_GLANCE_POSSIBLE = 2,
};

/* May it be an answer to a masqueraded packet, by the end of its destination? */
static __always_inline __u32 fl_may_be_masquerade(__be32 word, __be16 port,
						  __u32 ipv6)
{
	return fl_unlikely(word == (ipv6 ? fl_config.masquerade6.w[3] :
					   fl_config.masquerade4.w[3])) &&
	       fl_is_source_port(port);
}

static __always_inline enum fl_glance
fl_glance_ingress(const struct fl_addr *dst, const __u8 *l4, __u8 proto,
		  __u32 ipv6)
{
	__be16 port = *(const __be16 *)(l4 + 2);

	if (fl_filter_test(&fl_filter_fe, dst, port, proto))
		return FL_GLANCE_POSSIBLE;
	if (fl_port_is_node_port(port) ||
	    fl_may_be_masquerade(dst->w[3], port, ipv6))
		return FL_GLANCE_UNSURE;
	if (fl_unlikely(fl_in_service_cover(dst, ipv6))) {
		struct fl_addr there = *dst; /* the only one in memory */

		if (fl_in_service_range(&there, ipv6))
			return FL_GLANCE_UNSURE;
	}
	/* A first packet straight to a backend ends what was before it. */
	if (proto == FL_IPPROTO_TCP && fl_flags_open(l4[FL_TCP_FLAGS_OFFSET]))
		return FL_GLANCE_UNSURE;
	return FL_GLANCE_NOT_OURS;
}

static __always_inline enum fl_glance
fl_glance_egress(struct __sk_buff *ctx, const struct fl_addr *src,
		 const __u8 *l4, __u8 proto)
{
	if (ctx->mark & fl_config.mark)
		return FL_GLANCE_UNSURE;
	if (fl_filter_test(&fl_filter_be, src, *(const __be16 *)l4, proto))
		return FL_GLANCE_POSSIBLE;
	if (ctx->ingress_ifindex ||
	    (proto == FL_IPPROTO_TCP &&
	     !fl_flags_open(l4[FL_TCP_FLAGS_OFFSET])))
		return FL_GLANCE_NOT_OURS;
	return FL_GLANCE_UNSURE;
}

static __always_inline enum fl_glance
fl_glance_at(struct __sk_buff *ctx, enum fl_hook hook,
	     const struct fl_addr *src, const struct fl_addr *dst,
	     const __u8 *l4, __u8 proto, __u32 ipv6)
{
	if (proto != FL_IPPROTO_TCP && proto != FL_IPPROTO_UDP)
		return FL_GLANCE_UNSURE;
	return hook == FL_HOOK_INGRESS ?
		       fl_glance_ingress(dst, l4, proto, ipv6) :
		       fl_glance_egress(ctx, src, l4, proto);
}

static __always_inline enum fl_glance
fl_glance(struct __sk_buff *ctx, enum fl_hook hook, __u32 l3_off)
{
	const __u8 *l3 = (const __u8 *)(long)ctx->data + l3_off;
	const __u8 *end = (const __u8 *)(long)ctx->data_end;
	__be16 ethertype = ctx->protocol;
	struct fl_addr src, dst;

	if (ethertype == bpf_htons(ETH_P_IP)) {
		const struct iphdr *ip = (const struct iphdr *)l3;

		if (l3 + sizeof(*ip) + FL_PLAIN_L4 > end || l3[0] != 0x45 ||
		    ip->frag_off & bpf_htons(0x3fff))
			return FL_GLANCE_UNSURE;
		src = fl_addr_from_v4(ip->saddr);
		dst = fl_addr_from_v4(ip->daddr);
		return fl_glance_at(ctx, hook, &src, &dst, l3 + sizeof(*ip),
				    ip->protocol, 0);
	}
	if (ethertype == bpf_htons(ETH_P_IPV6)) {
		const struct ipv6hdr *ip = (const struct ipv6hdr *)l3;

		if (l3 + sizeof(*ip) + FL_PLAIN_L4 > end ||
		    (l3[0] & 0xf0) != 0x60)
			return FL_GLANCE_UNSURE;
		fl_addr_copy(&src, &ip->saddr);
		fl_addr_copy(&dst, &ip->daddr);
		return fl_glance_at(ctx, hook, &src, &dst, l3 + sizeof(*ip),
				    ip->nexthdr, 1);
	}
	return FL_GLANCE_UNSURE;
}

#endif /* FAIRLEAD_BPF_LIB_GLANCE_H_ */
