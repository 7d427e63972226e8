/* SPDX-License-Identifier: GPL-2.0-only */
/* The flow table. A flow has up to four entries, all made when its first
 * packet is seen; {client -> frontend} becomes {client -> backend} at ingress
 * and, with masquerade, {masquerade -> backend} at egress:
 *
 *   A ingress {client -> frontend}       dst := backend
 *   B egress  {client -> backend}        src := masquerade:port
 *   C ingress {backend -> masquerade}    dst := client        (reply)
 *   D egress  {backend -> client}        src := frontend      (reply)
 *
 * B and C exist only with masquerade. The kernel, between the two hooks, sees
 * {client <-> backend} both ways.
 */
#ifndef FAIRLEAD_BPF_LIB_FLOW_H_
#define FAIRLEAD_BPF_LIB_FLOW_H_

#include "bpf/lib/maps.h"
#include "bpf/lib/parse.h"
#include "bpf/lib/select.h"

/* Ages after which an entry may be taken over by another flow (never: is
 * removed; that is the LRU's work). As long as what people know from
 * netfilter's defaults, or longer. */
#define FL_FLOW_IDLE_UDP 180
#define FL_FLOW_IDLE_CLOSED 10
#define FL_FLOW_IDLE_CLOSING 120
#define FL_FLOW_IDLE_TCP 432000

static __always_inline struct fl_flow *
fl_flow_find(const struct fl_flow_key *key)
{
	return (struct fl_flow *)bpf_map_lookup_elem(&fl_flow, key);
}

/* Seconds are compared as nanoseconds: a multiplication for a division. */
static __always_inline __u32 fl_flow_idle(const struct fl_flow *flow,
					  __u64 now_ns, __u32 seconds)
{
	return now_ns >= (flow->last_seen + (__u64)seconds) * FL_SECOND_NS;
}

static __always_inline __u32 fl_flow_expired(const struct fl_flow *flow,
					     __u8 proto, __u64 now_ns)
{
	__u32 limit = FL_FLOW_IDLE_TCP;

	if (proto == FL_IPPROTO_UDP)
		limit = FL_FLOW_IDLE_UDP;
	else if (flow->state == FL_FLOW_CLOSED)
		limit = FL_FLOW_IDLE_CLOSED;
	else if (flow->state == FL_FLOW_CLOSING)
		limit = FL_FLOW_IDLE_CLOSING;
	return fl_flow_idle(flow, now_ns, limit);
}

/* Follows TCP, liberally: whatever comes, the packet is forwarded. Writes
 * only what has changed, so that a busy flow's entry stays shared between
 * CPUs' caches. */
static __always_inline void fl_flow_track(struct fl_flow *flow,
					  const struct fl_packet *pkt)
{
	__u64 now_ns = bpf_ktime_get_coarse_ns();
	__u8 state = flow->state;

	if (pkt->tcp_flags & FL_TCP_RST)
		state = FL_FLOW_CLOSED;
	else if ((pkt->tcp_flags & FL_TCP_FIN) && state < FL_FLOW_CLOSING)
		state = FL_FLOW_CLOSING;
	else if (state == FL_FLOW_NEW &&
		 ((flow->flags & FL_FLOW_REPLY) ||
		  (pkt->tcp_flags & FL_TCP_ACK)))
		state = FL_FLOW_ESTABLISHED;
	if (state != flow->state)
		flow->state = state;
	if (fl_unlikely(fl_flow_idle(flow, now_ns, FL_FLOW_TOUCH_SECONDS)))
		flow->last_seen = now_ns / FL_SECOND_NS;
}

/* The keys of B, C and D, given A's key and the backend. */
static __always_inline void fl_flow_key_b(struct fl_flow_key *key,
					  const struct fl_flow_key *a,
					  const struct fl_addr *backend,
					  __be16 port)
{
	*key = *a;
	key->dst = *backend;
	key->dport = port;
	key->hook = FL_HOOK_EGRESS;
}

