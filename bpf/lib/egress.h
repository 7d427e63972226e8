/* SPDX-License-Identifier: GPL-2.0-only */
/* tc egress: sources are translated. No flow is opened here. The verdict is
 * the counter's id.
 */
#ifndef FAIRLEAD_BPF_LIB_EGRESS_H_
#define FAIRLEAD_BPF_LIB_EGRESS_H_

#include "bpf/lib/config.h"
#include "bpf/lib/flow.h"
#include "bpf/lib/fragment.h"
#include "bpf/lib/icmp.h"
#include "bpf/lib/lookup.h"

static __always_inline enum fl_counter_id
fl_egress_apply(struct __sk_buff *ctx, struct fl_packet *pkt,
		struct fl_flow *flow, enum fl_counter_id verdict)
{
	fl_flow_follow(pkt, flow);
	if (pkt->malformed)
		return FL_COUNTER_DROP_MALFORMED;
	fl_flow_track(flow, pkt);
	return fl_rewrite(ctx, pkt, FL_SIDE_SRC) ? FL_COUNTER_DROP_REWRITE :
						   verdict;
}

static __always_inline enum fl_counter_id
fl_egress_flow(struct __sk_buff *ctx, struct fl_packet *pkt)
{
	struct fl_flow *flow;
	__u32 masquerade = ctx->mark & fl_config.mark;

	if (fl_likely(!masquerade &&
		      !fl_backend_possible(&pkt->tuple.src, pkt->tuple.sport,
					   pkt->tuple.proto)))
		return FL_COUNTER_NOT_OURS;
	flow = fl_flow_find(&pkt->tuple);
	if (masquerade) {
		/* Once only: the next device's program sees no mark. */
		ctx->mark &= ~fl_config.mark;
		/* Without B the answer would go past this node. */
		if (!flow)
			return FL_COUNTER_DROP_NO_FLOW;
	}
	if (!flow)
		return FL_COUNTER_NOT_OURS;
	if (flow->flags & FL_FLOW_REPLY)
		return fl_egress_apply(ctx, pkt, flow, FL_COUNTER_REPLY_HIT);
	/* B without the mark: the client talks to the backend directly. */
	if (!masquerade)
		return FL_COUNTER_NOT_OURS;
	return fl_egress_apply(ctx, pkt, flow, FL_COUNTER_SOURCE_TRANSLATED);
}

/* D as an answer's source, or B as the source of a packet to the backend (an
 * error about a masqueraded flow's answer). */
static __always_inline enum fl_counter_id
fl_egress_icmp(struct __sk_buff *ctx, struct fl_packet *pkt)
{
	struct fl_flow *flow;

	if (!fl_backend_possible(&pkt->tuple.src, pkt->tuple.sport,
				 pkt->tuple.proto) &&
	    !fl_backend_possible(&pkt->tuple.dst, pkt->tuple.dport,
				 pkt->tuple.proto))
		return FL_COUNTER_NOT_OURS;
	flow = fl_flow_find(&pkt->tuple);
	if (!flow)
		return FL_COUNTER_NOT_OURS;
	fl_flow_follow(pkt, flow);
	return fl_icmp_translate(ctx, pkt, FL_SIDE_SRC) ?
		       FL_COUNTER_DROP_REWRITE :
		       FL_COUNTER_ICMP_TRANSLATED;
}

static __always_inline enum fl_counter_id fl_egress(struct __sk_buff *ctx,
						    struct fl_packet *pkt)
{
	pkt->tuple.hook = FL_HOOK_EGRESS;
	switch (pkt->kind) {
	case FL_PACKET_FLOW:
		return fl_egress_flow(ctx, pkt);
	case FL_PACKET_ICMP_ERROR:
		return fl_egress_icmp(ctx, pkt);
	case FL_PACKET_FRAGMENT:
		return (enum fl_counter_id)fl_fragment_translate(ctx, pkt);
	default:
		return FL_COUNTER_NOT_OURS;
	}
}

#endif /* FAIRLEAD_BPF_LIB_EGRESS_H_ */
