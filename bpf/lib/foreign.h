/* SPDX-License-Identifier: GPL-2.0-only */
/* Flows that netfilter translates: those that kube-proxy's rules have opened
 * and that live on while we take over (fl_config.takeover), and all new ones
 * while it takes over from us (fl_config.handover; docs/design/takeover.md).
 * Their packets pass as they are.
 *
 * Without either bit the verifier prunes all of this.
 */
#ifndef FAIRLEAD_BPF_LIB_FOREIGN_H_
#define FAIRLEAD_BPF_LIB_FOREIGN_H_

#include "bpf/lib/config.h"
#include "bpf/lib/maps.h"
#include "bpf/lib/parse.h"

static __always_inline __u32 fl_foreign_has(const struct fl_flow_key *key)
{
	return !!bpf_map_lookup_elem(&fl_foreign, key);
}

/* A packet at ingress, to a frontend or to an address that only frontends are
 * at, that no flow of ours was found for: is it netfilter's?
 *
 * Connections aren't listed: one that goes on and isn't ours is netfilter's, or
 * nobody's, which is for its endpoint to say. (During a changeover it may be one
 * that is still to be copied.) */
static __always_inline __u32 fl_is_foreign(const struct fl_packet *pkt)
{
	if (fl_config.handover)
		return 1;
	if (!fl_config.takeover || pkt->kind != FL_PACKET_FLOW)
		return 0;
	if (pkt->tuple.proto != FL_IPPROTO_UDP && !fl_is_opening(pkt))
		return !fl_config.changeover;
	return fl_foreign_has(&pkt->tuple);
}

/* Does netfilter have this source port towards this endpoint? `c`: the answers'
 * key. */
static __always_inline __u32 fl_foreign_has_port(const struct fl_flow_key *c)
{
	return fl_config.takeover && fl_foreign_has(c);
}

/* May a datagram's later fragment be netfilter's? It puts them together before
 * it looks. */
static __always_inline __u32 fl_foreign_fragment(void)
{
	return fl_config.takeover || fl_config.handover;
}

#endif /* FAIRLEAD_BPF_LIB_FOREIGN_H_ */
