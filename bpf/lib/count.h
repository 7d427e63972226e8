/* SPDX-License-Identifier: GPL-2.0-only */
/* Counting: each terminal path calls fl_count() exactly once. */
#ifndef FAIRLEAD_BPF_LIB_COUNT_H_
#define FAIRLEAD_BPF_LIB_COUNT_H_

#include "bpf/lib/config.h"
#include "bpf/lib/maps.h"

/* `bytes`: skb->len; 0 where there is no packet. */
static __always_inline void fl_count(enum fl_counter_id id, __u64 bytes)
{
	__u32 key = id;
	struct fl_counter *counter =
		(struct fl_counter *)bpf_map_lookup_elem(&fl_counter, &key);

	/* Per CPU, and a program isn't preempted by itself: no atomics. */
	if (counter) {
		counter->packets++;
		counter->bytes += bytes;
	}
}

/* So far, on this CPU. */
static __always_inline __u32 fl_counted(enum fl_counter_id id)
{
	__u32 key = id;
	struct fl_counter *counter =
		(struct fl_counter *)bpf_map_lookup_elem(&fl_counter, &key);

	return counter ? (__u32)counter->packets : 0;
}

/* Not inlined: so the object's BTF has the type, for the ABI test. */
static __noinline void fl_event_stamp(struct fl_event *event)
{
	event->time_ns = bpf_ktime_get_ns();
}

/* A sampled record of a drop, for people. The counter has the truth: a full
 * ring loses records, never counts. */
static __always_inline void fl_event_emit(const struct fl_flow_key *tuple,
					  __u32 ifindex, enum fl_counter_id id,
					  __u32 service_id, __u32 backend_id)
{
	struct fl_event *event;

	if (!fl_config.event_sample)
		return;
	if (fl_config.event_sample > 1 &&
	    bpf_get_prandom_u32() % fl_config.event_sample)
		return;
	event = (struct fl_event *)bpf_ringbuf_reserve(&fl_event,
						       sizeof(*event), 0);
	if (!event)
		return;
	fl_event_stamp(event);
	event->tuple = *tuple;
	event->ifindex = ifindex;
	event->counter = id;
	event->service_id = service_id;
	event->backend_id = backend_id;
	bpf_ringbuf_submit(event, 0);
}

#endif /* FAIRLEAD_BPF_LIB_COUNT_H_ */
