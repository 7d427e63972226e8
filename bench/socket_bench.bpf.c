/* SPDX-License-Identifier: GPL-2.0-only */
/* The floor: what a cgroup program costs that does nothing. */
#include "bpf/lib/shim.h"

char fl_license[] SEC("license") = "GPL";

SEC("cgroup/connect4")
int fl_trivial4(struct bpf_sock_addr *ctx)
{
	return 1;
}
