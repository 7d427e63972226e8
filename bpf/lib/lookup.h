/* SPDX-License-Identifier: GPL-2.0-only */
/* Whose is this address? Frontends, backends, clients.
 *
 * "Not ours" is decided by one array read (filter.h); a hash is only read for
 * what passes the filter.
 */
#ifndef FAIRLEAD_BPF_LIB_LOOKUP_H_
#define FAIRLEAD_BPF_LIB_LOOKUP_H_

#include "bpf/lib/addr.h"
#include "bpf/lib/config.h"
#include "bpf/lib/maps.h"

/* The first three are also the order of FL_SERVICE_MASQ_*. */
enum fl_client {
	FL_CLIENT_POD = 0,
	FL_CLIENT_HOST = 1,
	FL_CLIENT_OUTSIDE = 2,
	/* Of the cluster, but of another node: it came here by choice, as from
	 * outside, and needs no translation of its source. */
	FL_CLIENT_REMOTE_POD = 3,
};

static __always_inline __u32 fl_filter_has(void *filter, __u32 bit)
{
	__u32 word = bit >> 6;
	__u64 *bits = (__u64 *)bpf_map_lookup_elem(filter, &word);

	return bits && (*bits >> (bit & 63)) & 1;
}

static __always_inline __u32 fl_filter_test(void *filter,
					    const struct fl_addr *addr,
					    __be16 port, __u8 proto)
{
	return fl_filter_has(filter, fl_filter_bit(addr, port, proto));
}

/* Might addr:port be a backend's? 0 is certain. */
static __always_inline __u32 fl_backend_possible(const struct fl_addr *addr,
						 __be16 port, __u8 proto)
{
	return fl_filter_test(&fl_filter_be, addr, port, proto);
}

static __always_inline __u32 fl_node_addr_flags(const struct fl_addr *addr)
{
	struct fl_node_addr *node = (struct fl_node_addr *)
		bpf_map_lookup_elem(&fl_node_addr, addr);

	return node ? node->flags : 0;
}

static __always_inline __u32 fl_port_is_node_port(__be16 port)
{
	__u16 host = bpf_ntohs(port);

	/* 0..0 is "no NodePorts": port 0 is never asked for. */
	return host && host >= fl_config.node_port_min &&
	       host <= fl_config.node_port_max;
}

static __always_inline struct fl_service *
fl_service_find(const struct fl_addr *addr, __be16 port, __u8 proto)
{
	struct fl_service_key key = {
		.addr = *addr,
		.port = port,
		.proto = proto,
	};

	if (!fl_filter_test(&fl_filter_fe, addr, port, proto))
		return 0;
	return (struct fl_service *)bpf_map_lookup_elem(&fl_service, &key);
}

/* NodePorts' frontends are written with the unspecified address, where nobody
 * is: who is sent there hasn't asked for them. */
static __always_inline __u32
fl_service_has_address(const struct fl_service *service)
{
	return fl_likely(!(service->flags & FL_SERVICE_NODE_PORT));
}

/* The frontend that addr:port belongs to, or null: not ours. */
static __always_inline struct fl_service *
fl_service_lookup(const struct fl_addr *addr, __be16 port, __u8 proto)
{
	struct fl_service *service = fl_service_find(addr, port, proto);
	struct fl_addr any;

	if (service)
		return fl_service_has_address(service) ? service : 0;
	if (fl_likely(!fl_port_is_node_port(port)))
		return 0;
	any = fl_addr_unspecified(addr);
	service = fl_service_find(&any, port, proto);
	if (!service || !(fl_node_addr_flags(addr) & FL_NODE_ADDR_NODE_PORT))
		return 0;
	return service;
}

/* As fl_service_lookup(), but a copy, and without a hash look-up if the
 * frontend has its place in fl_frontend. 0: not ours. For who has passed the
 * filter already. `bit`: the filter's. */
static __always_inline __u32 fl_service_copy(const struct fl_addr *addr,
					     __be16 port, __u8 proto, __u32 bit,
					     struct fl_service *service)
{
	__u32 place = bit & (FL_FRONTEND_ENTRIES - 1);
	struct fl_frontend *entry;
	struct fl_service *found;
	__u32 sequence;