static __always_inline void fl_flow_key_d(struct fl_flow_key *key,
					  const struct fl_flow_key *a,
					  const struct fl_addr *backend,
					  __be16 port)
{
	key->src = *backend;
	key->dst = a->src;
	key->sport = port;
	key->dport = a->sport;
	key->proto = a->proto;
	key->hook = FL_HOOK_EGRESS;
	key->pad = 0;
}

/* From D's. */
static __always_inline void fl_flow_key_c(struct fl_flow_key *key,
					  const struct fl_addr *masquerade,
					  __be16 port)
{
	key->dst = *masquerade;
	key->dport = port;
	key->hook = FL_HOOK_INGRESS;
}

/* Is the connection over, by what both directions have shown? */
static __always_inline __u32 fl_flow_is_over(const struct fl_flow *a,
					     const struct fl_flow *d)
{
	if (a->state == FL_FLOW_CLOSED)
		return 1;
	if (!d)
		return 0;
	return d->state == FL_FLOW_CLOSED ||
	       (a->state == FL_FLOW_CLOSING && d->state == FL_FLOW_CLOSING);
}

/* May this packet go where A says? Established TCP always may: a removed
 * endpoint's connections end by themselves. A SYN or a datagram only if a new
 * one could go there. */
static __noinline int fl_flow_serves_new(const struct fl_flow *a,
					 const struct fl_packet *pkt)
{
	struct fl_backend *backend;
	struct fl_flow_key key;

	backend = fl_backend_same(a->backend_id, a->backend_generation);
	if (!backend)
		return 0;
	if (pkt->tuple.proto == FL_IPPROTO_UDP)
		return (backend->state == FL_BACKEND_ON ||
			backend->state == FL_BACKEND_DRAIN) &&
		       !fl_flow_idle(a, bpf_ktime_get_coarse_ns(),
				     FL_FLOW_IDLE_UDP);
	if (backend->state != FL_BACKEND_ON)
		return 0;
	fl_flow_key_d(&key, &pkt->tuple, &a->addr, a->port);
	return !fl_flow_is_over(a, fl_flow_find(&key));
}

static __always_inline __u32 fl_flow_serves(const struct fl_flow *a,
					    const struct fl_packet *pkt)
{
	if (pkt->tuple.proto == FL_IPPROTO_TCP &&
	    (pkt->tcp_flags & (FL_TCP_SYN | FL_TCP_ACK | FL_TCP_RST)) !=
		    FL_TCP_SYN)
		return 1;
	return fl_flow_serves_new(a, pkt);
}

/* The packet goes where `flow` says. The entry is read once: an LRU may give
 * it to another flow at any time. */
static __always_inline void fl_flow_follow(struct fl_packet *pkt,
					   const struct fl_flow *flow)
{
	pkt->to = flow->addr;
	pkt->to_port = flow->port;
	pkt->service_id = flow->service_id;
	pkt->backend_id = flow->backend_id;
	pkt->masquerade = flow->flags & FL_FLOW_MASQ;
}

/* Removes all entries of the flow that starts with A, which a new one
 * replaces: its source port is free again at once. */
static __noinline int fl_flow_forget(const struct fl_flow_key *a,
				     const struct fl_flow *flow)
{
	struct fl_flow_key key;
	struct fl_addr masquerade;
	struct fl_flow *b;
	__be16 port;

	if (flow->flags & FL_FLOW_MASQ) {
		fl_flow_key_b(&key, a, &flow->addr, flow->port);
		b = fl_flow_find(&key);
		if (b) {
			masquerade = b->addr;
			port = b->port;
			bpf_map_delete_elem(&fl_flow, &key);
			fl_flow_key_d(&key, a, &flow->addr, flow->port);
			fl_flow_key_c(&key, &masquerade, port);
			bpf_map_delete_elem(&fl_flow, &key);
		}
	}
	fl_flow_key_d(&key, a, &flow->addr, flow->port);
	bpf_map_delete_elem(&fl_flow, &key);
	bpf_map_delete_elem(&fl_flow, a);
	return 0;
}

#endif /* FAIRLEAD_BPF_LIB_FLOW_H_ */
