/* SPDX-License-Identifier: GPL-2.0-only */
/* Fragments. Only a datagram's first one has ports; when it is translated, an
 * entry in the flow table says for the others where they go. They usually come
 * in order; one that comes before the first is somebody else's for all that
 * can be told, unless it is addressed to a frontend.
 */
#ifndef FAIRLEAD_BPF_LIB_FRAGMENT_H_
#define FAIRLEAD_BPF_LIB_FRAGMENT_H_

#include "bpf/lib/config.h"
#include "bpf/lib/flow.h"
#include "bpf/lib/foreign.h"
#include "bpf/lib/lookup.h"
#include "bpf/lib/rewrite.h"

/* Ids are used again. The kernel waits for fragments for 30 s (IPv4) or 60. */
#define FL_FRAGMENT_SECONDS 30

static __always_inline void fl_fragment_key(struct fl_flow_key *key,
					    const struct fl_packet *pkt)
{
	key->src = pkt->tuple.src;
	key->dst = pkt->tuple.dst;
	key->sport = (__be16)pkt->fragment_id;
	key->dport = (__be16)(pkt->fragment_id >> 16);
	/* IPv6: what comes after the fragment header may be different. */
	key->proto = pkt->ipv6 ? FL_IPPROTO_FRAGMENT : pkt->tuple.proto;
	key->hook = pkt->tuple.hook + FL_HOOK_FRAGMENT;
	key->pad = 0;
}

/* `pkt` is a first fragment that was translated. A full table costs the
 * datagram. */
__noinline int fl_fragment_note(const struct fl_packet *pkt, __u32 reply)
{
	struct fl_flow value = {};
	struct fl_flow_key key;

	if (!pkt)
		return 0;
	fl_fragment_key(&key, pkt);
	value.addr = pkt->to;
	value.flags = pkt->masquerade | (reply ? FL_FLOW_REPLY : 0);
	value.service_id = pkt->service_id;
	value.backend_id = pkt->backend_id;
	fl_flow_stamp(&value);
	fl_flow_put(&key, &value);
	return 0;
}

static __always_inline enum fl_counter_id
fl_fragment_unknown(const struct fl_packet *pkt, __u32 marked)
{
	if (marked || (pkt->tuple.hook == FL_HOOK_INGRESS &&
		       !fl_foreign_fragment() &&
		       fl_is_only_frontend(&pkt->tuple.dst)))
		return FL_COUNTER_DROP_FRAGMENT;
	return FL_COUNTER_NOT_OURS;
}

/* A later fragment. Transport checksums cover the whole datagram and are the
 * first one's business. */
__noinline int fl_fragment_translate(struct __sk_buff *ctx,
				     struct fl_packet *pkt)
{
	__u32 marked = ctx->mark & fl_config.mark, ingress, reply;
	enum fl_side side;
	struct fl_flow_key key;
	struct fl_flow *flow;

	if (!pkt)
		return FL_COUNTER_NOT_OURS;
	ingress = pkt->tuple.hook == FL_HOOK_INGRESS;
	side = ingress ? FL_SIDE_DST : FL_SIDE_SRC;
	if (!ingress && marked)
		ctx->mark &= ~fl_config.mark;
	fl_fragment_key(&key, pkt);
	flow = fl_flow_find(&key);
	if (!flow || fl_flow_idle(flow, bpf_ktime_get_coarse_ns(),
				  FL_FRAGMENT_SECONDS))
		return fl_fragment_unknown(pkt, marked && !ingress);
	fl_flow_follow(pkt, flow);
	if (ingress && flow->flags == FL_FLOW_MASQ)
		ctx->mark |= fl_config.mark;
	reply = flow->flags & FL_FLOW_REPLY;
	if (fl_rewrite_ip(ctx, pkt, side,
			  ingress ? &pkt->tuple.dst : &pkt->tuple.src,
			  &pkt->to))
		return FL_COUNTER_DROP_REWRITE;
	if (reply)
		return FL_COUNTER_REPLY_HIT;
	return ingress ? FL_COUNTER_FORWARD_HIT : FL_COUNTER_SOURCE_TRANSLATED;
}

#endif /* FAIRLEAD_BPF_LIB_FRAGMENT_H_ */
