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
 * Nobody waits: an entry is claimed by a compare-and-swap of its mark, filled,
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

typedef __u64 __attribute__((may_alias)) fl_flow_word;
#define FL_FLOW_KEY_WORDS (sizeof(struct fl_flow_key) / 8)
#define FL_FLOW_VALUE_WORDS (sizeof(struct fl_flow) / 8)

/* Keeps a value from being turned into a branch: the verifier walks each way
 * of a branch, and there would be 2^16. */
#define FL_FLOW_OPAQUE(value) __asm__ volatile("" : "+r"(value))

#define FL_FLOW_LOAD(mark) (*(const volatile __u64 *)&(mark))

/* Parts of a mark: a load, and nothing to shift. */
typedef __u32 __attribute__((may_alias)) fl_flow_half;
typedef __u16 __attribute__((may_alias)) fl_flow_quarter;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FL_FLOW_LOW_PART 0
#define FL_FLOW_TAG_PART 1
#define FL_FLOW_RANK_PART 1
#define FL_FLOW_PAIR(first, second) ((__u32)(first) | (__u32)(second) << 16)
#else
#define FL_FLOW_LOW_PART 1
#define FL_FLOW_TAG_PART 0
#define FL_FLOW_RANK_PART 2
#define FL_FLOW_PAIR(first, second) ((__u32)(first) << 16 | (__u32)(second))
#endif
#define FL_FLOW_LOAD_TAG(mark) \
	(((const volatile fl_flow_half *)&(mark))[FL_FLOW_TAG_PART])
#define FL_FLOW_LOAD_RANK(mark) \
	(((const volatile fl_flow_quarter *)&(mark))[FL_FLOW_RANK_PART])

/* A key's ports, and its protocol and hook, each pair in one store: the hash
 * reads them together. */
static FL_FLOW_INLINE void fl_flow_key_ports(struct fl_flow_key *key,
					     __be16 sport, __be16 dport)
{
	*(fl_flow_half *)&key->sport = FL_FLOW_PAIR(sport, dport);
}

static FL_FLOW_INLINE void fl_flow_key_kind(struct fl_flow_key *key,
					    __u8 proto, __u8 hook)
{
	union {
		__u8 bytes[4];
		__u32 word;
	} kind = { { proto, hook, 0, 0 } };

	*(fl_flow_half *)&key->proto = kind.word;
}

/* Sums of products of secret sums of the key's halves (NH of UMAC): who does
 * not know the secret can't choose keys that meet. */
static FL_FLOW_INLINE __u64
fl_flow_hash(const struct fl_flow_key *key,
	     const volatile struct fl_flow_hashing *hashing)
{
	/* By halves, as keys are written: a load of two stores waits for
	 * both. */
	const fl_flow_half *half = (const fl_flow_half *)key;
	__u64 hash = 0;
	unsigned int i;

#pragma GCC unroll 8
	for (i = 0; i < FL_FLOW_KEY_WORDS; i++) {
		__u32 low = half[2 * i + FL_FLOW_LOW_PART] +
			    hashing->secret[2 * i];
		__u32 high = half[2 * i + 1 - FL_FLOW_LOW_PART] +
			     hashing->secret[2 * i + 1];

		hash += (__u64)low * high;
	}
	hash *= 0x9e3779b97f4a7c15ull;
	hash ^= hash >> 32;
	return hash * 0xd6e8feb86659fd93ull;
}

/* Odd: so the tag of an entry in use is told from a free one's by one bit. */
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

/* What goes first: what is over, then what no client has gone on with (its SYN's
 * answer doesn't count), so that a flood of first packets can't push out what
 * has been established; within each, what has been silent longest. A rank is a
 * time, in steps of 32 s, later by 6 days for each class: compared with now, both
 * count at once. (No entry that has been silent for 6 days is in use any
 * more.) */
#define FL_FLOW_RANK_CLASS 0x4000u

static FL_FLOW_INLINE __u32 fl_flow_rank(__u8 state, __u32 last_seen)
{
	/* Two bits a state: closed 0, new 1, closing 2, established 3. */
	__u32 class_ = 0x2du >> (2 * (state & 3)) & 3;

	return (class_ * FL_FLOW_RANK_CLASS + (last_seen >> 5)) & 0xffff;
}

