/* SPDX-License-Identifier: GPL-2.0-only */
/* tc egress: sources are translated. No flow is opened here. The verdict is
 * the counter's id.
 */
#ifndef FAIRLEAD_BPF_LIB_EGRESS_H_
#define FAIRLEAD_BPF_LIB_EGRESS_H_

#include "bpf/lib/config.h"
#include "bpf/lib/flow.h"
#include "bpf/lib/fragment.h"
#include "bpf/lib/frontend.h"
#include "bpf/lib/glance.h"
#include "bpf/lib/icmp.h"
#include "bpf/lib/reject.h"

/* D of the flow whose packet to its backend this is. */
static __always_inline struct fl_flow *
fl_egress_find_forward(const struct fl_packet *pkt)
{
	struct fl_flow_key d;

	fl_flow_key_d(&d, &pkt->tuple, &pkt->tuple.dst, pkt->tuple.dport);
	return fl_flow_find(&d);
}

/* To the backend: the source becomes this node's; or stays, if all that the mark
 * says is that this is no answer (fl_flow_mark_mutual). */
static __always_inline enum fl_counter_id
fl_egress_masquerade(struct __sk_buff *ctx, struct fl_packet *pkt)
{
	struct fl_flow *d = fl_egress_find_forward(pkt);

	/* Without it the answer would go past this node. */
	if (!d)
		return FL_COUNTER_DROP_NO_FLOW;
	fl_flow_follow(pkt, d);
	pkt->to = pkt->tuple.src;
	pkt->to_port = pkt->tuple.sport;
	if (d->flags & FL_FLOW_MASQ) {
		pkt->to = fl_masquerade_addr(pkt->ipv6);
		pkt->to_port = d->source_port;
	}
	if (pkt->malformed)
		return FL_COUNTER_DROP_MALFORMED;
	return fl_rewrite(ctx, pkt, FL_SIDE_SRC) ?
		       FL_COUNTER_DROP_REWRITE : FL_COUNTER_SOURCE_TRANSLATED;
}

/* A backend that answers a SYN neither with SYN nor with RST has a connection
 * with this tuple already: the client's own, past us. It is left alone, and
 * the flow is tried anew with the client's next SYN. */
static __always_inline __u32 fl_egress_is_direct(const struct fl_packet *pkt,
						 const struct fl_flow *d)
{
	return d->state == FL_FLOW_NEW && !(d->flags & FL_FLOW_MASQ) &&
	       pkt->tuple.proto == FL_IPPROTO_TCP && !pkt->malformed &&
	       !(pkt->tcp_flags & (FL_TCP_SYN | FL_TCP_RST));
}

/* From the backend: the source becomes the frontend's. */
static __always_inline enum fl_counter_id
fl_egress_reply(struct __sk_buff *ctx, struct fl_packet *pkt)
{
	int position = fl_flow_seek(&pkt->tuple);
	struct fl_flow *flow = fl_flow_at(position);
	struct fl_flow_key a;

	if (!flow)
		return fl_flow_awaited(pkt) ? FL_COUNTER_DROP_NO_FLOW :
					      FL_COUNTER_NOT_OURS;
	if (fl_flow_awaited(pkt) && fl_flow_doubtful(flow, pkt))
		return FL_COUNTER_DROP_NO_FLOW;
	if (fl_unlikely(fl_egress_is_direct(pkt, flow))) {
		a = pkt->tuple;
		fl_flow_key_a(&a, &flow->addr, flow->port);
		fl_flow_forget(&a, &pkt->tuple.src, pkt->tuple.sport);
		return FL_COUNTER_NOT_OURS;
	}
	fl_flow_follow(pkt, flow);
	if (pkt->malformed)
		return FL_COUNTER_DROP_MALFORMED;
	fl_flow_track(flow, position, pkt, bpf_ktime_get_coarse_ns());
	return fl_rewrite(ctx, pkt, FL_SIDE_SRC) ? FL_COUNTER_DROP_REWRITE :
						   FL_COUNTER_REPLY_HIT;
}

/* A packet of this host's own to a frontend: the socket path has declined it,
 * or has never seen it. Here its source is known. What may pass does, as it
 * is: it was sent by somebody who isn't in the agent's cgroup. */