	entry = (struct fl_frontend *)bpf_map_lookup_elem(&fl_frontend, &place);
	if (!entry)
		return 0;
	/* x86 doesn't reorder loads; what does has an empty array. */
	sequence = *(volatile __u32 *)&entry->sequence;
	barrier();
	if (entry->port == port && entry->proto == proto &&
	    fl_addr_equal(&entry->addr, addr) && !(sequence & 1)) {
		*service = entry->service;
		barrier();
		if (fl_likely(*(volatile __u32 *)&entry->sequence == sequence))
			return fl_service_has_address(service);
	}
	found = fl_service_lookup(addr, port, proto);
	if (!found)
		return 0;
	*service = *found;
	return 1;
}

static __always_inline __u32 fl_service_read(const struct fl_addr *addr,
					     __be16 port, __u8 proto,
					     struct fl_service *service)
{
	__u32 bit = fl_filter_bit(addr, port, proto);

	if (fl_likely(!fl_filter_has(&fl_filter_fe, bit) &&
		      !fl_port_is_node_port(port)))
		return 0;
	return fl_service_copy(addr, port, proto, bit, service);
}

static __always_inline const struct fl_node *fl_node_read(void)
{
	__u32 zero = 0;

	return (const struct fl_node *)bpf_map_lookup_elem(&fl_node, &zero);
}

/* For who is in the cover: is it in one of the ranges? */
__noinline int fl_in_service_range(const struct fl_addr *addr, __u32 ipv6)
{
	const struct fl_node *node = fl_node_read();
	__u32 i;

	if (!addr || !node)
		return 0;
	if (ipv6) {
		for (i = 0; i < FL_SERVICE_RANGES; i++) {
			if (i >= node->services6_count)
				break;
			if (fl_addr_in_prefix(addr, &node->services6[i]))
				return 1;
		}
		return 0;
	}
	for (i = 0; i < FL_SERVICE_RANGES; i++) {
		if (i >= node->services4_count)
			break;
		if (!((addr->w[3] ^ node->services4[i].addr) &
		      node->services4[i].mask))
			return 1;
	}
	return 0;
}

/* One compare says no to nearly all that is in none of the ranges, however many
 * there are. */
static __always_inline __u32 fl_in_service_cover(const struct fl_addr *addr,
						 __u32 ipv6)
{
	const struct fl_node *node = fl_node_read();

	if (!node)
		return 0;
	if (ipv6)
		return !(((addr->w[0] ^ node->cover6_addr[0]) &
			  node->cover6_mask[0]) |
			 ((addr->w[1] ^ node->cover6_addr[1]) &
			  node->cover6_mask[1]));
	return !((addr->w[3] ^ node->cover4.addr) & node->cover4.mask);
}

/* Is it of a range that only ClusterIPs are taken from? */
static __always_inline __u32 fl_is_service_addr(const struct fl_addr *addr,
						__u32 ipv6)
{
	if (fl_likely(!fl_in_service_cover(addr, ipv6)))
		return 0;
	return (__u32)fl_in_service_range(addr, ipv6);
}

/* Are there frontends at this address (NodePorts don't count)? */
static __always_inline __u32 fl_is_frontend_addr(const struct fl_addr *addr)
{
	return !!fl_service_find(addr, 0, 0);
}

/* An address where nobody but frontends can be meant. */
static __always_inline __u32 fl_is_only_frontend(const struct fl_addr *addr)
{
	return fl_is_frontend_addr(addr) &&
	       !(fl_node_addr_flags(addr) & FL_NODE_ADDR_LOCAL);
}

/* This node's pods, of the address' family; all-zero: not known. */
static __always_inline const struct fl_prefix *
fl_node_pods(const struct fl_addr *addr)
{
	const struct fl_node *node = fl_node_read();

	if (!node)
		return 0;
	return fl_addr_is_v4(addr) ? &node->pods4 : &node->pods6;
}

