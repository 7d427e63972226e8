/* SPDX-License-Identifier: GPL-2.0-only */
/* tc ingress: destinations are translated, flows are opened. The verdict is
 * the counter's id (tc.bpf.c makes an action of it).
 */
#ifndef FAIRLEAD_BPF_LIB_INGRESS_H_
#define FAIRLEAD_BPF_LIB_INGRESS_H_

#include "bpf/lib/config.h"
#include "bpf/lib/count.h"
#include "bpf/lib/flow.h"
#include "bpf/lib/foreign.h"
#include "bpf/lib/fragment.h"
#include "bpf/lib/frontend.h"
#include "bpf/lib/glance.h"
#include "bpf/lib/icmp.h"
#include "bpf/lib/lookup.h"
#include "bpf/lib/reject.h"

/* Backends that are tried when another flow has the tuple. */
#define FL_CLASH_TRIES 4

/* An answer to a masqueraded packet, if anything: a flow knows. */
static __always_inline __u32 fl_is_masquerade(const struct fl_packet *pkt)
{
	return fl_is_source_port(pkt->tuple.dport) &&
	       fl_is_masquerade_addr(&pkt->tuple.dst, pkt->ipv6);
}

/* ---- opening a flow ---- */

/* Is this D entry another flow's, still in use? Answers could not be told
 * apart. */
static __always_inline __u32 fl_tuple_taken(const struct fl_flow *d,
					    const struct fl_packet *pkt)
{
	if (fl_flow_is_reply_of(d, &pkt->tuple))
		return 0;
	return !fl_flow_expired(d, pkt->tuple.proto,
				bpf_ktime_get_coarse_ns());
}

/* Random enough to spread flows, without the kernel's generator, which costs as
 * much as a hash look-up: clients' ports differ, time goes on, and each flow has
 * its number. `n`: of one packet's random numbers, which. */
static __always_inline __u32 fl_flow_random(const struct fl_packet *pkt,
					    __u32 n)
{
	const struct fl_flow_key *tuple = &pkt->tuple;
	__u32 h = (__u32)bpf_ktime_get_coarse_ns() + n;

	h = fl_filter_mix(h, fl_counted(FL_COUNTER_FORWARD_NEW));
	h = fl_filter_mix(h, tuple->src.w[3] ^ tuple->src.w[1]);
	h = fl_filter_mix(h, ((__u32)tuple->sport << 16) | tuple->dport);
	h *= 0xc2b2ae35u;
	return h ^ (h >> 16);
}

/* Where the search for a source port begins: can't be foreseen without the
 * table's secret, which is in `hash` (D's), nor the secret be told from it, for
 * who doesn't know the time and the number of flows. */
static __always_inline __u32 fl_port_random(__u64 hash, __u64 now_ns)
{
	__u64 h = hash ^ now_ns;

	h += (__u64)fl_counted(FL_COUNTER_FORWARD_NEW) << 32;
	h *= 0x9e3779b97f4a7c15ull;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ull;
	return h >> 32;
}

/* The flow that this C is of is over: without A and D, no packet of it comes to
 * a source port that is another's now. */
static __noinline int fl_flow_evict(const struct fl_flow_key *c)
{
	struct fl_flow_key key = *c;
	struct fl_flow *flow = fl_flow_find(c);
	struct fl_addr frontend;
	__be16 port;

	if (!flow)
		return 0;
	key.dst = flow->addr;
	key.dport = flow->port;
	key.hook = FL_HOOK_EGRESS;
	flow = fl_flow_find(&key);
	if (!flow || flow->source_port != c->dport)
		return 0;
	frontend = flow->addr;
	port = flow->port;
	fl_flow_remove(&key);
	fl_flow_key_a(&key, &frontend, port);
	fl_flow_remove(&key);
	return 0;
}

/* Has the flow with this C been silent for so long that it is over? */
__noinline int fl_masquerade_stale(const struct fl_flow_key *c)
{
	struct fl_flow *flow;

	if (!c)
		return 0;
	flow = fl_flow_find(c);
	return flow && fl_flow_expired(flow, c->proto,
				       bpf_ktime_get_coarse_ns());
}

