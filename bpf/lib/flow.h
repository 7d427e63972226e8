/* SPDX-License-Identifier: GPL-2.0-only */
/* The flow table. A flow has two entries, or three, all made when its first
 * packet is seen; {client -> frontend} becomes {client -> backend} at ingress
 * and, with masquerade, {masquerade -> backend} at egress:
 *
 *   A ingress {client -> frontend}       dst := backend
 *   C ingress {backend -> masquerade}    dst := client        (reply)
 *   D egress  {backend -> client}        src := frontend      (reply)
 *
 * C exists only with masquerade; the port that it is for is in D, which is
 * found from {client -> backend}, too. The kernel, between the two hooks, sees
 * {client <-> backend} both ways.
 */
#ifndef FAIRLEAD_BPF_LIB_FLOW_H_
#define FAIRLEAD_BPF_LIB_FLOW_H_

#include "bpf/lib/config.h"
#include "bpf/lib/flow_table.h"
#include "bpf/lib/maps.h"
#include "bpf/lib/parse.h"
#include "bpf/lib/select.h"

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
		limit = flow->state == FL_FLOW_NEW ? FL_FLOW_IDLE_UDP_NEW :
						     FL_FLOW_IDLE_UDP;
	else if (flow->state == FL_FLOW_NEW)
		limit = FL_FLOW_IDLE_TCP_NEW;
	else if (flow->state == FL_FLOW_CLOSED)
		limit = FL_FLOW_IDLE_CLOSED;
	else if (flow->state == FL_FLOW_CLOSING)
		limit = FL_FLOW_IDLE_CLOSING;
	return fl_flow_idle(flow, now_ns, limit);
}

static __always_inline void fl_flow_stamp(struct fl_flow *flow)
{
	flow->last_seen = fl_now_seconds();
	flow->created = (__u16)(flow->last_seen / 60);
}

/* Nothing was found for this packet. Might its flow be one that is still to be
 * copied? Whoever sent it sends it again. */
static __always_inline __u32 fl_flow_awaited(const struct fl_packet *pkt)
{
	return fl_config.changeover && pkt->tuple.proto != FL_IPPROTO_UDP &&
	       !fl_is_opening(pkt);
}

/* What the source of a masqueraded flow becomes. */
static __always_inline struct fl_addr fl_masquerade_addr(__u32 ipv6)
{
	struct fl_addr addr;
	int i;

	for (i = 0; i < 4; i++)
		addr.w[i] = ipv6 ? fl_config.masquerade6.w[i] :
				   fl_config.masquerade4.w[i];
	return addr;
}

/* A node without an address of a family can't be the source of its packets. */
static __always_inline __u32 fl_has_masquerade_addr(__u32 ipv6)
{
	struct fl_addr own = fl_masquerade_addr(ipv6);

	return own.w[0] | own.w[1] | own.w[2] | own.w[3];
}

static __always_inline __u32 fl_is_masquerade_addr(const struct fl_addr *addr,
						   __u32 ipv6)
{
	const volatile struct fl_addr *own = ipv6 ? &fl_config.masquerade6 :
						    &fl_config.masquerade4;

	return addr->w[3] == own->w[3] && addr->w[2] == own->w[2] &&
	       addr->w[1] == own->w[1] && addr->w[0] == own->w[0];
}

/* The keys of C and D, given A's key and the backend. */
static __always_inline void fl_flow_key_d(struct fl_flow_key *key,
					  const struct fl_flow_key *a,
					  const struct fl_addr *backend,
					  __be16 port)
{
	key->src = *backend;
	key->dst = a->src;
	fl_flow_key_ports(key, port, a->sport);
	fl_flow_key_kind(key, a->proto, FL_HOOK_EGRESS);
}

/* Turns D's key into A's. (In place: stack is scarce.) */
static __always_inline void fl_flow_key_a(struct fl_flow_key *key,
					  const struct fl_addr *frontend,
					  __be16 port)
{
	key->src = key->dst;
	fl_flow_key_ports(key, key->dport, port);
	key->dst = *frontend;
	fl_flow_key_kind(key, key->proto, FL_HOOK_INGRESS);
}

