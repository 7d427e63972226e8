/* SPDX-License-Identifier: GPL-2.0-only */
/* The socket path: a client on this node is translated once, at connect() or
 * at an unconnected sendmsg(), and then talks to the endpoint directly.
 *
 * It takes only what it can do exactly. A verdict of "drop" and source ranges
 * depend on what can't be known before the kernel has chosen a route, so they
 * are declined: the packet path sees the service address and decides.
 */
#include "bpf/lib/config.h"
#include "bpf/lib/count.h"
#include "bpf/lib/foreign.h"
#include "bpf/lib/lookup.h"
#include "bpf/lib/select.h"
#include "bpf/lib/socket.h"

#define FL_ECONNREFUSED 111
/* A connected UDP socket's state, too. */
#define FL_TCP_ESTABLISHED 1

/* Return values of cgroup programs. */
#define FL_CGROUP_REFUSE 0
#define FL_CGROUP_OK 1

char fl_license[] SEC("license") = "GPL";

enum fl_socket_action {
	FL_SOCKET_PASS = 0,
	FL_SOCKET_REWRITE = 1,
	FL_SOCKET_REFUSE = 2,
};

/* The action, what to write, and the counter: one per call. */
struct fl_socket_result {
	struct fl_endpoint to;
	enum fl_socket_action action;
	enum fl_counter_id counter;
};

static __always_inline struct fl_socket_result
fl_socket_result(enum fl_socket_action action, enum fl_counter_id counter)
{
	struct fl_socket_result result = {
		.action = action,
		.counter = counter,
	};

	return result;
}

static __always_inline __u32 fl_socket_protocol_ours(struct bpf_sock_addr *ctx)
{
	/* All 32 bits: MPTCP's number ends in TCP's byte. Its subflows come by
	 * as TCP. */
	return ctx->protocol == FL_IPPROTO_TCP ||
	       ctx->protocol == FL_IPPROTO_UDP;
}

static __always_inline struct fl_endpoint
fl_socket_endpoint4(struct bpf_sock_addr *ctx)
{
	struct fl_endpoint endpoint = {
		.addr = fl_addr_from_v4(ctx->user_ip4),
		.port = (__be16)ctx->user_port,
		.proto = (__u8)ctx->protocol,
	};

	return endpoint;
}

static __always_inline struct fl_endpoint
fl_socket_endpoint6(struct bpf_sock_addr *ctx)
{
	struct fl_endpoint endpoint = {
		.addr = { { ctx->user_ip6[0], ctx->user_ip6[1],
			    ctx->user_ip6[2], ctx->user_ip6[3] } },
		.port = (__be16)ctx->user_port,
		.proto = (__u8)ctx->protocol,
	};

	return endpoint;
}

/* What a client has asked for, as the kernel understands it. */
static __always_inline struct fl_endpoint
fl_socket_asked4(struct bpf_sock_addr *ctx)
{
	__be32 v4 = ctx->user_ip4;
	struct fl_endpoint asked = {
		.addr = fl_addr_from_v4(v4 ? v4 : bpf_htonl(0x7f000001)),
		.port = (__be16)ctx->user_port,
		.proto = (__u8)ctx->protocol,
	};

	return asked;
}

static __always_inline struct fl_endpoint
fl_socket_asked6(struct bpf_sock_addr *ctx)
{
	struct fl_endpoint asked = fl_socket_endpoint6(ctx);

	asked.addr = fl_addr_or_loopback(asked.addr);
	return asked;
}

/* The source address isn't known yet, but who shares a network namespace
 * shares it. The first byte is that of a multicast address: no packet path
 * client can have it. */
static __always_inline struct fl_addr
fl_socket_affinity_client(struct bpf_sock_addr *ctx)
{
	__u64 netns = bpf_get_netns_cookie(ctx);
	struct fl_addr client = {
		{ bpf_htonl(0xff000000), 0, (__u32)(netns >> 32), (__u32)netns }
	};

	return client;
}

static __always_inline struct fl_choice
fl_socket_select(struct bpf_sock_addr *ctx, const struct fl_service *service,
		 __u64 cookie)
{
	__u32 random = fl_cookie_random(cookie);
	struct fl_addr client;

	if (fl_likely(!service->affinity_seconds))
		return fl_select_random(&service->internal, random);
	client = fl_socket_affinity_client(ctx);
	return fl_select(service, &service->internal, &client, random);
}

