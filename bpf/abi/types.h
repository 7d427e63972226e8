/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the kernel and user space share: map keys and values.
 *
 * Compiled three times: by clang for BPF, by g++ as C++20, and by clang++ for
 * fuzzing. Rules (docs/ABI.md): fixed-width types, explicit padding, no
 * bitfields, pointers or enums as fields. Byte order is in the type: __be16
 * and __be32 are network order, everything else is the host's.
 *
 * A change of layout bumps FL_ABI_VERSION and adds a row to docs/ABI.md.
 */
#ifndef FAIRLEAD_BPF_ABI_TYPES_H_
#define FAIRLEAD_BPF_ABI_TYPES_H_

#include <linux/types.h>

/* FL_ABI_TEST_LAYOUT: another version with other layouts, which tests upgrade
 * to and go back from. Never the agent's. */
#ifdef FL_ABI_TEST_LAYOUT
#define FL_ABI_VERSION 1000
#define FL_ABI_TEST_MEMBER(name) __u64 name;
#else
#define FL_ABI_VERSION 6
#define FL_ABI_TEST_MEMBER(name)
#endif

#ifdef __cplusplus
#define FL_ABI_ASSERT(cond, text) static_assert(cond, text)
#else
#define FL_ABI_ASSERT(cond, text) _Static_assert(cond, text)
#endif
#ifdef FL_ABI_TEST_LAYOUT
#define FL_ABI_LAYOUT(type, size, last, last_offset)                    \
	FL_ABI_ASSERT(sizeof(struct type) >= (size), #type " size")
#else
#define FL_ABI_LAYOUT(type, size, last, last_offset)                    \
	FL_ABI_ASSERT(sizeof(struct type) == (size), #type " size");    \
	FL_ABI_ASSERT(__builtin_offsetof(struct type, last) ==          \
			      (last_offset), #type " layout")
#endif

/* An IPv6 address, or an IPv4 one mapped as ::ffff:a.b.c.d. */
struct fl_addr {
	__be32 w[4];
};
FL_ABI_LAYOUT(fl_addr, 16, w, 0);

/* ---- fl_service: hash, {address, port, protocol} -> frontend ---- */

/* A NodePort frontend has the unspecified address of its family (:: or
 * ::ffff:0.0.0.0); which local addresses it answers on is in fl_node_addr. */
struct fl_service_key {
	struct fl_addr addr;
	__be16 port;
	__u8 proto; /* IPPROTO_* */
	__u8 pad;
};
FL_ABI_LAYOUT(fl_service_key, 20, pad, 19);

/* slots [base, base + count) of fl_slot */
struct fl_selection {
	__u32 base;
	__u32 count;
};
FL_ABI_LAYOUT(fl_selection, 8, count, 4);

/* `internal` is for clients of this cluster (pods, this host), `external`
 * for the others. Each has a verdict (enum fl_verdict) for new flows in
 * `flags`; with FL_VERDICT_FORWARD its selection is not empty. */
struct fl_service {
	FL_ABI_TEST_MEMBER(test_added)
	struct fl_selection internal;
	struct fl_selection external;
	__u32 id;    /* stable for the life of the service port */
	__u32 flags; /* FL_SERVICE_* */
	__u32 affinity_seconds; /* 0: no session affinity */
	/* Of the service port's name: by it a restarted agent knows whose `id`
	 * is. 0: written by a version before 5. */
	__u32 owner;
};
FL_ABI_LAYOUT(fl_service, 32, owner, 28);

enum fl_verdict {
	FL_VERDICT_FORWARD = 0,
	FL_VERDICT_REJECT = 1, /* RST, ICMP port unreachable, ECONNREFUSED */
	FL_VERDICT_DROP = 2,
};

/* fl_service.flags */
#define FL_SERVICE_INTERNAL_VERDICT_SHIFT 0 /* 2 bits */
#define FL_SERVICE_EXTERNAL_VERDICT_SHIFT 2 /* 2 bits */
#define FL_SERVICE_VERDICT_MASK 3u
#define FL_SERVICE_MASQ_POD (1u << 4)	  /* translate a pod's source */
#define FL_SERVICE_MASQ_HOST (1u << 5)	  /* ... this host's */
#define FL_SERVICE_MASQ_OUTSIDE (1u << 6) /* ... anybody else's */
#define FL_SERVICE_SOURCE_RANGES (1u << 7) /* consult fl_source_range */
#define FL_SERVICE_NODE_PORT (1u << 8)
/* With SOURCE_RANGES: the address that this host uses by itself is in them. */
#define FL_SERVICE_HOST_IN_RANGES (1u << 9)

/* {address, port 0, protocol 0} with an all-zero value marks an address that
 * has frontends: for packets whose ports can't be read, or that no frontend
 * has. NodePorts have none. */

/* ---- fl_frontend: array (mmapable), copies of fl_service ---- */

/* One hash look-up is half of what a translated connect() costs (60 ns here),
 * a read of this array 5. The copy of a frontend is at its filter bit modulo
 * FL_FRONTEND_ENTRIES; of two frontends with one place the last written has
 * it, and the other one is found in fl_service. `sequence` is odd while user
 * space changes the entry, fl_service included: a reader that sees it odd, or
 * changed, asks fl_service. */
struct fl_frontend {
	__u32 sequence;
	__be16 port; /* 0: empty */
	__u8 proto;
	__u8 pad;
	struct fl_addr addr;
	struct fl_service service;
	__u64 pad2;
};
FL_ABI_LAYOUT(fl_frontend, 64, pad2, 56);

/* ---- fl_slot: array (mmapable), slot -> backend id (__u32) ---- */

/* ---- fl_backend: array (mmapable), backend id -> ---- */

/* Id 0 is never a backend. */
struct fl_backend {
	FL_ABI_TEST_MEMBER(test_added)
	struct fl_addr addr;
	__be16 port;
	__u8 proto;
	__u8 state;	  /* enum fl_backend_state; one-byte stores */
	__u32 generation; /* rises each time the id is given out */
	__u16 weight;
	__u16 pad;
	__u32 pad2;
};
FL_ABI_LAYOUT(fl_backend, 32, pad2, 28);

enum fl_backend_state {
	FL_BACKEND_FREE = 0,
	FL_BACKEND_ON = 1,    /* takes new flows */
	FL_BACKEND_DRAIN = 2, /* keeps the flows it has, takes no new ones */
	FL_BACKEND_OFF = 3,   /* unhealthy: as DRAIN, UDP flows move on */
};

/* ---- fl_flow: array (mmapable) of buckets, tuple as seen at a hook ->
 * translation; flow_table.h says how an entry is found ---- */

enum fl_hook {
	FL_HOOK_INGRESS = 0, /* tc ingress translates the destination */
	FL_HOOK_EGRESS = 1,  /* tc egress translates the source */
	FL_HOOK_SOCKET = 2,
	FL_HOOK_XDP = 3,
	/* Plus FL_HOOK_INGRESS or _EGRESS: the later fragments of a datagram
	 * whose first one was translated; sport:dport are its id. */
	FL_HOOK_FRAGMENT = 4,
};

struct fl_flow_key {
	struct fl_addr src;
	struct fl_addr dst;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 hook; /* enum fl_hook */
	__u16 pad;
} __attribute__((aligned(8)));
FL_ABI_LAYOUT(fl_flow_key, 40, pad, 38);

/* What to do with a packet that matches: at ingress, write addr:port to its
 * destination, at egress to its source. */
struct fl_flow {
	FL_ABI_TEST_MEMBER(test_added)
	struct fl_addr addr;
	__be16 port;
	__u8 state; /* enum fl_flow_state */
	__u8 flags; /* FL_FLOW_* */
	__u32 service_id;
	__u32 backend_id;
	__u32 backend_generation;
	/* CLOCK_MONOTONIC coarse seconds; only written when it has grown by
	 * FL_FLOW_TOUCH_SECONDS. */
	__u32 last_seen;
	__u16 created; /* minutes, modulo 65536 */
	/* D of a masqueraded flow: the source port towards the backend. */
	__be16 source_port;
} __attribute__((aligned(8)));
FL_ABI_LAYOUT(fl_flow, 40, source_port, 38);

struct fl_flow_entry {
	struct fl_flow_key key;
	struct fl_flow flow;
};
FL_ABI_LAYOUT(fl_flow_entry, 80, flow, 40);

#define FL_FLOW_WAYS 8 /* entries a bucket */
struct fl_flow_bucket {
	__u64 mark[FL_FLOW_WAYS];
	struct fl_flow_entry entry[FL_FLOW_WAYS];
};
FL_ABI_LAYOUT(fl_flow_bucket, 704, entry, 64);

/* ---- fl_flow_secret: array of one, random, made with fl_flow; programs have
 * it in fl_config ---- */

struct fl_flow_hashing {
	__u32 secret[10];
	__u32 mask; /* buckets - 1 */
	__u32 pad;
};
FL_ABI_LAYOUT(fl_flow_hashing, 48, pad, 44);

enum fl_flow_state {
	FL_FLOW_NEW = 0,	 /* no answer seen yet */
	FL_FLOW_ESTABLISHED = 1,
	FL_FLOW_CLOSING = 2,	 /* a FIN was seen in this direction */
	FL_FLOW_CLOSED = 3,	 /* a RST was seen */
};
#define FL_FLOW_TOUCH_SECONDS 2

/* Silence after which an entry may be taken over by another flow (never: is
 * removed; a full table makes room by itself): what people know from netfilter. UDP also
 * chooses its endpoint anew. */
#define FL_FLOW_IDLE_UDP 120
#define FL_FLOW_IDLE_UDP_NEW 30 /* no answer seen */
#define FL_FLOW_IDLE_TCP_NEW 120
#define FL_FLOW_IDLE_CLOSED 10
#define FL_FLOW_IDLE_CLOSING 120
#define FL_FLOW_IDLE_TCP 432000

#define FL_FLOW_REPLY (1u << 0) /* this entry undoes a translation */
#define FL_FLOW_MASQ (1u << 1)	/* the source is translated too */

/* ---- fl_peer: array (mmapable), cookie % entries -> connected socket ---- */

/* What a connected socket was connected to. Its place is given by its cookie,
 * so that connect() pays for one store and no hash: an insert into an LRU hash
 * costs 0.8 us there, into a plain one 0.3 us, into socket storage 0.8 us,
 * this 0.02 us. A place that another live socket holds sends the newcomer to
 * fl_socket. Freed when the socket is released. */
struct fl_peer {
	FL_ABI_TEST_MEMBER(test_added)
	__u64 cookie;	     /* 0: free */
	struct fl_addr addr; /* what the client asked for */
	struct fl_addr backend_addr;
	__be16 port;
	__be16 backend_port;
	__u8 proto;
	__u8 pad;
	__u16 pad2;
	__u32 service_id;
	__u32 backend_id;
	__u32 backend_generation;
	__u32 pad3;
};
FL_ABI_LAYOUT(fl_peer, 64, pad3, 60);

/* ---- fl_socket: LRU hash, sockets that fl_peer has no place for ---- */

/* Above all UDP sockets that are not connected: each has one entry from the
 * service address to the endpoint that its datagrams go to, and one back. */
struct fl_socket_key {
	__u64 cookie;
	struct fl_addr addr; /* REPLY: the backend's, FORWARD: the service's */
	__be16 port;
	__u8 proto;
	__u8 direction; /* enum fl_socket_direction */
	__u32 pad;
};
FL_ABI_LAYOUT(fl_socket_key, 32, pad, 28);

enum fl_socket_direction {
	FL_SOCKET_REPLY = 0,
	FL_SOCKET_FORWARD = 1,
};

struct fl_socket {
	struct fl_addr addr; /* REPLY: the service's, FORWARD: the backend's */
	__be16 port;
	__u16 pad;
	__u32 service_id;
	__u32 backend_id;
	__u32 backend_generation;
};
FL_ABI_LAYOUT(fl_socket, 32, backend_generation, 28);

/* ---- fl_affinity: LRU hash ---- */

struct fl_affinity_key {
	struct fl_addr client;
	__u32 service_id;
};
FL_ABI_LAYOUT(fl_affinity_key, 20, service_id, 16);

struct fl_affinity {
	FL_ABI_TEST_MEMBER(test_added)
	__u32 backend_id;
	__u32 backend_generation;
	__u32 last_used; /* CLOCK_MONOTONIC coarse seconds */
	__u32 slot;	 /* where the backend was found: a hint */
};
FL_ABI_LAYOUT(fl_affinity, 16, slot, 12);

/* ---- fl_source_range: LPM trie -> __u32 (1) ---- */

struct fl_source_range_key {
	__u32 prefix_bits; /* 32 for the service id plus the prefix's own */
	__be32 service_id; /* network order: an LPM key is matched bytewise */
	struct fl_addr prefix;
};
FL_ABI_LAYOUT(fl_source_range_key, 24, prefix, 8);

/* ---- fl_foreign: hash, fl_flow_key -> __u32 (1) ---- */

/* What netfilter translates, during a takeover. Keys as the hooks look:
 *
 *   ingress {client -> frontend}     its datagrams, and first packets
 *   ingress {backend -> node:port}   whose answers come to this port
 *   socket  {FL_FOREIGN_* :port -> frontend}  datagrams of a socket of this
 *           node, whose address the hook doesn't know
 */
#define FL_FOREIGN_POD 1u  /* in src.w[3]: a pod's socket */
#define FL_FOREIGN_HOST 2u /* ... this host's */

/* ---- fl_node_addr: hash, fl_addr -> ---- */

struct fl_node_addr {
	__u32 flags; /* FL_NODE_ADDR_* */
};
FL_ABI_LAYOUT(fl_node_addr, 4, flags, 0);
#define FL_NODE_ADDR_NODE_PORT (1u << 0) /* takes NodePort traffic */
#define FL_NODE_ADDR_LOCAL (1u << 1)	 /* an address of this host */

/* ---- fl_node: array of one ---- */

struct fl_prefix {
	struct fl_addr addr;
	struct fl_addr mask; /* all-zero: matches nothing */
};
FL_ABI_LAYOUT(fl_prefix, 32, mask, 16);

/* The IPv4 case of fl_prefix, in an eighth of its cache lines. */
struct fl_range4 {
	__be32 addr;
	__be32 mask;
};
FL_ABI_LAYOUT(fl_range4, 8, mask, 4);

#define FL_SERVICE_RANGES 8 /* of one family */

/* What is learnt while programs run. Each packet that is not ours reads the
 * first 32 bytes, a pod's first packet the last 64. */
struct fl_node {
	/* A prefix that covers all of services4, and the upper half of one that
	 * covers services6: who isn't in it is in none of them. */
	struct fl_range4 cover4;
	__be32 cover6_addr[2];
	__be32 cover6_mask[2];
	__u32 services4_count;
	__u32 services6_count;
	/* Ranges whose addresses are all ClusterIPs'. */
	struct fl_range4 services4[FL_SERVICE_RANGES];
	struct fl_prefix services6[FL_SERVICE_RANGES];
	struct fl_prefix pods4; /* this node's pods; all-zero: not known */
	struct fl_prefix pods6;
};
FL_ABI_LAYOUT(fl_node, 416, pods6, 384);

/* ---- fl_device: hash, ifindex (__u32) -> ---- */

struct fl_device {
	__u32 flags; /* FL_DEVICE_* */
};
FL_ABI_LAYOUT(fl_device, 4, flags, 0);
#define FL_DEVICE_PODS (1u << 0) /* what comes in through it is from a pod */

/* ---- fl_counter: per-CPU array, enum fl_counter_id -> ---- */

struct fl_counter {
	__u64 packets;
	__u64 bytes;
};
FL_ABI_LAYOUT(fl_counter, 16, bytes, 8);

enum fl_counter_id {
#define FL_COUNTER(name, text) FL_COUNTER_##name,
#include "bpf/abi/counters.def"
#undef FL_COUNTER
	FL_COUNTER_MAX
};

/* ---- fl_event: ring buffer ---- */

struct fl_event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	struct fl_flow_key tuple;
	__u32 ifindex;
	__u32 counter; /* enum fl_counter_id: the verdict that was counted */
	__u32 service_id;
	__u32 backend_id;
};
FL_ABI_LAYOUT(fl_event, 64, backend_id, 60);

/* ---- configuration: .rodata of every object, set before loading ---- */

/* How a pod is told from other clients (kube-proxy's local detector). */
enum fl_pod_detection {
	FL_PODS_BY_ADDRESS = 0, /* pods4, pods6; all-zero: no client is a pod */
	FL_PODS_BY_NODE = 1,	/* the ranges in fl_node */
	FL_PODS_BY_DEVICE = 2,	/* what comes in through a device of fl_device */
};

struct fl_config {
	struct fl_prefix pods4; /* the cluster's pod addresses, IPv4 mapped */
	struct fl_prefix pods6;
	struct fl_addr masquerade4; /* what a translated source becomes */
	struct fl_addr masquerade6;
	__u16 node_port_min; /* host order */
	__u16 node_port_max;
	__u16 source_port_min; /* for translated sources */
	__u16 source_port_max;
	__u32 mark;	     /* skb mark bit: "translate the source at egress" */
	__u32 event_sample;  /* one drop event in N; 0: none */
	__u64 host_netns;    /* cookie of the agent's own network namespace */
	__u32 pod_detection; /* enum fl_pod_detection */
	/* Another version's flows are still being copied (docs/design/
	 * upgrade.md): what seems to have none is dropped, not refused. */
	__u32 changeover;
	/* kube-proxy's flows live on (docs/design/takeover.md): what goes on
	 * without a flow of ours, or is in fl_foreign, is netfilter's. */
	__u32 takeover;
	/* No flow is opened, nothing is refused: new ones are netfilter's. */
	__u32 handover;
	struct fl_flow_hashing flows; /* the loader's to fill in */
};
FL_ABI_LAYOUT(fl_config, 184, flows, 136);

/* Sizes that the programs know; the other maps' are set at load. */
#define FL_FILTER_BITS (1u << 21)
#define FL_FILTER_WORDS (FL_FILTER_BITS / 64)
#define FL_FRONTEND_ENTRIES (1u << 16) /* a power of two */
#define FL_PEER_ENTRIES (1u << 16) /* a power of two */
#define FL_SELECT_TRIES 8  /* slots looked at before giving up */
#define FL_PORT_TRIES 32   /* source ports tried before giving up */
#define FL_CHANGEOVER_PORTS 16 /* one in so many is for changeovers */

/* Every struct that is a map's key or value, for the BTF check. */
#define FL_ABI_STRUCTS(X)                                                   \
	X(fl_addr) X(fl_service_key) X(fl_service) X(fl_frontend)           \
	X(fl_backend)                                                       \
	X(fl_flow_key) X(fl_flow) X(fl_flow_entry) X(fl_flow_bucket) X(fl_peer) X(fl_socket_key) X(fl_socket)  \
	X(fl_affinity_key) X(fl_affinity) X(fl_source_range_key)            \
	X(fl_node_addr) X(fl_node) X(fl_device) X(fl_counter) X(fl_event) X(fl_config)

#endif /* FAIRLEAD_BPF_ABI_TYPES_H_ */
