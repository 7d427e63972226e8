/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The flow table: how a key's entry is found in the array fl_flow, made and
 * removed. One algorithm for the programs, user space and tests, given the two
 * buckets of a key; who calls it has looked them up.
 *
 * A key may be in either of two buckets of FL_FLOW_WAYS entries each, the
 * emptier one, so that nothing has to go before seven tenths of the table are
 * in use, and less than one in a hundred before nine tenths.
 * A bucket begins with a cache line of marks, one an entry:
 *
 *   bits 32-63  tag: from the key's hash, never 0; 0: the entry is free
 *   bits 16-31  rank: what goes first when both buckets are full (below)
 *   bits  0-15  sequence; odd while somebody writes the entry
 *
 * Nobody waits: an entry is claimed by a compare-and-swap of its mark, written,
 * and published by another store of the mark. So a look-up reads one line of
 * marks, or two, and the entry that it wants; making an entry costs no more
 * cache lines than that. (The kernel's LRU hash takes its lists' locks, and
 * five to ten times as long.)
 *
 * A key is made at most once: who has claimed an entry looks whether another
 * one with its tag is there or being made, and then gives its own up. (Of two
 * at once, both may: their callers find nothing, and may try again.)
 *
 * A reader may be overtaken: an entry that it has found may become another
 * flow's while it reads. User space looks at the mark again (FlowTable); a
 * program accepts the risk that it had with the kernel's LRU hash, one packet.
 */
#ifndef FAIRLEAD_BPF_ABI_FLOW_TABLE_H_
#define FAIRLEAD_BPF_ABI_FLOW_TABLE_H_

#include "bpf/abi/types.h"

/* A call more is stack that programs lack. */
#define FL_FLOW_INLINE inline __attribute__((always_inline))

/* Where unrolling only costs stack. */
#ifdef __clang__
#define FL_FLOW_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define FL_FLOW_ROLLED
#endif

typedef __u64 __attribute__((may_alias)) fl_flow_word;
#define FL_FLOW_KEY_WORDS (sizeof(struct fl_flow_key) / 8)
#define FL_FLOW_VALUE_WORDS (sizeof(struct fl_flow) / 8)

/* Keeps a value from being turned into a branch: the verifier walks each way
 * of a branch, and there would be 2^16. */
#define FL_FLOW_OPAQUE(value) __asm__ volatile("" : "+r"(value))

#define FL_FLOW_LOAD(mark) (*(const volatile __u64 *)&(mark))

/* Sums of products of secret sums of the key's halves (NH of UMAC): who does
 * not know the secret can't choose keys that meet. */
static FL_FLOW_INLINE __u64
fl_flow_hash(const struct fl_flow_key *key,
	     const volatile struct fl_flow_hashing *hashing)
{
	const fl_flow_word *word = (const fl_flow_word *)key;
	__u64 hash = 0;
	unsigned int i;

#pragma GCC unroll 8
	for (i = 0; i < FL_FLOW_KEY_WORDS; i++) {
		__u32 low = (__u32)word[i] + hashing->secret[2 * i];
		__u32 high = (__u32)(word[i] >> 32) +
			     hashing->secret[2 * i + 1];

		hash += (__u64)low * high;
	}
	hash *= 0x9e3779b97f4a7c15ull;
	hash ^= hash >> 32;
	return hash * 0xd6e8feb86659fd93ull;
}

static FL_FLOW_INLINE __u32 fl_flow_tag(__u64 hash)
{
	return (__u32)(hash ^ (hash >> 32)) | 1;
}

/* The two buckets. */
static FL_FLOW_INLINE __u32 fl_flow_first(__u64 hash, __u32 mask)
{
	return (__u32)(hash >> 40) & mask;
}

static FL_FLOW_INLINE __u32 fl_flow_second(__u64 hash, __u32 mask)
{
	__u32 apart = ((fl_flow_tag(hash) * 0x85ebca6bu) >> 8) | 1;

	return ((__u32)(hash >> 40) ^ apart) & mask;
}

/* ---- ranks ---- */

/* What goes first: what is over, then what was never answered, so that a flood
 * of first packets can't push out what has been established; within each, what
 * has been silent longest, in steps of 8 s, up to 36 h. */
#define FL_FLOW_RANK_AGE_BITS 14
#define FL_FLOW_RANK_AGE_MASK ((1u << FL_FLOW_RANK_AGE_BITS) - 1)

static FL_FLOW_INLINE __u32 fl_flow_rank(__u8 state, __u32 last_seen)
{
	/* Two bits a state: closed 0, new 1, closing 2, established 3. */
	__u32 class_ = 0x2du >> (2 * (state & 3)) & 3;

	return class_ << FL_FLOW_RANK_AGE_BITS |
	       (last_seen >> 3 & FL_FLOW_RANK_AGE_MASK);
}

