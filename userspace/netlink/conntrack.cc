// SPDX-License-Identifier: Apache-2.0
#include "userspace/netlink/conntrack.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_sctp.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <netlink/attr.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "userspace/base/status.h"

namespace fairlead::netlink {
namespace {

// One direction's source and destination.
struct Tuple {
  L4Address from;
  L4Address to;
};

// The attributes of one level, by type (libnl's parser); of another type or a
// larger one: none. `policy` isn't needed: lengths are checked where read.
template <size_t kMax>
class Attributes {
 public:
  Attributes(const void* data, size_t size) {
    // libnl doesn't write through it.
    auto* head = const_cast<nlattr*>(static_cast<const nlattr*>(data));
    if (nla_parse(found_, kMax, head, static_cast<int>(size), nullptr) < 0) {
      std::memset(found_, 0, sizeof found_);
    }
  }
  explicit Attributes(const nlattr* parent)
      : Attributes(parent == nullptr ? nullptr : nla_data(parent),
                   parent == nullptr ? 0 : nla_len(parent)) {}
  const nlattr* operator[](size_t type) const { return found_[type]; }

 private:
  nlattr* found_[kMax + 1] = {};
};

std::optional<IpAddress> AddressOf(const nlattr* v4, const nlattr* v6) {
  IpAddress::Bytes bytes = {};
  if (v4 != nullptr && nla_len(v4) == 4) {
    bytes[10] = bytes[11] = 0xff;
    std::memcpy(&bytes[12], nla_data(v4), 4);
  } else if (v6 != nullptr && nla_len(v6) == 16) {
    std::memcpy(bytes.data(), nla_data(v6), 16);
  } else {
    return std::nullopt;
  }
  return IpAddress(bytes);
}

std::optional<Tuple> TupleOf(const nlattr* attribute) {
  const Attributes<CTA_TUPLE_MAX> tuple(attribute);
  const Attributes<CTA_IP_MAX> ip(tuple[CTA_TUPLE_IP]);
  const Attributes<CTA_PROTO_MAX> proto(tuple[CTA_TUPLE_PROTO]);
  const auto from = AddressOf(ip[CTA_IP_V4_SRC], ip[CTA_IP_V6_SRC]);
  const auto to = AddressOf(ip[CTA_IP_V4_DST], ip[CTA_IP_V6_DST]);
  if (!from || !to || proto[CTA_PROTO_NUM] == nullptr ||
      proto[CTA_PROTO_SRC_PORT] == nullptr ||
      proto[CTA_PROTO_DST_PORT] == nullptr) {
    return std::nullopt;
  }
  const uint8_t number = nla_get_u8(proto[CTA_PROTO_NUM]);
  if (number != IPPROTO_TCP && number != IPPROTO_UDP &&
      number != IPPROTO_SCTP) {
    return std::nullopt;
  }
  const auto protocol = static_cast<Protocol>(number);
  return Tuple{{*from, ntohs(nla_get_u16(proto[CTA_PROTO_SRC_PORT])), protocol},
               {*to, ntohs(nla_get_u16(proto[CTA_PROTO_DST_PORT])), protocol}};
}

void ReadState(const nlattr* attribute, TranslatedFlow* flow) {
  const Attributes<CTA_PROTOINFO_MAX> state(attribute);
  const Attributes<CTA_PROTOINFO_TCP_MAX> tcp(state[CTA_PROTOINFO_TCP]);
  const Attributes<CTA_PROTOINFO_SCTP_MAX> sctp(state[CTA_PROTOINFO_SCTP]);
  if (const nlattr* at = tcp[CTA_PROTOINFO_TCP_STATE]; at != nullptr) {
    const uint8_t now = nla_get_u8(at);
    flow->opening = now == TCP_CONNTRACK_SYN_SENT ||
                    now == TCP_CONNTRACK_SYN_RECV ||
                    now == TCP_CONNTRACK_SYN_SENT2;
    flow->over = now == TCP_CONNTRACK_TIME_WAIT || now == TCP_CONNTRACK_CLOSE;
  }
  if (const nlattr* at = sctp[CTA_PROTOINFO_SCTP_STATE]; at != nullptr) {
    const uint8_t now = nla_get_u8(at);
    flow->opening = now == SCTP_CONNTRACK_COOKIE_WAIT ||
                    now == SCTP_CONNTRACK_COOKIE_ECHOED;
    flow->over = now == SCTP_CONNTRACK_CLOSED;
  }
}

// nullopt: its destination stays as it is.
std::optional<TranslatedFlow> FlowOf(std::string_view bytes) {
  const Attributes<CTA_MAX> entry(bytes.data(), bytes.size());
  const auto sent = TupleOf(entry[CTA_TUPLE_ORIG]);
  const auto answered = TupleOf(entry[CTA_TUPLE_REPLY]);
  // Not by IPS_DST_NAT: IPVS doesn't set it.
  if (!sent || !answered || sent->to == answered->from) return std::nullopt;
  TranslatedFlow flow = {.client = sent->from,
                         .frontend = sent->to,
                         .endpoint = answered->from,
                         .answers_to = answered->to};
  ReadState(entry[CTA_PROTOINFO], &flow);
  return flow;
}

}  // namespace

absl::StatusOr<Conntrack> Conntrack::Open() {
  FL_ASSIGN_OR_RETURN(NfnetlinkSocket socket, NfnetlinkSocket::Open());
  return Conntrack(std::move(socket));
}

absl::StatusOr<std::vector<TranslatedFlow>> Conntrack::Translated() {
  std::vector<TranslatedFlow> flows;
  FL_ASSIGN_OR_RETURN(
      int error,
      socket_.Ask({NfnetlinkSocket::Request(NFNL_SUBSYS_CTNETLINK,
                                            IPCTNL_MSG_CT_GET, NLM_F_DUMP,
                                            AF_UNSPEC)},
                  [&](uint8_t, std::string_view bytes) {
                    auto flow = FlowOf(bytes);
                    if (flow.has_value()) flows.push_back(*std::move(flow));
                  }));
  // Without the module the kernel doesn't know the subsystem.
  if (error != 0 && error != EINVAL && error != EOPNOTSUPP) {
    return ErrnoStatus(error, "list", "conntrack entries");
  }
  return flows;
}

}  // namespace fairlead::netlink