struct fl_ports {
	__u32 first;
	__u32 count;
};

/* Where a new flow's source port comes from. During a changeover there are flows
 * of another version that aren't seen here yet: their ports must not be given
 * out again, so some are kept for then. */
static __always_inline struct fl_ports fl_masquerade_ports(void)
{
	__u32 all = fl_config.source_port_max - fl_config.source_port_min + 1;
	__u32 kept = all / FL_CHANGEOVER_PORTS;
	struct fl_ports ports = {
		.first = fl_config.source_port_min,
		.count = all - kept,
	};

	if (fl_config.changeover && kept) {
		ports.first += ports.count;
		ports.count = kept;
	}
	return ports;
}

/* Claims C with a port that no other flow to this backend has: its position, or
 * negative: all taken. Free ports first; a stale one if there are none within
 * the tries. */
static __always_inline int fl_masquerade_claim(struct fl_flow_key *c, __u32 now,
					       __u32 random)
{
	struct fl_ports ports = fl_masquerade_ports();
	__u32 at = ((__u64)random * ports.count) >> 32;
	__be16 stale = 0;
	int position;
	__u32 i;

	for (i = 0; i < FL_PORT_TRIES && i < ports.count; i++) {
		fl_flow_key_ports(c, c->sport, bpf_htons(ports.first + at));
		if (!fl_foreign_has_port(c)) {
			position = fl_flow_claim_absent(c, FL_FLOW_NEW, now);
			if (position >= 0)
				return position;
			if (fl_masquerade_stale(c))
				stale = c->dport;
		}
		at++;
		if (at >= ports.count)
			at = 0;
	}
	if (!stale)
		return FL_FLOW_FULL;
	c->dport = stale;
	fl_flow_evict(c);
	return fl_flow_claim_any(c, FL_FLOW_NEW, now);
}

/* Claims D, whose entry is there or being made; or FL_FLOW_EXISTS: somebody
 * makes it right now, or FL_FLOW_FULL: another flow has it. `d` is its key. */
static __noinline int fl_flow_claim_reply(const struct fl_packet *pkt,
					  struct fl_flow_key *d, __u32 now)
{
	struct fl_flow *taken = fl_flow_find(d);

	if (taken && fl_tuple_taken(taken, pkt))
		return FL_FLOW_FULL;
	if (taken && !fl_flow_is_reply_of(taken, &pkt->tuple)) {
		/* Over: nor may its A come back to life, or its C keep a
		 * port. */
		fl_flow_key_a(d, &taken->addr, taken->port);
		fl_flow_forget(d, &pkt->to, pkt->to_port);
		fl_flow_key_d(d, &pkt->tuple, &pkt->to, pkt->to_port);
	}
	return fl_flow_claim_any(d, FL_FLOW_NEW, now);
}

/* A claimed entry of pkt's flow: what it does with packets is the caller's to
 * fill in. */
static __noinline struct fl_flow *
fl_flow_begin(int position, const struct fl_flow_key *key,
	      const struct fl_packet *pkt, __u32 now)
{
	struct fl_flow_bucket *bucket = fl_flow_bucket_of(position);
	struct fl_flow_entry *entry;

	if (!bucket)
		return 0;
	FL_FLOW_OPAQUE(position);
	entry = &bucket->entry[position & (FL_FLOW_WAYS - 1)];
	entry->key = *key;
	entry->flow.state = FL_FLOW_NEW;
	entry->flow.service_id = pkt->service_id;
	entry->flow.backend_id = pkt->backend_id;
	entry->flow.backend_generation = pkt->backend_generation;
	entry->flow.last_seen = now;
	entry->flow.created = (__u16)(now / 60);
	return &entry->flow;
}

static __always_inline void fl_flow_write(struct fl_flow *flow,
					  const struct fl_addr *addr,
					  __be16 port, __u8 flags,
					  __be16 source_port)
{
	if (!flow)
		return;
	flow->addr = *addr;
	flow->port = port;
	flow->flags = flags;
	flow->source_port = source_port;
}

/* All entries of pkt's flow to pkt->to; what makes it exist, A, comes last.
 * All are claimed, then filled, then published, so that their cache lines come
 * from memory at the same time.
 * DROP_TUPLE_CLASH: another flow has D. (Global functions are verified once,
 * whatever they are called with.) */