static __always_inline __u32 fl_socket_is_host(struct bpf_sock_addr *ctx)
{
	return bpf_get_netns_cookie(ctx) == fl_config.host_netns;
}

/* A pod's loopback address is its own, whatever its number. */
static __always_inline __u32
fl_socket_is_pods_own(struct bpf_sock_addr *ctx, const struct fl_addr *asked,
		      const struct fl_service *service)
{
	return fl_unlikely(service->flags & FL_SERVICE_NODE_PORT) &&
	       fl_addr_is_loopback(asked) && !fl_socket_is_host(ctx);
}

/* Do the source ranges certainly let this client through? Of this host's own
 * the address is known; a pod's is the packet path's to see. */
static __always_inline __u32
fl_socket_in_ranges(struct bpf_sock_addr *ctx, const struct fl_service *service)
{
	if (fl_likely(!(service->flags & FL_SERVICE_SOURCE_RANGES)))
		return 1;
	return service->flags & FL_SERVICE_HOST_IN_RANGES &&
	       fl_socket_is_host(ctx);
}

/* Why a frontend's socket isn't translated; FL_SOCKET_REWRITE if it is. */
static __always_inline struct fl_socket_result
fl_socket_verdict(struct bpf_sock_addr *ctx, const struct fl_addr *asked,
		  const struct fl_service *service)
{
	enum fl_verdict verdict = fl_service_verdict(service, FL_CLIENT_POD);

	if (fl_socket_is_pods_own(ctx, asked, service))
		return fl_socket_result(FL_SOCKET_PASS, FL_COUNTER_NOT_OURS);
	/* What a socket has may go on; the callers begin nothing. */
	if (fl_config.handover)
		return fl_socket_result(FL_SOCKET_REWRITE,
					FL_COUNTER_SOCKET_TRANSLATED);
	if (verdict == FL_VERDICT_DROP || !fl_socket_in_ranges(ctx, service))
		return fl_socket_result(FL_SOCKET_PASS,
					FL_COUNTER_SOCKET_DECLINED);
	if (verdict == FL_VERDICT_REJECT)
		return fl_socket_result(FL_SOCKET_REFUSE,
					FL_COUNTER_SOCKET_REFUSED);
	return fl_socket_result(FL_SOCKET_REWRITE,
				FL_COUNTER_SOCKET_TRANSLATED);
}

/* To an address that no frontend has with this port: a ClusterIP refuses, the
 * rest of its range is the packet path's to drop. */
static __always_inline struct fl_socket_result
fl_socket_stray(const struct fl_endpoint *asked)
{
	if (fl_likely(fl_config.handover ||
		      !fl_is_service_addr(&asked->addr,
					  !fl_addr_is_v4(&asked->addr))))
		return fl_socket_result(FL_SOCKET_PASS, FL_COUNTER_NOT_OURS);
	if (!fl_is_frontend_addr(&asked->addr))
		return fl_socket_result(FL_SOCKET_PASS,
					FL_COUNTER_SOCKET_DECLINED);
	return fl_socket_result(FL_SOCKET_REFUSE, FL_COUNTER_SOCKET_REFUSED);
}

static __always_inline void fl_socket_set_backend(struct fl_endpoint *to,
						  const struct fl_backend *from,
						  __u8 proto)
{
	to->addr = from->addr;
	to->port = from->port;
	to->proto = proto;
}

static __always_inline struct fl_socket_result
fl_socket_connect(struct bpf_sock_addr *ctx, const struct fl_endpoint *asked)
{
	struct fl_socket_result result;
	struct fl_service service;
	struct fl_choice choice;
	__u64 cookie;

	if (fl_likely(!fl_service_read(&asked->addr, asked->port, asked->proto,
				       &service))) {
		/* A socket that was translated once may now mean the backend
		 * itself; no other address can match what is remembered. */
		if (fl_backend_possible(&asked->addr, asked->port,
					asked->proto))
			fl_peer_clear(bpf_get_socket_cookie(ctx));
		return fl_socket_stray(asked);
	}
	if (fl_config.handover)
		return fl_socket_result(FL_SOCKET_PASS,
					FL_COUNTER_SOCKET_DECLINED);
	result = fl_socket_verdict(ctx, &asked->addr, &service);
	if (result.action != FL_SOCKET_REWRITE)
		return result;
	cookie = bpf_get_socket_cookie(ctx);
	choice = fl_socket_select(ctx, &service, cookie);
	if (!choice.backend)
		return fl_socket_result(FL_SOCKET_REFUSE,
					FL_COUNTER_SOCKET_REFUSED);
	fl_socket_set_backend(&result.to, choice.backend, asked->proto);
	fl_peer_put(cookie, asked, &result.to, &service, &choice);
	return result;
}