/* Of a mark: least goes first. `now`: coarse seconds. */
static FL_FLOW_INLINE __u64 fl_flow_worth(__u64 mark, __u32 now)
{
	__u64 rank = mark >> 16 & 0xffff;
	__u64 age = (rank - (now >> 3) - 1) & FL_FLOW_RANK_AGE_MASK;

	return (rank & ~(__u64)FL_FLOW_RANK_AGE_MASK) | age;
}

/* ---- marks ---- */

static FL_FLOW_INLINE __u64 fl_flow_mark(__u32 tag, __u32 rank, __u64 sequence)
{
	return (__u64)tag << 32 | rank << 16 | (sequence & 0xffff);
}

/* With the next sequence. */
static FL_FLOW_INLINE __u64 fl_flow_next(__u64 mark)
{
	return (mark & ~0xffffull) | ((mark + 1) & 0xffff);
}

static FL_FLOW_INLINE int fl_flow_take(struct fl_flow_bucket *bucket, __u32 way,
				       __u64 from, __u64 to)
{
	return __sync_val_compare_and_swap(&bucket->mark[way & 7], from, to) ==
	       from;
}

/* The entry is free from now on, if it is still what `mark` says. */
static FL_FLOW_INLINE int fl_flow_release(struct fl_flow_bucket *bucket,
					  __u32 way, __u64 mark)
{
	return fl_flow_take(bucket, way, mark,
			    fl_flow_mark(0, 0, (mark | 1) + 1));
}

/* ---- finding ---- */

static FL_FLOW_INLINE int fl_flow_key_equal(const struct fl_flow_key *a,
					    const struct fl_flow_key *b)
{
	const fl_flow_word *x = (const fl_flow_word *)a;
	const fl_flow_word *y = (const fl_flow_word *)b;

	/* The likeliest to differ first. */
	return !((x[4] ^ y[4]) | (x[1] ^ y[1]) | (x[3] ^ y[3]) |
		 (x[0] ^ y[0]) | (x[2] ^ y[2]));
}

/* The way of `key` in `bucket`, or -1. */
static FL_FLOW_INLINE int fl_flow_way(const struct fl_flow_bucket *bucket,
				      const struct fl_flow_key *key, __u32 tag)
{
	unsigned int way;

#pragma GCC unroll 8
	for (way = 0; way < FL_FLOW_WAYS; way++) {
		__u64 mark = FL_FLOW_LOAD(bucket->mark[way]);

		if ((__u32)(mark >> 32) == tag && !(mark & 1) &&
		    fl_flow_key_equal(&bucket->entry[way].key, key))
			return (int)way;
	}
	return -1;
}

/* ---- making ---- */

static FL_FLOW_INLINE __u64 fl_flow_is_free(__u64 mark)
{
	return ((mark >> 32) - 1) >> 63;
}

static FL_FLOW_INLINE __u64 fl_flow_least(__u64 a, __u64 b)
{
	__u64 less = a - b, sign = less >> 63;

	sign = 0 - sign;
	FL_FLOW_OPAQUE(sign);
	return b + (less & sign);
}

static FL_FLOW_INLINE __u64
fl_flow_free_ways(const struct fl_flow_bucket *bucket)
{
	__u64 count = 0;
	unsigned int way;

FL_FLOW_ROLLED
	for (way = 0; way < FL_FLOW_WAYS; way++)
		count += fl_flow_is_free(FL_FLOW_LOAD(bucket->mark[way]));
	return count;
}

/* What taking an entry costs: a free one in the emptier bucket (`fuller` 0)
 * nothing, one that is being written most. */
static FL_FLOW_INLINE __u64 fl_flow_cost(__u64 mark, __u64 fuller, __u32 now)
{
	__u64 is_free = fl_flow_is_free(mark);

	return is_free * fuller +
	       (is_free ^ 1) * (0x10000 + fl_flow_worth(mark, now)) +
	       ((mark & 1) << 20);
}

/* The least cost in `bucket`, and (bits 0-2, bit 3: side) which way has it. */
static FL_FLOW_INLINE __u64
fl_flow_cheapest(const struct fl_flow_bucket *bucket, __u64 fuller, __u64 side,
		 __u32 now)
{
	__u64 best = ~0ull >> 1;
	unsigned int way;

FL_FLOW_ROLLED
	for (way = 0; way < FL_FLOW_WAYS; way++) {
		__u64 cost = fl_flow_cost(FL_FLOW_LOAD(bucket->mark[way]),
					  fuller, now);

		best = fl_flow_least(cost << 4 | side << 3 | way, best);
	}
	return best;
}

