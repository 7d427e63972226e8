/* SPDX-License-Identifier: GPL-2.0-only */
/* Which backend takes a new flow.
 *
 * Uniformly random over the selection's slots; a backend that isn't ON is
 * stepped over, within a bound, so that health acts before the selection is
 * rebuilt. With session affinity the client's last backend comes first, if it
 * is still in this selection.
 */
#ifndef FAIRLEAD_BPF_LIB_SELECT_H_
#define FAIRLEAD_BPF_LIB_SELECT_H_

#include "bpf/lib/addr.h"
#include "bpf/lib/maps.h"

/* backend == null: none can be used; the verdict is REJECT. */
struct fl_choice {
	struct fl_backend *backend;
	__u32 id;
	__u32 generation;
	__u32 slot;
	__u32 pad;
};

/* The most slots that are searched for an affinity entry's backend after the
 * selection was rebuilt; a bigger selection loses the entry. */
#define FL_AFFINITY_SCAN 65536

static __always_inline struct fl_backend *fl_backend_get(__u32 id)
{
	return (struct fl_backend *)bpf_map_lookup_elem(&fl_backend, &id);
}

/* The backend that a flow, socket or affinity entry remembers, or null if
 * its id has been given to another one since, or it is gone. */
static __always_inline struct fl_backend *fl_backend_same(__u32 id,
							  __u32 generation)
{
	struct fl_backend *backend = fl_backend_get(id);

	if (!backend || backend->generation != generation ||
	    backend->state == FL_BACKEND_FREE)
		return 0;
	return backend;
}

/* Backend id in a slot; 0: none. */
static __always_inline __u32 fl_slot_get(__u32 slot)
{
	__u32 *id = (__u32 *)bpf_map_lookup_elem(&fl_slot, &slot);

	return id ? *id : 0;
}

/* The first backend that is ON, from `offset` in the selection on. */
static __always_inline struct fl_choice
fl_select_from(const struct fl_selection *selection, __u32 offset)
{
	struct fl_choice choice = {};
	struct fl_backend *backend;
	__u32 i, id;

	/* A reader may see a selection that is being replaced: count can be
	 * anything, so nothing here relies on it but the range of slots. */
	for (i = 0; i < FL_SELECT_TRIES; i++) {
		if (i >= selection->count)
			break;
		if (offset >= selection->count)
			offset = 0;
		id = fl_slot_get(selection->base + offset);
		backend = id ? fl_backend_get(id) : 0;
		if (fl_likely(backend && backend->state == FL_BACKEND_ON)) {
			choice.backend = backend;
			choice.id = id;
			choice.generation = backend->generation;
			choice.slot = selection->base + offset;
			return choice;
		}
		offset++;
	}
	return choice;
}

/* Without affinity. `random`: any 32 bits, uniform. */
static __always_inline struct fl_choice
fl_select_random(const struct fl_selection *selection, __u32 random)
{
	/* Multiply-shift: no division, and no bias worth the name. */
	return fl_select_from(selection,
			      ((__u64)random * selection->count) >> 32);
}

struct fl_affinity_scan {
	__u32 base;
	__u32 count;
	__u32 wanted;
	__u32 found; /* slot + 1; 0: not in the selection */
};

static long fl_affinity_scan_slot(__u32 i, struct fl_affinity_scan *scan)
{
	if (fl_slot_get(scan->base + i) != scan->wanted)
		return 0;
	scan->found = scan->base + i + 1;
	return 1;
}

/* A slot of the selection that holds this backend, plus 1. `hint` is where it
 * was last time: right unless the selection was rebuilt. */
static __always_inline __u32
fl_selection_find(const struct fl_selection *selection, __u32 backend_id,
		  __u32 hint)
{
	struct fl_affinity_scan scan = {
		.base = selection->base,
		.count = selection->count,
		.wanted = backend_id,
	};

	if (hint - scan.base < scan.count && fl_slot_get(hint) == backend_id)
		return hint + 1;
	if (scan.count > FL_AFFINITY_SCAN)
		scan.count = FL_AFFINITY_SCAN;
	bpf_loop(scan.count, (void *)fl_affinity_scan_slot, &scan, 0);
	return scan.found;
}

static __always_inline struct fl_choice
fl_affinity_choice(const struct fl_service *service,
		   const struct fl_selection *selection,
		   const struct fl_affinity_key *key, __u32 now)
{
	struct fl_choice choice = {};
	struct fl_affinity *affinity = (struct fl_affinity *)
		bpf_map_lookup_elem(&fl_affinity, key);
	struct fl_backend *backend;
	__u32 found;

	if (!affinity || now - affinity->last_used > service->affinity_seconds)
		return choice;
	backend = fl_backend_same(affinity->backend_id,
				  affinity->backend_generation);
	if (!backend || backend->state != FL_BACKEND_ON)
		return choice;
	found = fl_selection_find(selection, affinity->backend_id,
				  affinity->slot);
	if (!found)
		return choice;
	choice.backend = backend;
	choice.id = affinity->backend_id;
	choice.generation = affinity->backend_generation;
	choice.slot = found - 1;
	return choice;
}

/* The backend for a new flow of `client`, by 32 random bits (`client`: its source
 * address; the socket path puts its network namespace's cookie there). */
static __always_inline struct fl_choice
fl_select(const struct fl_service *service,
	  const struct fl_selection *selection, const struct fl_addr *client,
	  __u32 random)
{
	struct fl_affinity_key key = {
		.client = *client,
		.service_id = service->id,
	};
	struct fl_affinity entry = {};
	struct fl_choice choice;
	__u32 now;

	if (fl_likely(!service->affinity_seconds))
		return fl_select_random(selection, random);
	now = fl_now_seconds();
	choice = fl_affinity_choice(service, selection, &key, now);
	if (!choice.backend)
		choice = fl_select_random(selection, random);
	if (!choice.backend)
		return choice;
	entry.backend_id = choice.id;
	entry.backend_generation = choice.generation;
	entry.last_used = now;
	entry.slot = choice.slot;
	/* A full table only costs this client its affinity. */
	bpf_map_update_elem(&fl_affinity, &key, &entry, BPF_ANY);
	return choice;
}

#endif /* FAIRLEAD_BPF_LIB_SELECT_H_ */
