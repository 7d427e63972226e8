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

enum fl_client {
	FL_CLIENT_POD = 0,
	FL_CLIENT_HOST = 1,
	FL_CLIENT_OUTSIDE = 2,
};

static __always_inline __u32 fl_filter_test(void *filter,
					    const struct fl_addr *addr,
					    __be16 port, __u8 proto)
{
	__u32 bit = fl_filter_bit(addr, port, proto);
	__u32 word = bit >> 6;
	__u64 *bits = (__u64 *)bpf_map_lookup_elem(filter, &word);

	return bits && (*bits >> (bit & 63)) & 1;
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

/* The frontend that addr:port belongs to, or null: not ours. */
static __always_inline struct fl_service *
fl_service_lookup(const struct fl_addr *addr, __be16 port, __u8 proto)
{
	struct fl_service *service = fl_service_find(addr, port, proto);
	struct fl_addr any;

	if (service || fl_likely(!fl_port_is_node_port(port)))
		return service;
	any = fl_addr_unspecified(addr);
	service = fl_service_find(&any, port, proto);
	if (!service || !(fl_node_addr_flags(addr) & FL_NODE_ADDR_NODE_PORT))
		return 0;
	return service;
}

/* As fl_service_lookup(), but a copy, and without a hash look-up if the
 * frontend has its place in fl_frontend. 0: not ours. */
static __always_inline __u32 fl_service_read(const struct fl_addr *addr,
					     __be16 port, __u8 proto,
					     struct fl_service *service)
{
	__u32 place = fl_filter_bit(addr, port, proto) &
		      (FL_FRONTEND_ENTRIES - 1);
	struct fl_frontend *entry;
	struct fl_service *found;
	__u32 sequence;

	if (fl_likely(!fl_filter_test(&fl_filter_fe, addr, port, proto) &&
		      !fl_port_is_node_port(port)))
		return 0;
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
			return 1;
	}
	found = fl_service_lookup(addr, port, proto);
	if (!found)
		return 0;
	*service = *found;
	return 1;
}

/* Who sent this? Only asked for the first packet of a flow. */
static __always_inline enum fl_client fl_client_kind(const struct fl_addr *src)
{
	if (fl_addr_in_prefix(src, &fl_config.pods4) ||
	    fl_addr_in_prefix(src, &fl_config.pods6))
		return FL_CLIENT_POD;
	if (fl_node_addr_flags(src) & FL_NODE_ADDR_LOCAL)
		return FL_CLIENT_HOST;
	return FL_CLIENT_OUTSIDE;
}

/* Clients of this cluster use `internal`. */
static __always_inline const struct fl_selection *
fl_service_selection(const struct fl_service *service, enum fl_client client)
{
	return client == FL_CLIENT_OUTSIDE ? &service->external :
					     &service->internal;
}

static __always_inline enum fl_verdict
fl_service_verdict(const struct fl_service *service, enum fl_client client)
{
	__u32 shift = client == FL_CLIENT_OUTSIDE ?
			      FL_SERVICE_EXTERNAL_VERDICT_SHIFT :
			      FL_SERVICE_INTERNAL_VERDICT_SHIFT;

	return (enum fl_verdict)((service->flags >> shift) &
				 FL_SERVICE_VERDICT_MASK);
}

/* Must this client's source be translated? (A hairpin must in any case.) */
static __always_inline __u32
fl_service_masquerades(const struct fl_service *service, enum fl_client client)
{
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