/* The way that a new entry takes: bit 3 says in which bucket. */
static FL_FLOW_INLINE __u64 fl_flow_room(const struct fl_flow_bucket *first,
					 const struct fl_flow_bucket *second,
					 __u32 now)
{
	__u64 less = fl_flow_free_ways(first) - fl_flow_free_ways(second);
	__u64 fuller = less >> 63;

	return fl_flow_least(fl_flow_cheapest(first, fuller, 0, now),
			     fl_flow_cheapest(second, fuller ^ 1, 1, now));
}

/* Is there another entry, or one in the making, that may have our key? */
static FL_FLOW_INLINE int fl_flow_twin(const struct fl_flow_bucket *bucket,
				       const struct fl_flow_key *key, __u32 tag,
				       __u32 but)
{
	unsigned int way;

FL_FLOW_ROLLED
	for (way = 0; way < FL_FLOW_WAYS; way++) {
		__u64 mark = FL_FLOW_LOAD(bucket->mark[way]);

		if ((__u32)(mark >> 32) == tag && way != but &&
		    (mark & 1 ||
		     fl_flow_key_equal(&bucket->entry[way].key, key)))
			return 1;
	}
	return 0;
}

static FL_FLOW_INLINE void fl_flow_copy(fl_flow_word *to,
					const fl_flow_word *from,
					unsigned int words)
{
	unsigned int i;

#pragma GCC unroll 8
	for (i = 0; i < words; i++)
		to[i] = from[i];
}

/* Writes the entry whose mark has been made `odd`, and publishes it. */
static FL_FLOW_INLINE void fl_flow_publish(struct fl_flow_bucket *bucket,
					   __u32 way,
					   const struct fl_flow_key *key,
					   const struct fl_flow *flow,
					   __u64 odd)
{
	struct fl_flow_entry *entry = &bucket->entry[way & 7];

	fl_flow_copy((fl_flow_word *)&entry->key, (const fl_flow_word *)key,
		     FL_FLOW_KEY_WORDS);
	fl_flow_copy((fl_flow_word *)&entry->flow, (const fl_flow_word *)flow,
		     FL_FLOW_VALUE_WORDS);
	/* A store would do, if it came after the others everywhere. */
	__sync_lock_test_and_set(&bucket->mark[way & 7], fl_flow_next(odd));
}

enum fl_flow_put {
	FL_FLOW_MADE = 0,
	FL_FLOW_EXISTS = 1,  /* nothing was written */
	FL_FLOW_FULL = 2,    /* all ways are being written, or were just taken */
};

/* Overwrites the entry that is there, or nothing if somebody else does. */
static FL_FLOW_INLINE int fl_flow_overwrite(struct fl_flow_bucket *bucket,
					    __u32 way,
					    const struct fl_flow_key *key,
					    const struct fl_flow *flow)
{
	__u64 mark = FL_FLOW_LOAD(bucket->mark[way & 7]);
	__u64 odd = fl_flow_mark(mark >> 32,
				 fl_flow_rank(flow->state, flow->last_seen),
				 mark + 1);

	if (mark & 1 || !fl_flow_take(bucket, way, mark, odd))
		return FL_FLOW_FULL;
	fl_flow_publish(bucket, way, key, flow, odd);
	return FL_FLOW_MADE;
}

/* Of a key that neither bucket has. What was in its way is gone. */
static FL_FLOW_INLINE int fl_flow_make(struct fl_flow_bucket *first,
				       struct fl_flow_bucket *second,
				       const struct fl_flow_key *key,
				       const struct fl_flow *flow, __u32 tag)
{
	__u64 room = fl_flow_room(first, second, flow->last_seen);
	struct fl_flow_bucket *bucket = room & 8 ? second : first;
	struct fl_flow_bucket *other = room & 8 ? first : second;
	__u32 way = room & 7;
	__u64 mark = FL_FLOW_LOAD(bucket->mark[way]);
	__u64 odd = fl_flow_mark(tag,
				 fl_flow_rank(flow->state, flow->last_seen),
				 mark + 1);

	/* It may have become dearer: another's that was free. */
	if (fl_flow_cost(mark, 0, flow->last_seen) > room >> 4 ||
	    !fl_flow_take(bucket, way, mark, odd))
		return FL_FLOW_FULL;
	if (fl_flow_twin(bucket, key, tag, way) ||
	    (other != bucket && fl_flow_twin(other, key, tag, FL_FLOW_WAYS))) {
		fl_flow_release(bucket, way, odd);
		return FL_FLOW_EXISTS;
	}
	fl_flow_publish(bucket, way, key, flow, odd);
	return FL_FLOW_MADE;
}

#endif /* FAIRLEAD_BPF_ABI_FLOW_TABLE_H_ */
