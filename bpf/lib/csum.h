/* SPDX-License-Identifier: GPL-2.0-only */
/* Internet checksum arithmetic (RFC 1071, RFC 1624). Pure.
 *
 * A "sum" is 32 bits of ones' complement, not folded and not inverted; a
 * "field" is the 16 bits in a header. Both are in the packet's byte order.
 */
#ifndef FAIRLEAD_BPF_LIB_CSUM_H_
#define FAIRLEAD_BPF_LIB_CSUM_H_

#include "bpf/lib/addr.h"

static __always_inline __u32 fl_csum_add(__u32 a, __u32 b)
{
	__u64 sum = (__u64)a + b; /* no branch */

	return (__u32)sum + (__u32)(sum >> 32);
}

static __always_inline __u16 fl_csum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

/* sum(to) - sum(from). A mapped address's first three words cancel out, so
 * that IPv4 needs no case of its own. */
static __always_inline __u32 fl_csum_addr_diff(const struct fl_addr *from,
					       const struct fl_addr *to)
{
	__u64 sum = 0; /* with its carries */
	int i;

	for (i = 0; i < 4; i++)
		sum += (__u64)to->w[i] + (__u32)~from->w[i];
	return fl_csum_add((__u32)sum, (__u32)(sum >> 32));
}

static __always_inline __u32 fl_csum_port_diff(__be16 from, __be16 to)
{
	return fl_csum_add(to, (__u16)~from);
}

/* A checksum field after the sum of what it covers grew by `diff`. */
static __always_inline __u16 fl_csum_apply(__u16 field, __u32 diff)
{
	return (__u16)~fl_csum_fold(fl_csum_add((__u16)~field, diff));
}

/* The sum of the pseudo header. */
static __always_inline __u32 fl_csum_pseudo(const struct fl_addr *src,
					    const struct fl_addr *dst,
					    __u8 proto, __u32 len)
{
	__u32 sum = fl_csum_add(bpf_htonl(len), bpf_htonl(proto));
	__u32 v4 = fl_addr_is_v4(src);
	int i;

	for (i = 0; i < 4; i++) {
		if (v4 && i < 3)
			continue;
		sum = fl_csum_add(sum, src->w[i]);
		sum = fl_csum_add(sum, dst->w[i]);
	}
	return sum;
}

#endif /* FAIRLEAD_BPF_LIB_CSUM_H_ */