static __always_inline __u32 fl_is_pod(const struct fl_addr *addr,
				       __u32 ifindex)
{
	const struct fl_prefix *pods;
	struct fl_device *device;

	switch (fl_config.pod_detection) {
	case FL_PODS_BY_ADDRESS:
		return fl_addr_in_prefix(addr, &fl_config.pods4) ||
		       fl_addr_in_prefix(addr, &fl_config.pods6);
	case FL_PODS_BY_NODE:
		pods = fl_node_pods(addr);
		return pods && fl_addr_in_prefix(addr, pods);
	default:
		device = (struct fl_device *)bpf_map_lookup_elem(&fl_device,
								 &ifindex);
		return device && device->flags & FL_DEVICE_PODS;
	}
}

static __always_inline __u32 fl_is_remote_pod(const struct fl_addr *addr)
{
	const struct fl_prefix *pods = fl_node_pods(addr);

	return pods && pods->mask.w[0] && !fl_addr_in_prefix(addr, pods);
}

/* Does it make a difference to the service whether a client is this host or
 * somebody outside? */
static __always_inline __u32
fl_service_tells_hosts(const struct fl_service *service)
{
	__u32 flags = service->flags;
	__u32 verdicts = (flags >> FL_SERVICE_INTERNAL_VERDICT_SHIFT) ^
			 (flags >> FL_SERVICE_EXTERNAL_VERDICT_SHIFT);

	return service->internal.base != service->external.base ||
	       service->internal.count != service->external.count ||
	       verdicts & FL_SERVICE_VERDICT_MASK ||
	       !(flags & FL_SERVICE_MASQ_HOST) !=
		       !(flags & FL_SERVICE_MASQ_OUTSIDE);
}

/* Who sent what came in through this device, as far as it matters to the
 * service (a hash look-up less)? Only asked for the first packet of a flow. */
static __always_inline enum fl_client
fl_client_kind(const struct fl_service *service, const struct fl_addr *src,
	       __u32 ifindex)
{
	if (fl_is_pod(src, ifindex))
		return fl_is_remote_pod(src) ? FL_CLIENT_REMOTE_POD :
					       FL_CLIENT_POD;
	if (fl_service_tells_hosts(service) &&
	    fl_node_addr_flags(src) & FL_NODE_ADDR_LOCAL)
		return FL_CLIENT_HOST;
	return FL_CLIENT_OUTSIDE;
}

/* Clients of this node use `internal`. */
static __always_inline __u32 fl_client_is_internal(enum fl_client client)
{
	return client == FL_CLIENT_POD || client == FL_CLIENT_HOST;
}

static __always_inline const struct fl_selection *
fl_service_selection(const struct fl_service *service, enum fl_client client)
{
	return fl_client_is_internal(client) ? &service->internal :
					       &service->external;
}

static __always_inline enum fl_verdict
fl_service_verdict(const struct fl_service *service, enum fl_client client)
{
	__u32 shift = fl_client_is_internal(client) ?
			      FL_SERVICE_INTERNAL_VERDICT_SHIFT :
			      FL_SERVICE_EXTERNAL_VERDICT_SHIFT;

	return (enum fl_verdict)((service->flags >> shift) &
				 FL_SERVICE_VERDICT_MASK);
}

/* Must this client's source be translated? (A hairpin must in any case.) */
static __always_inline __u32
fl_service_masquerades(const struct fl_service *service, enum fl_client client)
{
	if (client == FL_CLIENT_REMOTE_POD)
		client = FL_CLIENT_POD;
	return service->flags & (FL_SERVICE_MASQ_POD << client);
}

/* Only consulted with FL_SERVICE_SOURCE_RANGES. */
static __always_inline __u32
fl_source_range_allows(const struct fl_service *service,
		       const struct fl_addr *src)
{
	struct fl_source_range_key key = {
		.prefix_bits = 32 + 128,
		.service_id = bpf_htonl(service->id),
		.prefix = *src,
	};

	return !!bpf_map_lookup_elem(&fl_source_range, &key);
}

#endif /* FAIRLEAD_BPF_LIB_LOOKUP_H_ */
