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
#define FL_FLOW_CLAIM_TRIES 3

static __always_inline struct fl_flow_bucket *fl_flow_bucket_at(__u32 index)
{
	return (struct fl_flow_bucket *)bpf_map_lookup_elem(&fl_flow, &index);
}

/* A position is bucket * FL_FLOW_WAYS + way; or negative: nowhere. */
static __always_inline struct fl_flow_bucket *fl_flow_bucket_of(int position)
{
	if (position < 0)
		return 0;
	return fl_flow_bucket_at((__u32)position / FL_FLOW_WAYS);
}

static __noinline __u64 fl_flow_hash_of(const struct fl_flow_key *key)
{
	return fl_flow_hash(key, &fl_config.flows);
}

static __always_inline int fl_flow_seek_in(const struct fl_flow_key *key,
					   __u64 hash)
{
	struct fl_flow_bucket *bucket;
	__u32 index;
	int way;

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

/* The position of `key`. */
__noinline int fl_flow_seek(const struct fl_flow_key *key)
{
	if (!key)
		return -1;
	return fl_flow_seek_in(key, fl_flow_hash(key, &fl_config.flows));
}

/* The same, for who needs the hash again. */
__noinline int fl_flow_seek_hashed(const struct fl_flow_key *key, __u64 hash)
{
	return key ? fl_flow_seek_in(key, hash) : -1;
}

static __always_inline struct fl_flow *fl_flow_at(int position)
{
	struct fl_flow_bucket *bucket = fl_flow_bucket_of(position);

	if (!bucket)
		return 0;
	/* Nothing is added to it before it was looked at. */
	FL_FLOW_OPAQUE(position);
	return &bucket->entry[position & (FL_FLOW_WAYS - 1)].flow;
}

static __always_inline struct fl_flow *
fl_flow_find(const struct fl_flow_key *key)
{
	return fl_flow_at(fl_flow_seek(key));
}

/* Has the marks of a key's buckets on their way from memory before they are
 * needed: a claim waits for all that was read before it, and for each other
 * claim. */
static __always_inline void fl_flow_touch(__u64 hash)
{
	struct fl_flow_bucket *bucket;

	bucket = fl_flow_bucket_at(fl_flow_first(hash, fl_config.flows.mask));
	if (bucket)
		(void)FL_FLOW_LOAD(bucket->mark[0]);
	bucket = fl_flow_bucket_at(fl_flow_second(hash, fl_config.flows.mask));
	if (bucket)
		(void)FL_FLOW_LOAD(bucket->mark[0]);
}

/* The same of an entry that was claimed, which is in two lines: what is stored
 * there goes one after the other, what is read comes at the same time. */
static __always_inline void fl_flow_touch_entry(int position)
{
	struct fl_flow_bucket *bucket = fl_flow_bucket_of(position);
	struct fl_flow_entry *entry;

	if (!bucket)
		return;
	FL_FLOW_OPAQUE(position);
	entry = &bucket->entry[position & (FL_FLOW_WAYS - 1)];
	/* The first of its words, and one of the last. */
	(void)*(volatile __u32 *)&entry->key.src.w[0];
	(void)*(volatile __u32 *)&entry->flow.last_seen;
}

/* FL_FLOW_EXISTS before anything goes for it, if `look` and `key` is there. */
static __always_inline int fl_flow_claim_in(const struct fl_flow_key *key,
					    __u64 hash, __u32 state, __u32 now,
					    int look)
{
	__u32 first = fl_flow_first(hash, fl_config.flows.mask);
	__u32 second = fl_flow_second(hash, fl_config.flows.mask);
	struct fl_flow_bucket *one = fl_flow_bucket_at(first);
	struct fl_flow_bucket *other = fl_flow_bucket_at(second);
	__u32 tag = fl_flow_tag(hash);
	int i, way = FL_FLOW_FULL;

	if (!one || !other)
		return FL_FLOW_FULL;
	if (look && (fl_flow_way(one, key, tag) >= 0 ||
		     fl_flow_way(other, key, tag) >= 0))
		return FL_FLOW_EXISTS;
	for (i = 0; i < FL_FLOW_CLAIM_TRIES && way == FL_FLOW_FULL; i++)
		way = fl_flow_claim(one, other, key, tag, state, now);
	if (way < 0)
		return way;
	return (way & 8 ? second : first) * FL_FLOW_WAYS + (way & 7);
}

/* The position of an entry for `key`, which the caller takes for absent: his
 * until he publishes or disclaims it; or enum fl_flow_claim. `hash`: its. */
__noinline int fl_flow_claim_new(const struct fl_flow_key *key, __u64 hash,
				 __u32 state, __u32 now)
{
	return key ? fl_flow_claim_in(key, hash, state, now, 0) : FL_FLOW_FULL;
}

/* The same, of a key that may well be there. */
__noinline int fl_flow_claim_absent(const struct fl_flow_key *key, __u32 state,
				    __u32 now)
{
	if (!key)
		return FL_FLOW_FULL;
	return fl_flow_claim_in(key, fl_flow_hash(key, &fl_config.flows), state,
				now, 1);
}

/* The same, of the entry that is there, if one is. */
static __noinline int fl_flow_claim_any(const struct fl_flow_key *key,
					__u32 state, __u32 now)
{
	__u64 hash = fl_flow_hash_of(key);
	int position = fl_flow_seek_hashed(key, hash);
	struct fl_flow_bucket *bucket = fl_flow_bucket_of(position);

	if (!bucket)
		return fl_flow_claim_new(key, hash, state, now);
	return fl_flow_reclaim(bucket, position, state, now) ? position :
							       FL_FLOW_FULL;
}

static __always_inline void fl_flow_publish_at(int position)
{
	struct fl_flow_bucket *bucket = fl_flow_bucket_of(position);

	if (bucket)
		fl_flow_publish(bucket, position);
}

static __always_inline void fl_flow_publish_too_at(int position)
{
	struct fl_flow_bucket *bucket = fl_flow_bucket_of(position);

	if (bucket)
		fl_flow_publish_too(bucket, position);
}

static __always_inline void fl_flow_disclaim_at(int position)
{
	struct fl_flow_bucket *bucket = fl_flow_bucket_of(position);

	if (bucket)
		fl_flow_disclaim(bucket, position);
}

/* Makes or overwrites the entry of `key`; a full table makes none. */
__noinline int fl_flow_put(const struct fl_flow_key *key,
			   const struct fl_flow *flow)
{
	struct fl_flow_bucket *bucket;
	int position;

	if (!key || !flow)
		return 0;
	position = fl_flow_claim_any(key, flow->state, flow->last_seen);
	bucket = fl_flow_bucket_of(position);
	if (!bucket)
		return 0;
	fl_flow_fill(bucket, position, key, flow);
	fl_flow_publish(bucket, position);
	return 0;
}

__noinline int fl_flow_remove(const struct fl_flow_key *key)
{
	int position = fl_flow_seek(key);
	struct fl_flow_bucket *bucket = fl_flow_bucket_of(position);
	__u64 mark;

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
	struct fl_flow_bucket *bucket = fl_flow_bucket_of(position);
	__u64 mark;

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
