/* SPDX-License-Identifier: GPL-2.0-only */
/* BPF_PROG_RUN with repeat runs a program on the same skb again and again; one
 * that rewrites its packet would measure another path from the second time on.
 * This wrapper puts the frame back and tail-calls the program under test.
 */
#include "bpf/lib/cursor.h"

#include <linux/pkt_cls.h>

char LICENSE[] SEC("license") = "GPL";

#define FL_BENCH_FRAME 80

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} tc_bench_next SEC(".maps");

__u64 tc_bench_frame[FL_BENCH_FRAME / 8];
__u32 tc_bench_mark;
/* Another client each time: the word at vary_at (the end of its address, or its
 * port) grows by a number within the mask; 0: always the same client. */
__u32 tc_bench_vary_at;
__u32 tc_bench_vary_mask;
__u32 tc_bench_next_client;

SEC("tc")
int tc_bench_restore(struct __sk_buff *ctx)
{
	__u8 *data = (__u8 *)(long)ctx->data;
	__u8 *end = (__u8 *)(long)ctx->data_end;
	__u32 at = tc_bench_vary_at;
	int i;

	if (data + FL_BENCH_FRAME > end)
		return TC_ACT_SHOT;
	for (i = 0; i < FL_BENCH_FRAME / 8; i++)
		((__u64 *)data)[i] = tc_bench_frame[i];
	if (tc_bench_vary_mask && at < FL_BENCH_FRAME) {
		data += at;
		fl_pin_pointer(data);
		if (data + sizeof(__u32) > end)
			return TC_ACT_SHOT;
		*(__u32 *)data += tc_bench_next_client++ & tc_bench_vary_mask;
	}
	ctx->mark = tc_bench_mark;
	bpf_tail_call(ctx, &tc_bench_next, 0);
	return TC_ACT_SHOT;
}

SEC("tc")
int tc_bench_trivial(struct __sk_buff *ctx)
{
	return TC_ACT_UNSPEC;
}
