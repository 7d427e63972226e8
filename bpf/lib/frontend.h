/* SPDX-License-Identifier: GPL-2.0-only */
/* Is a packet addressed to a frontend, or to what only frontends should be at?
 */
#ifndef FAIRLEAD_BPF_LIB_FRONTEND_H_
#define FAIRLEAD_BPF_LIB_FRONTEND_H_

#include "bpf/lib/foreign.h"
#include "bpf/lib/lookup.h"
#include "bpf/lib/parse.h"

/* Might the destination be a frontend's? 0 is certain. */
static __always_inline __u32 fl_frontend_possible(const struct fl_packet *pkt)
{
	const struct fl_flow_key *tuple = &pkt->tuple;
	struct fl_addr any = {};

	if (fl_filter_test(&fl_filter_fe, &tuple->dst, tuple->dport,
			   tuple->proto))
		return 1;
	if (fl_likely(!fl_port_is_node_port(tuple->dport)))
		return 0;
	if (!pkt->ipv6)
		any = fl_addr_from_v4(0);
	return fl_filter_test(&fl_filter_fe, &any, tuple->dport, tuple->proto);
}

/* For an address that nobody serves with this port. A ClusterIP refuses (not
 * yet answered), the rest of its range swallows; anybody else's is not ours. */
__noinline int fl_stray(const struct fl_packet *pkt)
{
	if (!pkt || !fl_is_service_addr(&pkt->tuple.dst, pkt->ipv6))
		return FL_COUNTER_NOT_OURS;
	if (fl_is_foreign(pkt))
		return FL_COUNTER_NOT_OURS;
	if (pkt->malformed || pkt->tcp_flags & FL_TCP_RST ||
	    pkt->kind == FL_PACKET_ICMP_ERROR ||
	    !fl_is_frontend_addr(&pkt->tuple.dst))
		return FL_COUNTER_DROP_NO_SERVICE;
	return FL_COUNTER_REJECT_NO_SERVICE;
}

#endif /* FAIRLEAD_BPF_LIB_FRONTEND_H_ */
