/* SPDX-License-Identifier: GPL-2.0-only */
/* Answering instead of forwarding: the packet becomes a TCP reset or an ICMP
 * port unreachable, in place, and the caller sends it back where it came from.
 *
 * What makes it delicate is a packet whose checksum a device was meant to fill
 * in (CHECKSUM_PARTIAL: from a local pod, or a virtual machine's). Nothing
 * that a program may call ends that state, so the answer is laid out such that
 * its own checksum is right when the old place gets filled in, too.
 */
#ifndef FAIRLEAD_BPF_LIB_REJECT_H_
#define FAIRLEAD_BPF_LIB_REJECT_H_

#include "bpf/lib/rewrite.h"

/* Bytes of the refused datagram, from its IP header on, that the ICMP error
 * quotes. RFC 792 wants 28, RFC 4443 as many as fit: this is room for the
 * headers that somebody who looks for the socket needs. */
#define FL_REJECT_QUOTE 128

#define FL_IP_TTL 64

/* Is a device to fill in the checksum at `at`? A difference without the pseudo
 * header leaves such a field alone, and changes any other (which is put back,
 * lest skb->csum be wrong). */
static __always_inline __u32 fl_csum_is_partial(struct __sk_buff *ctx, __u32 at)
{
	__u16 before, after;

	if (bpf_skb_load_bytes(ctx, at, &before, sizeof(before)) ||
	    bpf_l4_csum_replace(ctx, at, 0, bpf_htons(1), 2) ||
	    bpf_skb_load_bytes(ctx, at, &after, sizeof(after)))
		return 0;
	if (before == after)
		return 1;
	bpf_skb_store_bytes(ctx, at, &before, sizeof(before), 0);
	return 0;
}

static __always_inline long fl_swap_macs(struct __sk_buff *ctx,
					 const struct fl_packet *pkt)
{
	__u8 macs[2 * ETH_ALEN];
	long err;

	if (!pkt->l3_off)
		return 0;
	err = bpf_skb_load_bytes(ctx, 0, macs, sizeof(macs));
	if (err)
		return err;
	err = bpf_skb_store_bytes(ctx, 0, macs + ETH_ALEN, ETH_ALEN, 0);
	if (err)
		return err;
	return bpf_skb_store_bytes(ctx, ETH_ALEN, macs, ETH_ALEN, 0);
}

/* An IPv4 header of 20 bytes for an answer to pkt. */
static __always_inline void fl_answer_ipv4(struct iphdr *ip,
					   const struct fl_packet *pkt,
					   __u8 proto, __u32 len)
{
	__u32 sum;

	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->tot_len = bpf_htons(sizeof(*ip) + len);
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = FL_IP_TTL;
	ip->protocol = proto;
	ip->saddr = pkt->tuple.dst.w[3];
	ip->daddr = pkt->tuple.src.w[3];
	sum = bpf_csum_diff(0, 0, (__be32 *)ip, sizeof(*ip), 0);
	ip->check = ~fl_csum_fold(sum);
}

static __always_inline void fl_answer_ipv6(struct ipv6hdr *ip,
					   const struct fl_packet *pkt,
					   __u8 proto, __u32 len)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 6;
	ip->payload_len = bpf_htons(len);
	ip->nexthdr = proto;
	ip->hop_limit = FL_IP_TTL;
	__builtin_memcpy(&ip->saddr, &pkt->tuple.dst, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, &pkt->tuple.src, sizeof(ip->daddr));
}

static __always_inline __u32 fl_ip_header_len(const struct fl_packet *pkt)
{
	return pkt->ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
}

struct fl_answer_tcp {
	union {
		struct {
			__u8 unused[20];
			struct iphdr v4;
		};
		struct ipv6hdr v6;
	};
	struct tcphdr tcp;
};

/* RFC 9293, 3.10.7.1: what a host answers to a segment for a closed port. */
static __always_inline void fl_answer_reset(struct tcphdr *tcp,
					    const struct tcphdr *to,
					    __u32 data_len)
{
	__builtin_memset(tcp, 0, sizeof(*tcp));
	tcp->source = to->dest;
	tcp->dest = to->source;
	tcp->doff = sizeof(*tcp) / 4;
	tcp->rst = 1;
	if (to->ack) {
		tcp->seq = to->ack_seq;
		return;
	}
	tcp->ack = 1;
	tcp->ack_seq = bpf_htonl(bpf_ntohl(to->seq) + to->syn + to->fin +
				 data_len);
}

