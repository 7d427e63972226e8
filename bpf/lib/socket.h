/* SPDX-License-Identifier: GPL-2.0-only */
/* What the socket path remembers: which service a socket really meant.
 *
 * Nothing here can make a wrong answer: an entry names the socket (its cookie
 * is never given out twice) and the backend's address, and is only used for
 * exactly that pair. A lost entry shows the backend's address.
 */
#ifndef FAIRLEAD_BPF_LIB_SOCKET_H_
#define FAIRLEAD_BPF_LIB_SOCKET_H_

#include "bpf/lib/addr.h"
#include "bpf/lib/maps.h"
#include "bpf/lib/select.h"

/* An address as the hooks see it. */
struct fl_endpoint {
	struct fl_addr addr;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

static __always_inline struct fl_peer *fl_peer_place(__u64 cookie)
{
	__u32 place = (__u32)cookie & (FL_PEER_ENTRIES - 1);

	return (struct fl_peer *)bpf_map_lookup_elem(&fl_peer, &place);
}

static __always_inline struct fl_socket_key
fl_socket_key_make(__u64 cookie, const struct fl_endpoint *endpoint,
		   enum fl_socket_direction direction)
{
	struct fl_socket_key key = {
		.cookie = cookie,
		.addr = endpoint->addr,
		.port = endpoint->port,
		.proto = endpoint->proto,
		.direction = (__u8)direction,
	};

	return key;
}

static __always_inline void
fl_socket_put(__u64 cookie, enum fl_socket_direction direction,
	      const struct fl_endpoint *from, const struct fl_endpoint *to,
	      const struct fl_service *service, const struct fl_choice *choice)
{
	struct fl_socket_key key = fl_socket_key_make(cookie, from, direction);
	struct fl_socket value = {
		.addr = to->addr,
		.port = to->port,
		.service_id = service->id,
		.backend_id = choice->id,
		.backend_generation = choice->generation,
	};

	/* If this fails, getpeername shows the backend: no wrong entry. */
	bpf_map_update_elem(&fl_socket, &key, &value, BPF_ANY);
}

/* A socket connects to `backend` in place of `asked`. */
static __always_inline void
fl_peer_put(__u64 cookie, const struct fl_endpoint *asked,
	    const struct fl_endpoint *backend, const struct fl_service *service,
	    const struct fl_choice *choice)
{
	struct fl_peer *peer = fl_peer_place(cookie);
	__u64 holder;

	if (!peer)
		return;
	holder = __sync_val_compare_and_swap(&peer->cookie, 0, cookie);
	if (fl_unlikely(holder && holder != cookie)) {
		fl_socket_put(cookie, FL_SOCKET_REPLY, backend, asked, service,
			      choice);
		/* For datagrams that name what it is connected to. */
		if (asked->proto == FL_IPPROTO_UDP)
			fl_socket_put(cookie, FL_SOCKET_FORWARD, asked, backend,
				      service, choice);
		return;
	}
	peer->addr = asked->addr;
	peer->port = asked->port;
	peer->backend_addr = backend->addr;
	peer->backend_port = backend->port;
	peer->proto = asked->proto;
	peer->service_id = service->id;
	peer->backend_id = choice->id;
	peer->backend_generation = choice->generation;
}

/* Has this socket been connected in place of `asked`? */
static __always_inline __u32 fl_peer_is_for(const struct fl_peer *peer,
					    __u64 cookie,
					    const struct fl_endpoint *asked)
{
	return peer->cookie == cookie && peer->port == asked->port &&
	       peer->proto == asked->proto &&
	       fl_addr_equal(&peer->addr, &asked->addr);
}

/* The socket is gone, or connects to what isn't translated. */
static __always_inline void fl_peer_clear(__u64 cookie)
{
	struct fl_peer *peer = fl_peer_place(cookie);

	if (peer && peer->cookie == cookie)
		peer->cookie = 0;
}

/* What the socket meant by `backend`; port 0: just that. */
static __always_inline struct fl_endpoint
fl_peer_asked(__u64 cookie, const struct fl_endpoint *backend)
{
	struct fl_peer *peer = fl_peer_place(cookie);
	struct fl_endpoint asked = {};
	struct fl_socket_key key;
	struct fl_socket *entry;

	if (peer && peer->cookie == cookie &&
	    peer->backend_port == backend->port &&
	    peer->proto == backend->proto &&
	    fl_addr_equal(&peer->backend_addr, &backend->addr)) {
		asked.addr = peer->addr;
		asked.port = peer->port;
		return asked;
	}
	key = fl_socket_key_make(cookie, backend, FL_SOCKET_REPLY);
	entry = (struct fl_socket *)bpf_map_lookup_elem(&fl_socket, &key);
	if (entry) {
		asked.addr = entry->addr;
		asked.port = entry->port;
	}
	return asked;
}

/* Spreads consecutive cookies evenly: a call of the kernel's generator costs
 * 35 ns here, as much as half a hash look-up. */
static __always_inline __u32 fl_cookie_random(__u64 cookie)
{
	__u32 h = (__u32)cookie ^ (__u32)(cookie >> 32);

	h *= 0x9e3779b9u;
	h ^= h >> 15;
	h *= 0x85ebca6bu;
	h ^= h >> 13;
	h *= 0xc2b2ae35u;
	h ^= h >> 16;
	return h;
}

#endif /* FAIRLEAD_BPF_LIB_SOCKET_H_ */