/* From D's: the answer to this node's address and source port. */
static __always_inline void fl_flow_key_c(struct fl_flow_key *key, __u32 ipv6,
					  __be16 port)
{
	key->dst = fl_masquerade_addr(ipv6);
	fl_flow_key_ports(key, key->sport, port);
	fl_flow_key_kind(key, key->proto, FL_HOOK_INGRESS);
}

/* Is this D the one that was made with A (its key)? Another flow may have taken
 * its place. */
static __always_inline __u32 fl_flow_is_reply_of(const struct fl_flow *d,
						 const struct fl_flow_key *a)
{
	return d->port == a->dport && fl_addr_equal(&d->addr, &a->dst);
}

/* What A's packets show, its other entries are told: they are used by others to
 * see whether the flow is over. `a` is A's key, `position` its place; `keep`:
 * the entries' ranks follow. */
static __noinline int fl_flow_tell(const struct fl_flow_key *a,
				   const struct fl_flow *flow, int position,
				   __u32 keep)
{
	struct fl_flow_key key = {};
	struct fl_flow *d, *c;
	int at;

	fl_flow_key_d(&key, a, &flow->addr, flow->port);
	at = fl_flow_seek(&key);
	d = fl_flow_at(at);
	if (!d || !fl_flow_is_reply_of(d, a))
		return 0;
	d->last_seen = flow->last_seen;
	if (flow->state == FL_FLOW_CLOSED)
		d->state = FL_FLOW_CLOSED;
	if (keep)
		fl_flow_keep(at, d->state, flow->last_seen);
	/* Datagrams don't say that they have been answered. */
	if (keep && d->state == FL_FLOW_ESTABLISHED &&
	    flow->state == FL_FLOW_NEW)
		fl_flow_keep(position, FL_FLOW_ESTABLISHED, flow->last_seen);
	if (!d->source_port)
		return 0;
	fl_flow_key_c(&key, !fl_addr_is_v4(&flow->addr), d->source_port);
	at = fl_flow_seek(&key);
	c = fl_flow_at(at);
	if (!c)
		return 0;
	c->last_seen = flow->last_seen;
	/* Half closed: its port isn't kept for days. */
	if (flow->state >= FL_FLOW_CLOSING && c->state < flow->state)
		c->state = flow->state;
	if (keep)
		fl_flow_keep(at, c->state, flow->last_seen);
	return 0;
}

/* Follows TCP, liberally: whatever comes, the packet is forwarded. Writes
 * only what has changed, so that a busy flow's entry stays shared between
 * CPUs' caches.
 *
 * A SYN, and its answer, raise no rank: who has another's address can send the
 * one and have the other sent, and a flood of them would be worth what
 * connections are. The client's ACK makes all of its flow's entries dear. */