static __always_inline __u32 fl_socket_is_connected(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return sk && sk->state == FL_TCP_ESTABLISHED;
}

/* Finds what was chosen for this socket's datagrams to `asked`, or leaves
 * `chosen` as it is. What it is connected to comes first: no other endpoint's
 * answers would reach it. (Global: verified once.) */
__noinline int fl_socket_chosen(__u64 cookie, const struct fl_endpoint *asked,
				__u32 connected, struct fl_socket *chosen)
{
	struct fl_socket_key key;
	struct fl_socket *entry;
	struct fl_peer *peer;

	if (!asked || !chosen)
		return 0;
	peer = connected ? fl_peer_place(cookie) : 0;
	if (peer && fl_peer_is_for(peer, cookie, asked)) {
		chosen->service_id = peer->service_id;
		chosen->backend_id = peer->backend_id;
		chosen->backend_generation = peer->backend_generation;
		return 0;
	}
	key = fl_socket_key_make(cookie, asked, FL_SOCKET_FORWARD);
	entry = (struct fl_socket *)bpf_map_lookup_elem(&fl_socket, &key);
	if (entry)
		*chosen = *entry;
	return 0;
}

/* The endpoint that this socket's datagrams to `asked` go to already, if it
 * may still have them: one flow stays with one endpoint, as in conntrack. */
static __always_inline struct fl_choice
fl_socket_known(struct bpf_sock_addr *ctx, __u64 cookie,
		const struct fl_endpoint *asked,
		const struct fl_service *service)
{
	struct fl_socket chosen = {};
	struct fl_choice choice = {};
	struct fl_backend *backend;

	fl_socket_chosen(cookie, asked, fl_socket_is_connected(ctx), &chosen);
	/* No backend has id 0. */
	if (!chosen.backend_id || chosen.service_id != service->id)
		return choice;
	backend = fl_backend_same(chosen.backend_id, chosen.backend_generation);
	if (!backend || backend->state == FL_BACKEND_OFF)
		return choice;
	choice.backend = backend;
	choice.id = chosen.backend_id;
	choice.generation = chosen.backend_generation;
	return choice;
}

/* Is this datagram's socket connected to just the address that it names? (An IPv6
 * socket with an IPv4 peer names it each time.) An endpoint's, by us: nothing is
 * translated twice, though it may be another frontend's, too. A frontend's, from
 * when it was none or was declined: no endpoint's answers would reach it; the
 * packet path has it. */
static __always_inline __u32
fl_socket_names_peer(struct bpf_sock_addr *ctx, const struct fl_endpoint *asked,
		     int ipv6)
{
	struct bpf_sock *sk = ctx->sk;

	if (fl_likely(!sk || sk->state != FL_TCP_ESTABLISHED))
		return 0;
	if (sk->dst_port != asked->port)
		return 0;
	if (!ipv6)
		return sk->dst_ip4 == asked->addr.w[3];
	return sk->dst_ip6[0] == asked->addr.w[0] &&
	       sk->dst_ip6[1] == asked->addr.w[1] &&
	       sk->dst_ip6[2] == asked->addr.w[2] &&
	       sk->dst_ip6[3] == asked->addr.w[3];
}

/* Has netfilter translated this socket's datagrams to `asked` until now? Or is
 * it to, from now on? */
static __always_inline __u32
fl_socket_is_foreign(struct bpf_sock_addr *ctx, const struct fl_endpoint *asked)
{
	struct fl_flow_key key = {
		.dst = asked->addr,
		.dport = asked->port,
		.proto = asked->proto,
		.hook = FL_HOOK_SOCKET,
	};
	struct bpf_sock *sk;

	if (fl_config.handover)
		return 1;
	if (!fl_config.takeover)
		return 0;
	sk = ctx->sk;
	if (!sk)
		return 0;
	key.sport = bpf_htons((__u16)sk->src_port);
	key.src.w[3] = fl_socket_is_host(ctx) ? FL_FOREIGN_HOST :
						FL_FOREIGN_POD;
	return fl_foreign_has(&key);
}

