/* SPDX-License-Identifier: GPL-2.0-only */
/* The one place where bpf/lib meets its environment.
 *
 * For BPF: the kernel's helpers through libbpf's headers, and the few
 * constants that UAPI headers of 6.1 lack. On the host (unit tests, fuzzing):
 * the same names as plain functions, which the test defines; a map is an
 * opaque object whose address says which map is meant.
 */
#ifndef FAIRLEAD_BPF_LIB_SHIM_H_
#define FAIRLEAD_BPF_LIB_SHIM_H_

#include <linux/bpf.h>
#include <linux/types.h>

#include "bpf/abi/filter.h"
#include "bpf/abi/types.h"

/* linux/in.h and linux/socket.h clash with libc on the host. */
#define FL_AF_INET 2
#define FL_AF_INET6 10
#define FL_IPPROTO_TCP 6
#define FL_IPPROTO_UDP 17
#define FL_IPPROTO_SCTP 132

#define FL_SECOND_NS 1000000000ull

#ifdef __bpf__

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define fl_unlikely(x) __builtin_expect(!!(x), 0)
#define fl_likely(x) __builtin_expect(!!(x), 1)

#else /* host */

#include <endian.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#ifndef __noinline
#define __noinline __attribute__((noinline))
#endif
#define SEC(name)
#ifndef barrier
#define barrier() __asm__ volatile("" ::: "memory")
#endif
#define fl_unlikely(x) __builtin_expect(!!(x), 0)
#define fl_likely(x) __builtin_expect(!!(x), 1)

#define bpf_htons(x) ((__be16)htobe16((__u16)(x)))
#define bpf_ntohs(x) be16toh((__u16)(x))
#define bpf_htonl(x) ((__be32)htobe32((__u32)(x)))
#define bpf_ntohl(x) be32toh((__u32)(x))

/* Defined by the test that includes bpf/lib. */
void *bpf_map_lookup_elem(void *map, const void *key);
long bpf_map_update_elem(void *map, const void *key, const void *value,
			 __u64 flags);
long bpf_map_delete_elem(void *map, const void *key);
void *bpf_ringbuf_reserve(void *map, __u64 size, __u64 flags);
void bpf_ringbuf_submit(void *record, __u64 flags);
__u32 bpf_get_prandom_u32(void);
__u64 bpf_ktime_get_ns(void);
__u64 bpf_ktime_get_coarse_ns(void);
long bpf_loop(__u32 count, void *callback, void *ctx, __u64 flags);

#ifdef __cplusplus
}
#endif

#endif /* __bpf__ */

/* CLOCK_MONOTONIC, coarse: one tick of the kernel is accurate enough. */
static __always_inline __u32 fl_now_seconds(void)
{
	return (__u32)(bpf_ktime_get_coarse_ns() / FL_SECOND_NS);
}

#endif /* FAIRLEAD_BPF_LIB_SHIM_H_ */