/* 0: the packet is now the reset. */
__noinline int fl_reset_write(struct __sk_buff *ctx,
			     const struct fl_packet *pkt)
{
	__u32 ip_len, headers;
	struct fl_answer_tcp answer = {};
	struct tcphdr old;
	__u32 partial, sum, data_len = 0;

	if (!pkt)
		return -1;
	ip_len = fl_ip_header_len(pkt);
	headers = pkt->l4_off - pkt->l3_off;
	if (bpf_skb_load_bytes(ctx, pkt->l4_off, &old, sizeof(old)))
		return -1;
	partial = fl_csum_is_partial(ctx, pkt->l4_off + 16);
	if (partial && headers != ip_len)
		return -1;
	if (pkt->l3_len > headers + old.doff * 4)
		data_len = pkt->l3_len - headers - old.doff * 4;
	fl_answer_reset(&answer.tcp, &old, data_len);
	sum = fl_csum_pseudo(&pkt->tuple.dst, &pkt->tuple.src, FL_IPPROTO_TCP,
			     sizeof(answer.tcp));
	if (partial) {
		answer.tcp.check = fl_csum_fold(sum);
	} else {
		sum = bpf_csum_diff(0, 0, (__be32 *)&answer.tcp,
				    sizeof(answer.tcp), sum);
		answer.tcp.check = ~fl_csum_fold(sum);
	}
	if (bpf_skb_change_tail(ctx, pkt->l3_off + ip_len + sizeof(answer.tcp),
				0))
		return -1;
	if (pkt->ipv6) {
		fl_answer_ipv6(&answer.v6, pkt, FL_IPPROTO_TCP,
			       sizeof(answer.tcp));
		if (bpf_skb_store_bytes(ctx, pkt->l3_off, &answer,
					sizeof(answer), BPF_F_RECOMPUTE_CSUM))
			return -1;
	} else {
		fl_answer_ipv4(&answer.v4, pkt, FL_IPPROTO_TCP,
			       sizeof(answer.tcp));
		if (bpf_skb_store_bytes(ctx, pkt->l3_off, &answer.v4,
					sizeof(answer.v4) + sizeof(answer.tcp),
					BPF_F_RECOMPUTE_CSUM))
			return -1;
	}
	return fl_swap_macs(ctx, pkt) ? -1 : 0;
}

struct fl_answer_icmp {
	union {
		struct {
			__u8 unused[20];
			struct iphdr v4;
		};
		struct ipv6hdr v6;
	};
	__u8 type;
	__u8 code;
	__u16 check;
	__u16 zero;
	__u16 filled_in; /* where UDP has its checksum */
	__u8 quote[FL_REJECT_QUOTE];
};

/* With CHECKSUM_PARTIAL the device sums up from the ICMP header on, and puts
 * the result where UDP's checksum was: in the word that this ICMP error
 * doesn't use. With what is put there before (the pseudo header's sum; ICMP
 * has none), that result is zero, so the ICMP checksum stays right. */
static __always_inline void fl_answer_unreachable(struct fl_answer_icmp *answer,
						  const struct fl_packet *pkt,
						  __u32 quote, __u32 partial)
{
	__u32 pseudo = 0;

	answer->type = pkt->ipv6 ? 1 : 3;
	answer->code = pkt->ipv6 ? 4 : 3;
	if (pkt->ipv6)
		pseudo = fl_csum_pseudo(&pkt->tuple.dst, &pkt->tuple.src,
					FL_IPPROTO_ICMPV6, 8 + quote);
	/* What is behind the quote is zero. */
	answer->check = ~fl_csum_fold(
		bpf_csum_diff(0, 0, (__be32 *)&answer->type,
			      8 + FL_REJECT_QUOTE, pseudo));
	if (partial)
		answer->filled_in = fl_csum_fold(pseudo);
}

/* 0: the packet is now the port unreachable. */
__noinline int fl_unreachable_write(struct __sk_buff *ctx,
				   const struct fl_packet *pkt)
{
	__u32 ip_len, quote, partial;
	struct fl_answer_icmp answer = {};

	if (!pkt)
		return -1;
	ip_len = fl_ip_header_len(pkt);
	quote = pkt->l3_len;
	if (quote > FL_REJECT_QUOTE)
		quote = FL_REJECT_QUOTE;
	if (quote < 28)
		return -1;
	if (bpf_skb_load_bytes(ctx, pkt->l3_off, answer.quote, quote))
		return -1;
	partial = fl_csum_is_partial(ctx, pkt->l4_off + 6);
	if (partial && pkt->l4_off - pkt->l3_off != ip_len)
		return -1;
	if (bpf_skb_change_tail(ctx, pkt->l3_off + ip_len + 8 + quote, 0))
		return -1;
	fl_answer_unreachable(&answer, pkt, quote, partial);
	if (pkt->ipv6) {
		fl_answer_ipv6(&answer.v6, pkt, FL_IPPROTO_ICMPV6, 8 + quote);
		if (bpf_skb_store_bytes(ctx, pkt->l3_off, &answer,
					sizeof(answer.v6) + 8 + quote,
					BPF_F_RECOMPUTE_CSUM))
			return -1;
	} else {
		fl_answer_ipv4(&answer.v4, pkt, FL_IPPROTO_ICMP, 8 + quote);
		if (bpf_skb_store_bytes(ctx, pkt->l3_off, &answer.v4,
					sizeof(answer.v4) + 8 + quote,
					BPF_F_RECOMPUTE_CSUM))
			return -1;
	}
	return fl_swap_macs(ctx, pkt) ? -1 : 0;
}

/* Answers what `verdict` refuses. REJECT_RST becomes REJECT_UNREACHABLE where
 * there is no reset. */
static __always_inline enum fl_counter_id
fl_reject(struct __sk_buff *ctx, const struct fl_packet *pkt,
	  enum fl_counter_id verdict)
{
	if (pkt->tuple.proto == FL_IPPROTO_TCP)
		return fl_reset_write(ctx, pkt) ? FL_COUNTER_DROP_REWRITE :
						  verdict;
	if (fl_unreachable_write(ctx, pkt))
		return FL_COUNTER_DROP_REWRITE;
	return verdict == FL_COUNTER_REJECT_RST ?
		       FL_COUNTER_REJECT_UNREACHABLE : verdict;
}

#endif /* FAIRLEAD_BPF_LIB_REJECT_H_ */