__noinline int fl_flow_open(const struct fl_packet *pkt)
{
	struct fl_flow_key key = {};
	int a, c = -1, d;
	__be16 port = 0;
	__u64 hash, now_ns;
	__u32 now;

	if (!pkt)
		return FL_COUNTER_DROP_MAP_FULL;
	now_ns = bpf_ktime_get_coarse_ns();
	now = now_ns / FL_SECOND_NS;
	fl_flow_key_d(&key, &pkt->tuple, &pkt->to, pkt->to_port);
	hash = fl_flow_hash_of(&key);
	if (pkt->masquerade) {
		if (fl_unlikely(!fl_has_masquerade_addr(pkt->ipv6)))
			return FL_COUNTER_REJECT_NO_PORT;
		fl_flow_touch(hash);
		fl_flow_key_c(&key, pkt->ipv6, 0);
		c = fl_masquerade_claim(&key, now,
					fl_port_random(hash, now_ns));
		if (c < 0)
			return FL_COUNTER_REJECT_NO_PORT;
		port = key.dport;
		fl_flow_key_d(&key, &pkt->tuple, &pkt->to, pkt->to_port);
	}
	d = fl_flow_claim_new(&key, hash, FL_FLOW_NEW, now);
	if (fl_unlikely(d < 0))
		d = fl_flow_claim_reply(pkt, &key, now);
	if (d < 0) { /* its port isn't needed */
		fl_flow_disclaim_at(c);
		c = -1;
	}
	if (d == FL_FLOW_FULL)
		return FL_COUNTER_DROP_TUPLE_CLASH;
	/* FL_FLOW_EXISTS: another CPU makes it, with the same D. */
	a = fl_flow_claim_new(&pkt->tuple, pkt->hash, FL_FLOW_NEW, now);
	if (a == FL_FLOW_FULL) {
		fl_flow_disclaim_at(c);
		fl_flow_disclaim_at(d);
		return FL_COUNTER_DROP_MAP_FULL;
	}
	fl_flow_touch_entry(c);
	fl_flow_touch_entry(d);
	fl_flow_touch_entry(a);
	fl_flow_write(fl_flow_begin(d, &key, pkt, now), &pkt->tuple.dst,
		      pkt->tuple.dport, FL_FLOW_REPLY | pkt->masquerade, port);
	if (pkt->masquerade) {
		fl_flow_key_c(&key, pkt->ipv6, port);
		fl_flow_write(fl_flow_begin(c, &key, pkt, now),
			      &pkt->tuple.src, pkt->tuple.sport,
			      FL_FLOW_REPLY | FL_FLOW_MASQ, 0);
	}
	fl_flow_write(fl_flow_begin(a, &pkt->tuple, pkt, now), &pkt->to,
		      pkt->to_port, pkt->masquerade, 0);
	fl_flow_publish_at(d);
	fl_flow_publish_too_at(c);
	fl_flow_publish_too_at(a);
	return FL_COUNTER_FORWARD_NEW;
}

/* FORWARD_NEW: pkt->to is a backend that is ON. REJECT_RST: there is none. The
 * second time, affinity has had its say. */
__noinline int fl_choose(struct fl_packet *pkt,
			 const struct fl_service *service,
			 const struct fl_selection *selection, __u32 again)
{
	struct fl_choice choice;

	if (!pkt || !service || !selection)
		return FL_COUNTER_REJECT_RST;
	choice = again ? fl_select_random(selection, fl_flow_random(pkt, again)) :
			 fl_select(service, selection, &pkt->tuple.src,
				   fl_flow_random(pkt, 0));
	if (!choice.backend)
		return FL_COUNTER_REJECT_RST;
	pkt->to = choice.backend->addr;
	pkt->to_port = choice.backend->port;
	pkt->backend_id = choice.id;
	pkt->backend_generation = choice.generation;
	return FL_COUNTER_FORWARD_NEW;
}

/* The service's verdict on a packet that has no flow, before any endpoint is
 * looked at: FORWARD_NEW, NOT_OURS, REJECT_* (not yet answered) or DROP_*. */
