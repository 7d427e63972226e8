/* SPDX-License-Identifier: GPL-2.0-only */
/* The packet path: tc ingress translates destinations, tc egress sources, and
 * the kernel routes in between (bpf/lib/flow.h).
 *
 * Attach fl_tc_* to devices with an Ethernet header, fl_tc_*_l3 to those
 * without a link header (tun, WireGuard, ipip).
 */
#include "bpf/lib/shim.h"

#include <linux/pkt_cls.h>

#include "bpf/lib/count.h"
#include "bpf/lib/egress.h"
#include "bpf/lib/ingress.h"

char LICENSE[] SEC("license") = "GPL";

/* Enough for any headers that the parser walks. */
#define FL_PULL_BYTES 256u

/* A function of its own for the verifier, which checks it once and not in
 * combination with what follows. */
__noinline int fl_read(struct __sk_buff *ctx, __u32 l3_off, enum fl_hook hook,
		       struct fl_packet *pkt)
{
	struct fl_cursor cursor = {
		.start = (const __u8 *)(long)ctx->data,
		.end = (const __u8 *)(long)ctx->data_end,
		.off = l3_off,
		.len = ctx->len,
	};
	__be16 ethertype;

	if (!pkt)
		return 0;
	ethertype = l3_off ? fl_skip_vlan(&cursor, ctx->protocol) :
			     ctx->protocol;
	if (!fl_parse_plain(&cursor, ethertype, hook, pkt)) {
		fl_parse(&cursor, ethertype, pkt);
		pkt->tuple.hook = hook;
	}
	pkt->ifindex = ctx->ifindex;
	return 0;
}

/* Headers may be in pages that can't be read by pointer. */
static __always_inline void fl_read_again(struct __sk_buff *ctx, __u32 l3_off,
					  enum fl_hook hook,
					  struct fl_packet *pkt)
{
	__u32 linear = ctx->data_end - ctx->data;
	__u32 wanted = ctx->len < FL_PULL_BYTES ? ctx->len : FL_PULL_BYTES;

	if (linear < wanted && !bpf_skb_pull_data(ctx, wanted))
		fl_read(ctx, l3_off, hook, pkt);
	/* Cut short behind its ports: it can be told whose it is. */
	if (pkt->kind == FL_PACKET_TRUNCATED && pkt->malformed)
		pkt->kind = FL_PACKET_FLOW;
}

static __always_inline __u32 fl_is_translated(enum fl_counter_id verdict)
{
	return verdict == FL_COUNTER_FORWARD_NEW ||
	       verdict == FL_COUNTER_FORWARD_HIT ||
	       verdict == FL_COUNTER_REPLY_HIT ||
	       verdict == FL_COUNTER_SOURCE_TRANSLATED;
}

/* Answers go back where the packet came from: to the device, or up. */
static __always_inline int fl_act(struct __sk_buff *ctx, enum fl_hook hook,
				  const struct fl_packet *pkt, __u32 len,
				  enum fl_counter_id verdict)
{
	fl_count(verdict, len);
	switch (verdict) {
	case FL_COUNTER_NOT_OURS:
	case FL_COUNTER_FORWARD_NEW:
	case FL_COUNTER_FORWARD_HIT:
	case FL_COUNTER_REPLY_HIT:
	case FL_COUNTER_SOURCE_TRANSLATED:
	case FL_COUNTER_ICMP_TRANSLATED:
		return TC_ACT_UNSPEC; /* the next program's, then the stack's */
	case FL_COUNTER_REJECT_RST:
	case FL_COUNTER_REJECT_UNREACHABLE:
	case FL_COUNTER_REJECT_NO_FLOW:
	case FL_COUNTER_REJECT_NO_SERVICE:
	case FL_COUNTER_REJECT_NO_PORT:
		return bpf_redirect(ctx->ifindex, hook == FL_HOOK_INGRESS ?
							  0 : BPF_F_INGRESS);
	default:
		fl_event_emit(&pkt->tuple, ctx->ifindex, verdict,
			      pkt->service_id, pkt->backend_id);
		return TC_ACT_SHOT;
	}
}

static __always_inline int fl_tc(struct __sk_buff *ctx, enum fl_hook hook,
				 __u32 l3_off)
{
	enum fl_counter_id verdict;
	enum fl_glance glance;
	struct fl_packet pkt;
	__u32 len = ctx->len;

	glance = fl_glance(ctx, hook, l3_off);
	if (fl_likely(glance == FL_GLANCE_NOT_OURS)) {
		fl_count(FL_COUNTER_NOT_OURS, len);
		return TC_ACT_UNSPEC;
	}
	fl_read(ctx, l3_off, hook, &pkt);
	if (fl_unlikely(pkt.kind == FL_PACKET_TRUNCATED))
		fl_read_again(ctx, l3_off, hook, &pkt);
	verdict = hook == FL_HOOK_INGRESS ? fl_ingress(ctx, &pkt, glance) :
					    fl_egress(ctx, &pkt, glance);
	if (fl_unlikely(pkt.first_fragment && fl_is_translated(verdict)))
		fl_fragment_note(&pkt, verdict == FL_COUNTER_REPLY_HIT);
	return fl_act(ctx, hook, &pkt, len, verdict);
}

SEC("tc")
int fl_tc_ingress(struct __sk_buff *ctx)
{
	return fl_tc(ctx, FL_HOOK_INGRESS, ETH_HLEN);
}

SEC("tc")
int fl_tc_egress(struct __sk_buff *ctx)
{
	return fl_tc(ctx, FL_HOOK_EGRESS, ETH_HLEN);
}

SEC("tc")
int fl_tc_ingress_l3(struct __sk_buff *ctx)
{
	return fl_tc(ctx, FL_HOOK_INGRESS, 0);
}

SEC("tc")
int fl_tc_egress_l3(struct __sk_buff *ctx)
{
	return fl_tc(ctx, FL_HOOK_EGRESS, 0);
}