static __always_inline void fl_flow_track(struct fl_flow *flow, int position,
					  const struct fl_packet *pkt,
					  __u64 now_ns)
{
	__u32 changed = 0, keep = !(pkt->tcp_flags & FL_TCP_SYN);
	__u8 state = flow->state;

	if (pkt->tcp_flags & FL_TCP_RST)
		state = FL_FLOW_CLOSED;
	else if ((pkt->tcp_flags & FL_TCP_FIN) && state < FL_FLOW_CLOSING)
		state = FL_FLOW_CLOSING;
	else if (state == FL_FLOW_NEW &&
		 ((flow->flags & FL_FLOW_REPLY) ||
		  (pkt->tcp_flags & FL_TCP_ACK)))
		state = FL_FLOW_ESTABLISHED;
	if (state != flow->state) {
		flow->state = state;
		changed = 1;
	}
	if (fl_unlikely(fl_flow_idle(flow, now_ns, FL_FLOW_TOUCH_SECONDS))) {
		flow->last_seen = now_ns / FL_SECOND_NS;
		changed = 1;
	}
	if (fl_likely(!changed))
		return;
	if (keep)
		fl_flow_keep(position, state, flow->last_seen);
	if (!(flow->flags & FL_FLOW_REPLY))
		fl_flow_tell(&pkt->tuple, flow, position, keep);
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

/* What neither A nor its backend could settle alone. A function of its own, as
 * it is rare. */
static __noinline int fl_flow_serves_by_reply(const struct fl_flow *a,
					      const struct fl_packet *pkt)
{
	struct fl_flow_key key;
	struct fl_flow *d;

	fl_flow_key_d(&key, &pkt->tuple, &a->addr, a->port);
	d = fl_flow_find(&key);
	/* The answers alone keep a flow of datagrams alive. */
	if (pkt->tuple.proto == FL_IPPROTO_UDP)
		return d && !fl_flow_idle(d, bpf_ktime_get_coarse_ns(),
					  FL_FLOW_IDLE_UDP);
	return !fl_flow_is_over(a, d);
}

/* This is another version's entry, and its flow is over, or nearly: its client's
 * port may have a new one that is still to be copied. */
static __always_inline __u32 fl_flow_doubtful(const struct fl_flow *flow,
					      const struct fl_packet *pkt)
{
	return flow->state >= FL_FLOW_CLOSING ||
	       (!(flow->flags & FL_FLOW_REPLY) &&
		!fl_flow_serves_by_reply(flow, pkt));
}

/* May this packet go where A says? Established TCP always may: a removed
 * endpoint's connections end by themselves. A SYN or a datagram only if a new
 * one could go there. */
static __always_inline __u32 fl_flow_serves(const struct fl_flow *a,
					    const struct fl_packet *pkt,
					    __u64 now_ns)
{
	__u32 udp = pkt->tuple.proto == FL_IPPROTO_UDP;
	struct fl_backend *backend;
	__u8 state;

	if (!udp && !fl_is_opening(pkt))
		return 1;
	backend = fl_backend_same(a->backend_id, a->backend_generation);
	if (!backend)
		return 0;
	state = backend->state;
	if (state != FL_BACKEND_ON && !(udp && state == FL_BACKEND_DRAIN))
		return 0;
	if (udp && !fl_flow_idle(a, now_ns, FL_FLOW_IDLE_UDP))
		return 1;
	return fl_flow_serves_by_reply(a, pkt);
}

/* The packet goes where `flow` says. The entry is read once: it may be given
 * to another flow at any time. */
static __always_inline void fl_flow_follow(struct fl_packet *pkt,
					   const struct fl_flow *flow)
{
	fl_addr_copy(&pkt->to, &flow->addr);
	pkt->to_port = flow->port;
	pkt->service_id = flow->service_id;
	pkt->backend_id = flow->backend_id;
	pkt->masquerade = flow->flags & FL_FLOW_MASQ;
}

/* Removes all entries of the flow with A's key `a` to this backend: its source
 * port is free again at once. What another flow has by now stays. */
static __noinline int fl_flow_forget(const struct fl_flow_key *a,
				     const struct fl_addr *backend, __be16 port)
{
	struct fl_flow_key key;
	struct fl_flow *flow;
	__be16 source_port;

	fl_flow_key_d(&key, a, backend, port);
	flow = fl_flow_find(&key);
	if (flow && fl_flow_is_reply_of(flow, a)) {
		source_port = flow->source_port;
		fl_flow_remove(&key);
		fl_flow_key_c(&key, !fl_addr_is_v4(&key.src), source_port);
		flow = source_port ? fl_flow_find(&key) : 0;
		if (flow && flow->port == a->sport &&
		    fl_addr_equal(&flow->addr, &a->src))
			fl_flow_remove(&key);
	}
	fl_flow_remove(a);
	return 0;
}

#endif /* FAIRLEAD_BPF_LIB_FLOW_H_ */
