/* SPDX-License-Identifier: GPL-2.0-only */
/* BPF_PROG_RUN with repeat runs a program on the same skb again and again; one
 * that rewrites its packet would measure another path from the second time on.
 * This wrapper puts the frame back and tail-calls the program under test.
 */
#include "bpf/lib/cursor.h"

#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

char LICENSE[] SEC("license") = "GPL";

#define FL_BENCH_FRAME 80
#define FL_BENCH_WORDS 8

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} tc_bench_next SEC(".maps");

/* From the IP header on, where every field is within one word: a load that spans
 * two stores waits until both have left the processor's buffer, which no packet
 * that a device has delivered makes it do. */
__u64 tc_bench_frame[FL_BENCH_WORDS];
__u32 tc_bench_mark;
/* Another client each time: a number within the mask is added at `vary_shift` to
 * the word `vary_word`, the end of its address; 0: always the same client. */
__u32 tc_bench_vary_word;
__u32 tc_bench_vary_shift;
__u32 tc_bench_vary_mask;
__u32 tc_bench_next_client;

SEC("tc")
int tc_bench_restore(struct __sk_buff *ctx)
{
	__u8 *data = (__u8 *)(long)ctx->data;
	__u8 *end = (__u8 *)(long)ctx->data_end;
	__u64 vary = (__u64)(tc_bench_next_client & tc_bench_vary_mask)
		     << (tc_bench_vary_shift & 63);
	__u32 at = tc_bench_vary_word;
	__u32 i;

	tc_bench_next_client++;
	if (data + FL_BENCH_FRAME > end)
		return TC_ACT_SHOT;
	data += ETH_HLEN;
	for (i = 0; i < FL_BENCH_WORDS; i++)
		((__u64 *)data)[i] = tc_bench_frame[i] + (i == at ? vary : 0);
	ctx->mark = tc_bench_mark;
	bpf_tail_call(ctx, &tc_bench_next, 0);
	return TC_ACT_SHOT;
}

SEC("tc")
int tc_bench_trivial(struct __sk_buff *ctx)
{
	return TC_ACT_UNSPEC;
}