__noinline int fl_egress_local(const struct fl_packet *pkt)
{
	struct fl_service *service;

	if (!pkt)
		return FL_COUNTER_NOT_OURS;
	service = fl_service_lookup(&pkt->tuple.dst, pkt->tuple.dport,
				    pkt->tuple.proto);
	if (!service)
		return fl_stray(pkt);
	if ((service->flags & FL_SERVICE_SOURCE_RANGES) &&
	    !fl_source_range_allows(service, &pkt->tuple.src))
		return FL_COUNTER_DROP_SOURCE_RANGE;
	switch (fl_service_verdict(service, FL_CLIENT_HOST)) {
	case FL_VERDICT_DROP:
		return FL_COUNTER_DROP_POLICY;
	case FL_VERDICT_REJECT:
		return FL_COUNTER_REJECT_RST;
	default:
		return FL_COUNTER_NOT_OURS;
	}
}

/* The rest of a connection follows its first packet. */
static __always_inline enum fl_counter_id
fl_egress_not_ours(struct __sk_buff *ctx, struct fl_packet *pkt)
{
	enum fl_counter_id verdict;

	if (fl_likely(fl_config.handover || ctx->ingress_ifindex ||
		      (pkt->tuple.proto != FL_IPPROTO_UDP &&
		       !fl_is_opening(pkt))))
		return FL_COUNTER_NOT_OURS;
	if (fl_likely(!fl_frontend_possible(pkt) &&
		      !fl_is_service_addr(&pkt->tuple.dst, pkt->ipv6)))
		return FL_COUNTER_NOT_OURS;
	verdict = (enum fl_counter_id)fl_egress_local(pkt);
	if (verdict == FL_COUNTER_REJECT_RST ||
	    verdict == FL_COUNTER_REJECT_NO_SERVICE)
		return fl_reject(ctx, pkt, verdict);
	return verdict;
}

static __always_inline enum fl_counter_id
fl_egress_flow(struct __sk_buff *ctx, struct fl_packet *pkt,
	       enum fl_glance glance)
{
	enum fl_counter_id verdict;

	if (ctx->mark & fl_config.mark) {
		/* Once only: the next device's program sees no mark. */
		ctx->mark &= ~fl_config.mark;
		return fl_egress_masquerade(ctx, pkt);
	}
	if (glance == FL_GLANCE_POSSIBLE ||
	    fl_unlikely(fl_backend_possible(&pkt->tuple.src, pkt->tuple.sport,
					    pkt->tuple.proto))) {
		verdict = fl_egress_reply(ctx, pkt);
		if (verdict != FL_COUNTER_NOT_OURS)
			return verdict;
	}
	return fl_egress_not_ours(ctx, pkt);
}

/* D says what an answer's source becomes, and what the source of a packet to
 * the backend does (an error about a masqueraded flow's answer). */
static __always_inline enum fl_counter_id
fl_egress_icmp(struct __sk_buff *ctx, struct fl_packet *pkt)
{
	struct fl_flow *flow = 0;
	__u32 marked = ctx->mark & fl_config.mark;

	if (marked)
		ctx->mark &= ~fl_config.mark;
	if (!marked && fl_backend_possible(&pkt->tuple.src, pkt->tuple.sport,
					   pkt->tuple.proto))
		flow = fl_flow_find(&pkt->tuple);
	if (flow) {
		fl_flow_follow(pkt, flow);
	} else {
		if (!fl_backend_possible(&pkt->tuple.dst, pkt->tuple.dport,
					 pkt->tuple.proto))
			return FL_COUNTER_NOT_OURS;
		flow = fl_egress_find_forward(pkt);
		if (!flow || !flow->source_port)
			return FL_COUNTER_NOT_OURS;
		fl_flow_follow(pkt, flow);
		pkt->to = fl_masquerade_addr(pkt->ipv6);
		pkt->to_port = flow->source_port;
	}
	return fl_icmp_translate(ctx, pkt, FL_SIDE_SRC) ?
		       FL_COUNTER_DROP_REWRITE :
		       FL_COUNTER_ICMP_TRANSLATED;
}

static __always_inline enum fl_counter_id fl_egress(struct __sk_buff *ctx,
						    struct fl_packet *pkt,
						    enum fl_glance glance)
{
	switch (pkt->kind) {
	case FL_PACKET_FLOW:
		return fl_egress_flow(ctx, pkt, glance);
	case FL_PACKET_ICMP_ERROR:
		return fl_egress_icmp(ctx, pkt);
	case FL_PACKET_FRAGMENT:
		return (enum fl_counter_id)fl_fragment_translate(ctx, pkt);
	default:
		return FL_COUNTER_NOT_OURS;
	}
}

#endif /* FAIRLEAD_BPF_LIB_EGRESS_H_ */