static __always_inline enum fl_counter_id
fl_ingress_admit(struct fl_packet *pkt, const struct fl_service *service,
		 enum fl_client client)
{
	enum fl_verdict verdict = fl_service_verdict(service, client);

	if (pkt->malformed)
		return FL_COUNTER_DROP_MALFORMED;
	if ((service->flags & FL_SERVICE_SOURCE_RANGES) &&
	    !fl_source_range_allows(service, &pkt->tuple.src))
		return FL_COUNTER_DROP_SOURCE_RANGE;
	if (verdict == FL_VERDICT_DROP)
		return FL_COUNTER_DROP_POLICY;
	if (pkt->tuple.proto != FL_IPPROTO_UDP && !fl_is_opening(pkt))
		return fl_config.changeover ||
				       pkt->tuple.proto != FL_IPPROTO_TCP ||
				       pkt->tcp_flags & FL_TCP_RST ?
			       FL_COUNTER_DROP_NO_FLOW :
			       FL_COUNTER_REJECT_NO_FLOW;
	if (verdict == FL_VERDICT_REJECT)
		return FL_COUNTER_REJECT_RST;
	return FL_COUNTER_FORWARD_NEW;
}

/* Must the source of pkt's flow to pkt->to be translated? A hairpin must, as it
 * would be answered past this node. What this host itself serves is answered
 * through it anyway, and sees its client, as with netfilter. */
static __always_inline __u32
fl_ingress_masquerades(const struct fl_packet *pkt,
		       const struct fl_service *service, enum fl_client client)
{
	if (fl_addr_equal(&pkt->tuple.src, &pkt->to))
		return 1;
	return fl_service_masquerades(service, client) &&
	       !(fl_node_addr_flags(&pkt->to) & FL_NODE_ADDR_LOCAL);
}

/* A packet that has no flow, or one that it can't use any more. FORWARD_NEW: it
 * may go to pkt->to; REJECT_*: not yet answered. `again`: how many endpoints
 * have turned out to be taken for its tuple. */
__noinline int fl_ingress_decide(struct fl_packet *pkt, __u32 again)
{
	struct fl_service service;
	enum fl_counter_id verdict;
	enum fl_client client;

	if (!pkt)
		return FL_COUNTER_NOT_OURS;
	if (!fl_service_copy(&pkt->tuple.dst, pkt->tuple.dport,
			     pkt->tuple.proto,
			     fl_filter_bit(&pkt->tuple.dst, pkt->tuple.dport,
					   pkt->tuple.proto),
			     &service))
		return fl_stray(pkt);
	pkt->service_id = service.id;
	client = fl_client_kind(&service, &pkt->tuple.src, pkt->ifindex);
	verdict = fl_ingress_admit(pkt, &service, client);
	if (verdict != FL_COUNTER_FORWARD_NEW)
		return verdict;
	verdict = (enum fl_counter_id)fl_choose(
		pkt, &service, fl_service_selection(&service, client), again);
	pkt->masquerade = fl_ingress_masquerades(pkt, &service, client) ?
				  FL_FLOW_MASQ : 0;
	return verdict;
}

/* pkt's flow is open. Is its endpoint a client of its client's, each from the
 * port that it serves on? Then what leaves for the one looks like an answer to
 * the other: the packets of both flows carry the mark, which tells egress. */
__noinline int fl_flow_mark_mutual(struct fl_packet *pkt)
{
	struct fl_flow_key key;
	struct fl_flow *other, *a;

	if (!pkt)
		return 0;
	key = pkt->tuple;
	key.dst = pkt->to;
	key.dport = pkt->to_port;
	key.hook = FL_HOOK_EGRESS;
	other = fl_flow_find(&key);
	if (fl_likely(!other))
		return 0;
	fl_flow_key_a(&key, &other->addr, other->port);
	a = fl_flow_find(&key);
	if (a && a->port == pkt->tuple.sport &&
	    fl_addr_equal(&a->addr, &pkt->tuple.src))
		a->flags |= FL_FLOW_MASQ;
	a = fl_flow_find(&pkt->tuple);
	if (a)
		a->flags |= FL_FLOW_MASQ;
	pkt->masquerade = FL_FLOW_MASQ;
	return 0;
}