static __always_inline struct fl_socket_result
fl_socket_sendmsg(struct bpf_sock_addr *ctx, const struct fl_endpoint *asked,
		  int ipv6)
{
	struct fl_socket_result result;
	struct fl_service service;
	struct fl_choice choice;
	struct fl_socket_key reply;
	__u64 cookie;

	if (fl_likely(!fl_service_read(&asked->addr, asked->port, asked->proto,
				       &service)))
		return fl_socket_stray(asked);
	if (fl_unlikely(fl_socket_names_peer(ctx, asked, ipv6)))
		return fl_socket_result(FL_SOCKET_PASS, FL_COUNTER_NOT_OURS);
	cookie = bpf_get_socket_cookie(ctx);
	/* An exchange goes on, whatever is said to new ones. */
	choice = fl_socket_known(ctx, cookie, asked, &service);
	if (choice.backend) {
		result = fl_socket_result(FL_SOCKET_REWRITE,
					  FL_COUNTER_SOCKET_TRANSLATED);
		fl_socket_set_backend(&result.to, choice.backend, asked->proto);
		/* The way back may have been evicted on its own. */
		reply = fl_socket_key_make(cookie, &result.to, FL_SOCKET_REPLY);
		if (fl_likely(bpf_map_lookup_elem(&fl_socket, &reply)))
			return result;
	} else {
		result = fl_socket_verdict(ctx, &asked->addr, &service);
		if (result.action != FL_SOCKET_REWRITE)
			return result;
		if (fl_socket_is_foreign(ctx, asked))
			return fl_socket_result(FL_SOCKET_PASS,
						FL_COUNTER_SOCKET_DECLINED);
		choice = fl_socket_select(ctx, &service, cookie);
		if (!choice.backend)
			return fl_socket_result(FL_SOCKET_REFUSE,
						FL_COUNTER_SOCKET_REFUSED);
		fl_socket_set_backend(&result.to, choice.backend, asked->proto);
		fl_socket_put(cookie, FL_SOCKET_FORWARD, asked, &result.to,
			      &service, &choice);
	}
	fl_socket_put(cookie, FL_SOCKET_REPLY, &result.to, asked, &service,
		      &choice);
	return result;
}

/* recvmsg and getpeername: the kernel is about to name `backend`. */
static __always_inline struct fl_socket_result
fl_socket_reverse(struct bpf_sock_addr *ctx, const struct fl_endpoint *backend)
{
	struct fl_socket_result result =
		fl_socket_result(FL_SOCKET_PASS, FL_COUNTER_NOT_OURS);

	if (!fl_backend_possible(&backend->addr, backend->port,
				 backend->proto))
		return result;
	result.to = fl_peer_asked(bpf_get_socket_cookie(ctx), backend);
	if (!result.to.port)
		return result;
	result.action = FL_SOCKET_REWRITE;
	result.counter = FL_COUNTER_SOCKET_REVERSED;
	return result;
}

static __always_inline int
fl_socket_act4(struct bpf_sock_addr *ctx, const struct fl_socket_result *result)
{
	fl_count(result->counter, 0);
	if (result->action == FL_SOCKET_REWRITE) {
		ctx->user_ip4 = result->to.addr.w[3];
		ctx->user_port = result->to.port;
	}
	return FL_CGROUP_OK;
}

static __always_inline int
fl_socket_act6(struct bpf_sock_addr *ctx, const struct fl_socket_result *result)
{
	fl_count(result->counter, 0);
	if (result->action == FL_SOCKET_REWRITE) {
		ctx->user_ip6[0] = result->to.addr.w[0];
		ctx->user_ip6[1] = result->to.addr.w[1];
		ctx->user_ip6[2] = result->to.addr.w[2];
		ctx->user_ip6[3] = result->to.addr.w[3];
		ctx->user_port = result->to.port;
	}
	return FL_CGROUP_OK;
}

/* Only in connect and sendmsg: the other hooks can't set a return value. */
static __always_inline int fl_socket_refuse(void)
{
	fl_count(FL_COUNTER_SOCKET_REFUSED, 0);
	/* Without it, the caller would see EPERM. */
	bpf_set_retval(-FL_ECONNREFUSED);
	return FL_CGROUP_REFUSE;
}

