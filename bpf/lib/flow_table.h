/* SPDX-License-Identifier: GPL-2.0-only */
/* The flow table as the programs use it (bpf/abi/flow_table.h). Functions of
 * their own are global: verified once, and not at each call.
 */
#ifndef FAIRLEAD_BPF_LIB_FLOW_TABLE_H_
#define FAIRLEAD_BPF_LIB_FLOW_TABLE_H_

#include "bpf/abi/flow_table.h"
#include "bpf/lib/config.h"
#include "bpf/lib/maps.h"

/* Tries to take a way that others are taking, too. */
#define FL_FLOW_PUT_TRIES 3

static __always_inline struct fl_flow_bucket *fl_flow_bucket_at(__u32 index)
{
	return (struct fl_flow_bucket *)bpf_map_lookup_elem(&fl_flow, &index);
}

static __noinline __u64 fl_flow_hash_of(const struct fl_flow_key *key)
{
	return fl_flow_hash(key, &fl_config.flows);
}

/* Where `key` is: bucket * FL_FLOW_WAYS + way; or -1. */
__noinline int fl_flow_seek(const struct fl_flow_key *key)
{
	struct fl_flow_bucket *bucket;
	__u32 index;
	__u64 hash;
	int way;

	if (!key)
		return -1;
	hash = fl_flow_hash(key, &fl_config.flows);
	index = fl_flow_first(hash, fl_config.flows.mask);
	bucket = fl_flow_bucket_at(index);
	if (!bucket)
		return -1;
	way = fl_flow_way(bucket, key, fl_flow_tag(hash));
	if (fl_likely(way >= 0))
		return index * FL_FLOW_WAYS + way;
	index = fl_flow_second(hash, fl_config.flows.mask);
	bucket = fl_flow_bucket_at(index);
	if (!bucket)
		return -1;
	way = fl_flow_way(bucket, key, fl_flow_tag(hash));
	return way < 0 ? -1 : (int)(index * FL_FLOW_WAYS + way);
}

static __always_inline struct fl_flow *fl_flow_at(int position)
{
	struct fl_flow_bucket *bucket;

	if (position < 0)
		return 0;
	bucket = fl_flow_bucket_at((__u32)position / FL_FLOW_WAYS);
	return bucket ? &bucket->entry[position & (FL_FLOW_WAYS - 1)].flow : 0;
}

static __always_inline struct fl_flow *
fl_flow_find(const struct fl_flow_key *key)
{
	return fl_flow_at(fl_flow_seek(key));
}

static __noinline int fl_flow_replace(const struct fl_flow_key *key,
				      const struct fl_flow *flow, int position)
{
	struct fl_flow_bucket *bucket =
		fl_flow_bucket_at((__u32)position / FL_FLOW_WAYS);

	return bucket ? fl_flow_overwrite(bucket, position, key, flow) :
			FL_FLOW_FULL;
}

/* enum fl_flow_put. `fresh`: the caller takes it for absent, and nothing is
 * overwritten. */
__noinline int fl_flow_put(const struct fl_flow_key *key,
			   const struct fl_flow *flow, __u32 fresh)
{
	struct fl_flow_bucket *first, *second;
	int i, result, position;
	__u64 hash;

	if (!key || !flow)
		return FL_FLOW_FULL;
	if (!fresh) {
		position = fl_flow_seek(key);
		if (position >= 0)
			return fl_flow_replace(key, flow, position);
	}
	hash = fl_flow_hash_of(key);
	first = fl_flow_bucket_at(fl_flow_first(hash, fl_config.flows.mask));
	second = fl_flow_bucket_at(fl_flow_second(hash, fl_config.flows.mask));
	if (!first || !second)
		return FL_FLOW_FULL;
	result = FL_FLOW_FULL;
	for (i = 0; i < FL_FLOW_PUT_TRIES && result == FL_FLOW_FULL; i++)
		result = fl_flow_make(first, second, key, flow, fl_flow_tag(hash));
	return result;
}

__noinline int fl_flow_remove(const struct fl_flow_key *key)
{
	struct fl_flow_bucket *bucket;
	int position = fl_flow_seek(key);
	__u64 mark;

	if (position < 0)
		return 0;
	bucket = fl_flow_bucket_at((__u32)position / FL_FLOW_WAYS);
	if (!bucket)
		return 0;
	mark = FL_FLOW_LOAD(bucket->mark[position & (FL_FLOW_WAYS - 1)]);
	if (!(mark & 1))
		fl_flow_release(bucket, position, mark);
	return 0;
}

/* The entry is in use, in `state`: the others' entries go first. */
__noinline int fl_flow_keep(int position, __u32 state, __u32 last_seen)
{
	struct fl_flow_bucket *bucket;
	__u64 mark;

	if (position < 0)
		return 0;
	bucket = fl_flow_bucket_at((__u32)position / FL_FLOW_WAYS);
	if (!bucket)
		return 0;
	mark = FL_FLOW_LOAD(bucket->mark[position & (FL_FLOW_WAYS - 1)]);
	if (!(mark & 1) && mark >> 32)
		fl_flow_take(bucket, position, mark,
			     fl_flow_mark(mark >> 32,
					  fl_flow_rank(state, last_seen),
					  mark));
	return 0;
}

#endif /* FAIRLEAD_BPF_LIB_FLOW_TABLE_H_ */