/* FORWARD_NEW: its flow is open, follow pkt->to. */
__noinline int fl_ingress_new(struct fl_packet *pkt)
{
	int verdict = FL_COUNTER_NOT_OURS, i;

	if (!pkt)
		return verdict;
	for (i = 0; i < FL_CLASH_TRIES; i++) {
		verdict = fl_ingress_decide(pkt, i);
		if (verdict != FL_COUNTER_FORWARD_NEW)
			break;
		verdict = fl_flow_open(pkt);
		if (verdict != FL_COUNTER_DROP_TUPLE_CLASH)
			break;
	}
	if (verdict == FL_COUNTER_FORWARD_NEW &&
	    fl_unlikely(fl_backend_possible(&pkt->tuple.src, pkt->tuple.sport,
					    pkt->tuple.proto)))
		fl_flow_mark_mutual(pkt);
	return verdict;
}

/* A first packet straight to a backend (or one that was translated already, at
 * another device). A flow with its tuple that is over would still translate the
 * answers: it makes place. */
__noinline int fl_ingress_direct(const struct fl_packet *pkt)
{
	struct fl_flow_key key = {};
	struct fl_flow *a, *d;

	if (!pkt)
		return 0;
	fl_flow_key_d(&key, &pkt->tuple, &pkt->tuple.dst, pkt->tuple.dport);
	d = fl_flow_find(&key);
	if (fl_likely(!d))
		return 0;
	fl_flow_key_a(&key, &d->addr, d->port);
	a = fl_flow_find(&key);
	if (a && !fl_flow_is_over(a, d) &&
	    !fl_flow_expired(d, key.proto, bpf_ktime_get_coarse_ns()))
		return 0;
	fl_flow_forget(&key, &pkt->tuple.dst, pkt->tuple.dport);
	return 0;
}

/* ---- packets ---- */

/* Addressed to no frontend. */
static __always_inline enum fl_counter_id
fl_ingress_not_ours(const struct fl_packet *pkt)
{
	if (fl_unlikely(fl_is_service_addr(&pkt->tuple.dst, pkt->ipv6)))
		return (enum fl_counter_id)fl_stray(pkt);
	if (fl_unlikely(fl_is_opening(pkt)) &&
	    fl_backend_possible(&pkt->tuple.dst, pkt->tuple.dport,
				pkt->tuple.proto))
		fl_ingress_direct(pkt);
	return FL_COUNTER_NOT_OURS;
}

/* FORWARD_*, REPLY_HIT: follow pkt->to. */
static __always_inline enum fl_counter_id
fl_ingress_route(struct __sk_buff *ctx, struct fl_packet *pkt,
		 enum fl_glance glance)
{
	__u32 frontend = glance == FL_GLANCE_POSSIBLE ||
			 fl_frontend_possible(pkt);
	struct fl_flow *flow;
	__u64 now_ns = 0;
	int position;

	if (fl_likely(!frontend && !fl_is_masquerade(pkt)))
		return fl_ingress_not_ours(pkt);
	pkt->hash = fl_flow_hash(&pkt->tuple, &fl_config.flows);
	position = fl_flow_seek_hashed(&pkt->tuple, pkt->hash);
	flow = fl_flow_at(position);
	if (flow && pkt->malformed)
		return FL_COUNTER_DROP_MALFORMED;
	if (flow && fl_flow_awaited(pkt) && fl_flow_doubtful(flow, pkt))
		return FL_COUNTER_DROP_NO_FLOW;
	if (flow)
		now_ns = bpf_ktime_get_coarse_ns();
	if (flow && (flow->flags & FL_FLOW_REPLY)) {
		fl_flow_track(flow, position, pkt, now_ns);
		fl_flow_follow(pkt, flow);
		return FL_COUNTER_REPLY_HIT;
	}
	if (flow && fl_flow_serves(flow, pkt, now_ns)) {
		fl_flow_track(flow, position, pkt, now_ns);
		fl_flow_follow(pkt, flow);
		return FL_COUNTER_FORWARD_HIT;
	}
	if (flow) {
		fl_flow_forget(&pkt->tuple, &flow->addr, flow->port);
	} else if (!frontend) {
		return fl_flow_awaited(pkt) ? FL_COUNTER_DROP_NO_FLOW :
					      fl_ingress_not_ours(pkt);
	}
	if (fl_is_foreign(pkt))
		return FL_COUNTER_NOT_OURS;
	return (enum fl_counter_id)fl_ingress_new(pkt);
}

