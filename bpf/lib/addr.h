/* SPDX-License-Identifier: GPL-2.0-only */
/* 16-byte addresses. Pure. */
#ifndef FAIRLEAD_BPF_LIB_ADDR_H_
#define FAIRLEAD_BPF_LIB_ADDR_H_

#include "bpf/lib/shim.h"

#define FL_ADDR_V4_WORD bpf_htonl(0x0000ffff)

/* ::ffff:a.b.c.d */
static __always_inline struct fl_addr fl_addr_from_v4(__be32 v4)
{
	struct fl_addr addr = { { 0, 0, FL_ADDR_V4_WORD, v4 } };

	return addr;
}

/* Between packets, map entries and what is aligned to 8 bytes: two loads in
 * place of four. */
static __always_inline void fl_addr_copy(struct fl_addr *to, const void *from)
{
#ifdef __bpf__
	typedef __u64 __attribute__((may_alias)) word;

	((word *)to)[0] = ((const word *)from)[0];
	((word *)to)[1] = ((const word *)from)[1];
#else
	__builtin_memcpy(to, from, sizeof(*to));
#endif
}

static __always_inline __u32 fl_addr_is_v4(const struct fl_addr *addr)
{
	return !addr->w[0] && !addr->w[1] && addr->w[2] == FL_ADDR_V4_WORD;
}

static __always_inline __u32 fl_addr_equal(const struct fl_addr *a,
					   const struct fl_addr *b)
{
	return !((a->w[0] ^ b->w[0]) | (a->w[1] ^ b->w[1]) |
		 (a->w[2] ^ b->w[2]) | (a->w[3] ^ b->w[3]));
}

/* 127.0.0.0/8 or ::1 */
static __always_inline __u32 fl_addr_is_loopback(const struct fl_addr *addr)
{
	if (fl_addr_is_v4(addr))
		return (addr->w[3] & bpf_htonl(0xff000000)) ==
		       bpf_htonl(0x7f000000);
	return !addr->w[0] && !addr->w[1] && !addr->w[2] &&
	       addr->w[3] == bpf_htonl(1);
}

/* Who connects to the unspecified address means loopback, to the kernel. */
static __always_inline struct fl_addr fl_addr_or_loopback(struct fl_addr addr)
{
	if (fl_likely(addr.w[3] | addr.w[0] | addr.w[1]))
		return addr;
	if (!addr.w[2])
		addr.w[3] = bpf_htonl(1);
	else if (addr.w[2] == FL_ADDR_V4_WORD)
		addr.w[3] = bpf_htonl(0x7f000001);
	return addr;
}

/* The wildcard of the same family: ::ffff:0.0.0.0 or ::. */
static __always_inline struct fl_addr
fl_addr_unspecified(const struct fl_addr *addr)
{
	struct fl_addr any = {
		{ 0, 0, fl_addr_is_v4(addr) ? FL_ADDR_V4_WORD : 0, 0 }
	};

	return any;
}

static __always_inline __u32
fl_addr_in_prefix(const struct fl_addr *addr,
		  const volatile struct fl_prefix *prefix)
{
	__u32 mask = 0, diff = 0;
	int i;

	for (i = 0; i < 4; i++) {
		mask |= prefix->mask.w[i];
		diff |= (addr->w[i] ^ prefix->addr.w[i]) & prefix->mask.w[i];
	}
	return mask && !diff;
}

#endif /* FAIRLEAD_BPF_LIB_ADDR_H_ */