static __always_inline int fl_socket_not_ours(void)
{
	fl_count(FL_COUNTER_NOT_OURS, 0);
	return FL_CGROUP_OK;
}

SEC("cgroup/connect4")
int fl_connect4(struct bpf_sock_addr *ctx)
{
	struct fl_endpoint asked = fl_socket_asked4(ctx);
	struct fl_socket_result result;

	if (!fl_socket_protocol_ours(ctx))
		return fl_socket_not_ours();
	result = fl_socket_connect(ctx, &asked);
	if (result.action == FL_SOCKET_REFUSE)
		return fl_socket_refuse();
	return fl_socket_act4(ctx, &result);
}

SEC("cgroup/connect6")
int fl_connect6(struct bpf_sock_addr *ctx)
{
	struct fl_endpoint asked = fl_socket_asked6(ctx);
	struct fl_socket_result result;

	if (!fl_socket_protocol_ours(ctx))
		return fl_socket_not_ours();
	result = fl_socket_connect(ctx, &asked);
	if (result.action == FL_SOCKET_REFUSE)
		return fl_socket_refuse();
	return fl_socket_act6(ctx, &result);
}

SEC("cgroup/sendmsg4")
int fl_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct fl_endpoint asked = fl_socket_asked4(ctx);
	struct fl_socket_result result = fl_socket_sendmsg(ctx, &asked, 0);

	if (result.action == FL_SOCKET_REFUSE)
		return fl_socket_refuse();
	return fl_socket_act4(ctx, &result);
}

SEC("cgroup/sendmsg6")
int fl_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct fl_endpoint asked = fl_socket_asked6(ctx);
	struct fl_socket_result result = fl_socket_sendmsg(ctx, &asked, 1);

	if (result.action == FL_SOCKET_REFUSE)
		return fl_socket_refuse();
	return fl_socket_act6(ctx, &result);
}

SEC("cgroup/recvmsg4")
int fl_recvmsg4(struct bpf_sock_addr *ctx)
{
	struct fl_endpoint source = fl_socket_endpoint4(ctx);
	struct fl_socket_result result = fl_socket_reverse(ctx, &source);

	return fl_socket_act4(ctx, &result);
}

SEC("cgroup/recvmsg6")
int fl_recvmsg6(struct bpf_sock_addr *ctx)
{
	struct fl_endpoint source = fl_socket_endpoint6(ctx);
	struct fl_socket_result result = fl_socket_reverse(ctx, &source);

	return fl_socket_act6(ctx, &result);
}

SEC("cgroup/getpeername4")
int fl_getpeername4(struct bpf_sock_addr *ctx)
{
	struct fl_endpoint peer = fl_socket_endpoint4(ctx);
	struct fl_socket_result result = fl_socket_reverse(ctx, &peer);

	return fl_socket_act4(ctx, &result);
}

SEC("cgroup/getpeername6")
int fl_getpeername6(struct bpf_sock_addr *ctx)
{
	struct fl_endpoint peer = fl_socket_endpoint6(ctx);
	struct fl_socket_result result = fl_socket_reverse(ctx, &peer);

	return fl_socket_act6(ctx, &result);
}

/* Frees the place in fl_peer. Not counted: no address is decided here. A
 * connected socket whose peer can't be a backend has none (one array read);
 * one that isn't connected (any more) may have. */
SEC("cgroup/sock_release")
int fl_sock_release(struct bpf_sock *sk)
{
	struct fl_addr peer;
	__be16 port = sk->dst_port;

	if (sk->protocol != FL_IPPROTO_TCP && sk->protocol != FL_IPPROTO_UDP)
		return FL_CGROUP_OK;
	if (port) {
		if (sk->family == FL_AF_INET6) {
			peer.w[0] = sk->dst_ip6[0];
			peer.w[1] = sk->dst_ip6[1];
			peer.w[2] = sk->dst_ip6[2];
			peer.w[3] = sk->dst_ip6[3];
			/* Keeps clang from merging the two branches' loads
			 * through a changed context pointer, which the
			 * verifier refuses. */
			barrier();
		} else {
			peer = fl_addr_from_v4(sk->dst_ip4);
		}
		if (!fl_backend_possible(&peer, port, (__u8)sk->protocol))
			return FL_CGROUP_OK;
	}
	fl_peer_clear(bpf_get_socket_cookie(sk));
	return FL_CGROUP_OK;
}
