// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/explain_text.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/reconcile/plan.h"

namespace fairlead::agent {
namespace {

bool InPrefix(const fl_addr& address, const fl_prefix& prefix) {
  uint32_t mask = 0, diff = 0;
  for (int i = 0; i < 4; ++i) {
    mask |= prefix.mask.w[i];
    diff |= (address.w[i] ^ prefix.addr.w[i]) & prefix.mask.w[i];
  }
  return mask != 0 && diff == 0;
}

bool IsOwn(const IpAddress& address, const model::NodeConfig& node) {
  return std::any_of(
      node.addresses.begin(), node.addresses.end(),
      [&](const model::NodeAddress& own) { return own.address == address; });
}

}  // namespace

absl::StatusOr<L4Address> ParseL4Address(std::string_view text,
                                         Protocol protocol) {
  std::string_view host = text, port;
  const size_t colon = text.rfind(':');
  if (!text.empty() && text.front() == '[') {
    const size_t close = text.find(']');
    if (close == text.npos) {
      return absl::InvalidArgumentError(StrCat("no ] in \"", text, "\""));
    }
    host = text.substr(1, close - 1);
    port = text.substr(close + 1);
    if (!port.empty() && port.front() == ':') port.remove_prefix(1);
  } else if (colon != text.npos && text.find(':') == colon) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  }
  FL_ASSIGN_OR_RETURN(IpAddress address, IpAddress::Parse(host));
  uint32_t number = 0;
  const bool asked = host.size() + (text.front() == '[' ? 2 : 0) < text.size();
  if (asked && (!absl::SimpleAtoi(Absl(port), &number) || number == 0 ||
                number > 65535)) {
    return absl::InvalidArgumentError(
        StrCat("not a port from 1 to 65535 in \"", text, "\""));
  }
  return L4Address{address, static_cast<Port>(number), protocol};
}

std::string HostPort(const L4Address& address) {
  std::string text = address.ToString();
  return text.substr(0, text.rfind('/'));
}

Client ClientOf(const IpAddress& source, const fl_config& config,
                const model::NodeConfig& node) {
  const fl_addr address = reconcile::ToAbi(source);
  if (InPrefix(address, config.pods4) || InPrefix(address, config.pods6)) {
    return {ClientKind::kPod, "its address is in --cluster-cidr"};
  }
  if (IsOwn(source, node)) {
    return {ClientKind::kHost, "its address is this node's"};
  }
  return {ClientKind::kOutside,
          "its address is neither a pod's nor this node's"};
}

std::string_view ClientKindName(ClientKind kind) {
  constexpr std::string_view kNames[] = {"pod", "host", "outside"};
  return kNames[static_cast<size_t>(kind)];
}

std::string PolicyText(const model::ExplainedFrontend& frontend,
                       bool external) {
  const bool cluster_ip = frontend.kind == model::FrontendKind::kClusterIp;
  if (cluster_ip) {
    return StrCat("internalTrafficPolicy: ",
                  frontend.internal_local ? "Local" : "Cluster");
  }
  if (frontend.external_local && !external) {
    return "externalTrafficPolicy: Local, short-circuited for a client of "
           "this cluster";
  }
  return StrCat("externalTrafficPolicy: ",
                frontend.external_local ? "Local" : "Cluster");
}

std::string SourceReason(const model::ExplainedFrontend& frontend,
                         ClientKind client, const model::NodeConfig& node,
                         bool to_itself, bool masqueraded) {
  if (to_itself && masqueraded) return "hairpin: the endpoint is the client";
  const bool cluster_ip = frontend.kind == model::FrontendKind::kClusterIp;
  if (masqueraded) {
    if (cluster_ip) {
      return node.masquerade_all ? "--masquerade-all"
                                 : "a client of a ClusterIP that is no pod";
    }
    return frontend.external_local ? "a client on this node itself"
                                   : "externalTrafficPolicy: Cluster";
  }
  if (cluster_ip) {
    if (client == ClientKind::kPod) return "a pod keeps its address";
    if (!node.detects_pods) return "pods can't be told from other clients";
  } else if (frontend.external_local) {
    return "externalTrafficPolicy: Local keeps the client's address";
  }
  return "the endpoint is on this node and answers through it";
}

SocketDecision DecideSocket(const fl_service* service, bool has_backend_on,
                            Protocol protocol) {
  if (protocol == Protocol::kSctp) {
    return {"passed", "the socket path translates TCP and UDP only"};
  }
  if (service == nullptr) return {"passed", "no Service has this address"};
  const uint32_t verdict =
      service->flags >> FL_SERVICE_INTERNAL_VERDICT_SHIFT &
      FL_SERVICE_VERDICT_MASK;
  if (verdict == FL_VERDICT_DROP) {
    return {"declined", "the verdict is to drop: left to the packet path"};
  }
  if (service->flags & FL_SERVICE_SOURCE_RANGES) {
    return {"declined", "source ranges need the source address: left to the "
                        "packet path"};
  }
  if (verdict == FL_VERDICT_REJECT || !has_backend_on) {
    return {"refused", "no usable endpoint: ECONNREFUSED"};
  }
  return {"translated", "at connect() or sendmsg(), to one of the candidates"};
}

}  // namespace fairlead::agent