/* Of the mark of an entry in use: least goes first. `now`: coarse seconds. */
static FL_FLOW_INLINE __u64 fl_flow_worth(__u64 mark, __u32 now)
{
	return ((mark >> 16) + FL_FLOW_RANK_CLASS - 1 - (now >> 5)) & 0xffff;
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
		__u64 mark;

		if (FL_FLOW_LOAD_TAG(bucket->mark[way]) != tag)
			continue;
		mark = FL_FLOW_LOAD(bucket->mark[way]);
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

/* What taking an entry costs: nothing if it is free. */
static FL_FLOW_INLINE __u64 fl_flow_cost(__u64 mark, __u32 now)
{
	return (fl_flow_worth(mark, now) + 1) & (fl_flow_is_free(mark) - 1);
}

static FL_FLOW_INLINE __u64 fl_flow_least(__u64 a, __u64 b)
{
	__s64 less = a - b, sign = less >> 63;

	FL_FLOW_OPAQUE(sign);
	return b + (less & sign);
}

/* The way of `bucket` that costs least: cost << 16 | ways that aren't free
 * << 8 | way. */
static FL_FLOW_INLINE __u64 fl_flow_cheapest(const struct fl_flow_bucket *bucket,
					     __u64 way_bits, __u32 now)
{
	__u64 best = ~0ull >> 1, taken = FL_FLOW_WAYS;
	unsigned int way;

#pragma GCC unroll 8
	for (way = 0; way < FL_FLOW_WAYS; way++) {
		__u64 mark = FL_FLOW_LOAD(bucket->mark[way]);

		taken -= fl_flow_is_free(mark);
		best = fl_flow_least(fl_flow_cost(mark, now) << 16 | way_bits |
					     way,
				     best);
	}
	return best + (taken << 8);
}

/* Has `bucket` no free way? */
static FL_FLOW_INLINE __u32 fl_flow_is_full(const struct fl_flow_bucket *bucket)
{
	__u32 tags = 1;
	unsigned int way;

#pragma GCC unroll 8
	for (way = 0; way < FL_FLOW_WAYS; way++)
		tags &= FL_FLOW_LOAD_TAG(bucket->mark[way]);
	return tags;
}

static FL_FLOW_INLINE __u32 fl_flow_least_half(__u32 a, __u32 b)
{
	__s32 less = a - b, sign = less >> 31;

	FL_FLOW_OPAQUE(sign);
	return b + (less & sign);
}

/* The way of a full bucket that is worth least: worth << 8 | way. */
static FL_FLOW_INLINE __u32 fl_flow_poorest(const struct fl_flow_bucket *bucket,
					    __u32 way_bits, __u32 now)
{
	__u32 best = ~0u >> 1;
	unsigned int way;

#pragma GCC unroll 8
	for (way = 0; way < FL_FLOW_WAYS; way++) {
		__u64 mark = (__u64)FL_FLOW_LOAD_RANK(bucket->mark[way]) << 16;
		__u32 worth = (__u32)fl_flow_worth(mark, now);

		best = fl_flow_least_half(worth << 8 | way_bits | way, best);
	}
	return best;
}

/* The way that a new entry takes: a free one in the emptier bucket, or the one
 * that costs least; bit 3: in the second bucket. Above bit 16: its cost.
 *
 * In a table that is in use nearly all buckets are full: less to find out. */
static FL_FLOW_INLINE __u64 fl_flow_room(const struct fl_flow_bucket *first,
					 const struct fl_flow_bucket *second,
					 __u32 now)
{
	__u32 poorest;

	if (fl_flow_is_full(first) & fl_flow_is_full(second)) {
		poorest = fl_flow_least_half(fl_flow_poorest(second, 8, now),
					     fl_flow_poorest(first, 0, now));
		return ((__u64)(poorest >> 8) + 1) << 16 | (poorest & 0xf);
	}
	return fl_flow_least(fl_flow_cheapest(second, 8, now),
			     fl_flow_cheapest(first, 0, now));
}

/* Is there another entry, or one in the making, that may have our key? */
static FL_FLOW_INLINE int fl_flow_twin(const struct fl_flow_bucket *bucket,
				       const struct fl_flow_key *key, __u32 tag,
				       __u32 but)
{
	unsigned int way;

#pragma GCC unroll 8
	for (way = 0; way < FL_FLOW_WAYS; way++) {
		__u64 mark;

		if (way == but ||
		    FL_FLOW_LOAD_TAG(bucket->mark[way]) != tag)
			continue;
		mark = FL_FLOW_LOAD(bucket->mark[way]);
		if ((__u32)(mark >> 32) == tag &&
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

/* What a claim comes to: the way (bit 3: in the second bucket), or */
enum fl_flow_claim {
	FL_FLOW_EXISTS = -1, /* the key is there, or being made */
	FL_FLOW_FULL = -2,   /* all ways are being written, or were just taken */
};

/* An entry for a key that neither bucket has: nobody else touches it until it
 * is published, or released. What was in its way is gone. */
static FL_FLOW_INLINE int fl_flow_claim(struct fl_flow_bucket *first,
					struct fl_flow_bucket *second,
					const struct fl_flow_key *key,
					__u32 tag, __u8 state, __u32 now)
{
	__u64 room = fl_flow_room(first, second, now);
	struct fl_flow_bucket *bucket = room & 8 ? second : first;
	struct fl_flow_bucket *other = room & 8 ? first : second;
	__u32 way = room & 7;
	__u64 mark = FL_FLOW_LOAD(bucket->mark[way]);
	__u64 odd = fl_flow_mark(tag, fl_flow_rank(state, now), mark + 1);

	/* It may have become dearer: another's that was free. What is being
	 * written isn't waited for. */
	if (mark & 1 || fl_flow_cost(mark, now) > room >> 16 ||
	    !fl_flow_take(bucket, way, mark, odd))
		return FL_FLOW_FULL;
	if (fl_flow_twin(bucket, key, tag, way) ||
	    (other != bucket && fl_flow_twin(other, key, tag, FL_FLOW_WAYS))) {
		fl_flow_release(bucket, way, odd);
		return FL_FLOW_EXISTS;
	}
	return room & 0xf;
}

/* Claims the entry that is there, unless somebody else is writing it. */
static FL_FLOW_INLINE int fl_flow_reclaim(struct fl_flow_bucket *bucket,
					  __u32 way, __u8 state, __u32 now)
{
	__u64 mark = FL_FLOW_LOAD(bucket->mark[way & 7]);

	return !(mark & 1) &&
	       fl_flow_take(bucket, way, mark,
			    fl_flow_mark(mark >> 32, fl_flow_rank(state, now),
					 mark + 1));
}

/* Writes an entry that was claimed. */
static FL_FLOW_INLINE void fl_flow_fill(struct fl_flow_bucket *bucket,
					__u32 way,
					const struct fl_flow_key *key,
					const struct fl_flow *flow)
{
	struct fl_flow_entry *entry = &bucket->entry[way & 7];

	fl_flow_copy((fl_flow_word *)&entry->key, (const fl_flow_word *)key,
		     FL_FLOW_KEY_WORDS);
	fl_flow_copy((fl_flow_word *)&entry->flow, (const fl_flow_word *)flow,
		     FL_FLOW_VALUE_WORDS);
}

/* From now on it is found. (It waits for all stores before it: who makes several
 * entries fills them all first.) */
static FL_FLOW_INLINE void fl_flow_publish(struct fl_flow_bucket *bucket,
					   __u32 way)
{
	__sync_lock_test_and_set(
		&bucket->mark[way & 7],
		fl_flow_next(FL_FLOW_LOAD(bucket->mark[way & 7])));
}

/* The same of what was filled before another entry was published: all that had
 * to come before it has. */
static FL_FLOW_INLINE void fl_flow_publish_too(struct fl_flow_bucket *bucket,
					       __u32 way)
{
	volatile __u64 *mark = &bucket->mark[way & 7];

	*mark = fl_flow_next(*mark);
}

/* Gives up what was claimed. */
static FL_FLOW_INLINE void fl_flow_disclaim(struct fl_flow_bucket *bucket,
					    __u32 way)
{
	fl_flow_release(bucket, way, FL_FLOW_LOAD(bucket->mark[way & 7]));
}

#endif /* FAIRLEAD_BPF_ABI_FLOW_TABLE_H_ */
