/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* "Not ours" in one array read, before any hash look-up.
 *
 * Two bit sets of FL_FILTER_BITS each (maps fl_filter_fe, fl_filter_be:
 * mmapable arrays of FL_FILTER_WORDS __u64): the frontends' {address, port,
 * protocol} and the backends'. A clear bit proves that no frontend (backend)
 * has this address; a set bit proves nothing. Bits are set before what they
 * stand for is published and may stay set after it is gone (flows of removed
 * endpoints still need them), so a stale bit only costs a look-up.
 */
#ifndef FAIRLEAD_BPF_ABI_FILTER_H_
#define FAIRLEAD_BPF_ABI_FILTER_H_

#include "bpf/abi/types.h"

static inline __u32 fl_filter_mix(__u32 h, __u32 v)
{
	h ^= v;
	h *= 0x85ebca6bu;
	h ^= h >> 15;
	return h;
}

/* The bit of {addr, port, proto}, in [0, FL_FILTER_BITS). */
static inline __u32 fl_filter_bit(const struct fl_addr *addr, __be16 port,
				  __u8 proto)
{
	__u32 h = 0x9e3779b9u;

	h = fl_filter_mix(h, addr->w[0] ^ addr->w[1]);
	h = fl_filter_mix(h, addr->w[2]);
	h = fl_filter_mix(h, addr->w[3]);
	h = fl_filter_mix(h, ((__u32)port << 8) | proto);
	h *= 0xc2b2ae35u;
	h ^= h >> 16;
	return h & (FL_FILTER_BITS - 1);
}

#endif /* FAIRLEAD_BPF_ABI_FILTER_H_ */
