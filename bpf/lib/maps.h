/* SPDX-License-Identifier: GPL-2.0-only */
/* Every map, defined once. An object only gets those that it uses.
 *
 * The loader makes (or opens) the pinned maps and hands them to each object,
 * so max_entries here are defaults that it overrides before loading.
 */
#ifndef FAIRLEAD_BPF_LIB_MAPS_H_
#define FAIRLEAD_BPF_LIB_MAPS_H_

#include "bpf/lib/shim.h"

#ifdef __bpf__

#define FL_MAP(name, kind, key_type, value_type, entries, flags) \
	struct {                                                 \
		__uint(type, kind);                              \
		__type(key, key_type);                           \
		__type(value, value_type);                       \
		__uint(max_entries, entries);                    \
		__uint(map_flags, flags);                        \
	} name SEC(".maps")
#define FL_RING(name, bytes)                         \
	struct {                                     \
		__uint(type, BPF_MAP_TYPE_RINGBUF);  \
		__uint(max_entries, bytes);          \
	} name SEC(".maps")

#else

struct fl_host_map {
	int unused;
};
#ifdef __cplusplus
#define FL_MAP(name, ...) extern "C" struct fl_host_map name
#else
#define FL_MAP(name, ...) extern struct fl_host_map name
#endif
#define FL_RING(name, bytes) FL_MAP(name)

#endif

FL_MAP(fl_service, BPF_MAP_TYPE_HASH, struct fl_service_key, struct fl_service,
       262144, BPF_F_NO_PREALLOC);
FL_MAP(fl_frontend, BPF_MAP_TYPE_ARRAY, __u32, struct fl_frontend,
       FL_FRONTEND_ENTRIES, BPF_F_MMAPABLE);
/* Array elements are 8 bytes apart at least: so are the slots, when mapped. */
FL_MAP(fl_slot, BPF_MAP_TYPE_ARRAY, __u32, __u32, 1 << 20, BPF_F_MMAPABLE);
FL_MAP(fl_backend, BPF_MAP_TYPE_ARRAY, __u32, struct fl_backend, 1 << 18,
       BPF_F_MMAPABLE);
/* 1 << 18 entries. */
FL_MAP(fl_flow, BPF_MAP_TYPE_ARRAY, __u32, struct fl_flow_bucket, 1 << 15,
       BPF_F_MMAPABLE);
FL_MAP(fl_peer, BPF_MAP_TYPE_ARRAY, __u32, struct fl_peer, FL_PEER_ENTRIES,
       BPF_F_MMAPABLE);
FL_MAP(fl_socket, BPF_MAP_TYPE_LRU_HASH, struct fl_socket_key,
       struct fl_socket, 1 << 16, 0);
FL_MAP(fl_affinity, BPF_MAP_TYPE_LRU_HASH, struct fl_affinity_key,
       struct fl_affinity, 1 << 16, 0);
FL_MAP(fl_source_range, BPF_MAP_TYPE_LPM_TRIE, struct fl_source_range_key,
       __u32, 1 << 16, BPF_F_NO_PREALLOC);
FL_MAP(fl_foreign, BPF_MAP_TYPE_HASH, struct fl_flow_key, __u32, 1 << 17,
       BPF_F_NO_PREALLOC);
FL_MAP(fl_node_addr, BPF_MAP_TYPE_HASH, struct fl_addr, struct fl_node_addr,
       1024, 0);
FL_MAP(fl_node, BPF_MAP_TYPE_ARRAY, __u32, struct fl_node, 1, 0);
FL_MAP(fl_device, BPF_MAP_TYPE_HASH, __u32, struct fl_device, 4096,
       BPF_F_NO_PREALLOC);
FL_MAP(fl_counter, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct fl_counter,
       FL_COUNTER_MAX, 0);
FL_RING(fl_event, 1 << 20);
FL_MAP(fl_filter_fe, BPF_MAP_TYPE_ARRAY, __u32, __u64, FL_FILTER_WORDS,
       BPF_F_MMAPABLE);
FL_MAP(fl_filter_be, BPF_MAP_TYPE_ARRAY, __u32, __u64, FL_FILTER_WORDS,
       BPF_F_MMAPABLE);

#endif /* FAIRLEAD_BPF_LIB_MAPS_H_ */