static __always_inline enum fl_counter_id
fl_ingress_flow(struct __sk_buff *ctx, struct fl_packet *pkt,
		enum fl_glance glance)
{
	enum fl_counter_id verdict = fl_ingress_route(ctx, pkt, glance);

	switch (verdict) {
	case FL_COUNTER_FORWARD_NEW:
	case FL_COUNTER_FORWARD_HIT:
		if (pkt->masquerade)
			ctx->mark |= fl_config.mark;
		if (fl_likely(!fl_rewrite(ctx, pkt, FL_SIDE_DST)))
			return verdict;
		/* Nothing has been sent: that is no flow. */
		if (verdict == FL_COUNTER_FORWARD_NEW)
			fl_flow_forget(&pkt->tuple, &pkt->to, pkt->to_port);
		return FL_COUNTER_DROP_REWRITE;
	case FL_COUNTER_REPLY_HIT:
		return fl_rewrite(ctx, pkt, FL_SIDE_DST) ?
			       FL_COUNTER_DROP_REWRITE : verdict;
	case FL_COUNTER_REJECT_RST:
	case FL_COUNTER_REJECT_NO_FLOW:
	case FL_COUNTER_REJECT_NO_SERVICE:
	case FL_COUNTER_REJECT_NO_PORT:
		return fl_reject(ctx, pkt, verdict);
	default:
		return verdict;
	}
}

/* Echo requests and the like, which no frontend takes. */
static __always_inline enum fl_counter_id
fl_ingress_other(struct __sk_buff *ctx, struct fl_packet *pkt)
{
	enum fl_counter_id verdict;

	if (fl_likely(!fl_is_service_addr(&pkt->tuple.dst, pkt->ipv6)))
		return FL_COUNTER_NOT_OURS;
	verdict = (enum fl_counter_id)fl_stray(pkt);
	return verdict == FL_COUNTER_REJECT_NO_SERVICE ?
		       fl_reject(ctx, pkt, verdict) : verdict;
}

static __always_inline enum fl_counter_id
fl_ingress_icmp(struct __sk_buff *ctx, struct fl_packet *pkt)
{
	struct fl_flow *flow;

	if (!fl_frontend_possible(pkt) && !fl_is_masquerade(pkt))
		return FL_COUNTER_NOT_OURS;
	flow = fl_flow_find(&pkt->tuple);
	if (!flow)
		return FL_COUNTER_NOT_OURS;
	fl_flow_follow(pkt, flow);
	if (flow->flags == FL_FLOW_MASQ)
		ctx->mark |= fl_config.mark;
	return fl_icmp_translate(ctx, pkt, FL_SIDE_DST) ?
		       FL_COUNTER_DROP_REWRITE :
		       FL_COUNTER_ICMP_TRANSLATED;
}

static __always_inline enum fl_counter_id fl_ingress(struct __sk_buff *ctx,
						     struct fl_packet *pkt,
						     enum fl_glance glance)
{
	switch (pkt->kind) {
	case FL_PACKET_FLOW:
		return fl_ingress_flow(ctx, pkt, glance);
	case FL_PACKET_ICMP_ERROR:
		return fl_ingress_icmp(ctx, pkt);
	case FL_PACKET_FRAGMENT:
		return (enum fl_counter_id)fl_fragment_translate(ctx, pkt);
	case FL_PACKET_TRUNCATED:
		return fl_is_only_frontend(&pkt->tuple.dst) ?
			       FL_COUNTER_DROP_MALFORMED : FL_COUNTER_NOT_OURS;
	default:
		return fl_ingress_other(ctx, pkt);
	}
}

#endif /* FAIRLEAD_BPF_LIB_INGRESS_H_ */
