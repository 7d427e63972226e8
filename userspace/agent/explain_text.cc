// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/explain_text.h"

#include "absl/strings/numbers.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::agent {
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

std::string PolicyText(const model::ExplainedFrontend& frontend,
                       bool external) {
  const bool cluster_ip = frontend.kind == model::FrontendKind::kClusterIp;
  if (cluster_ip) {
    return StrCat("internalTrafficPolicy: ",
                  frontend.internal_local ? "Local" : "Cluster");
  }
  if (frontend.external_local && !external) {
    return "externalTrafficPolicy: Local, short-circuited for a client of "
           "this node";
  }
  return StrCat("externalTrafficPolicy: ",
                frontend.external_local ? "Local" : "Cluster");
}

std::string SourceReason(const model::ExplainedFrontend& frontend,
                         datapath::ClientKind client,
                         const model::NodeConfig& node,
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
    if (client == datapath::ClientKind::kPod ||
        client == datapath::ClientKind::kRemotePod) {
      return "a pod keeps its address";
    }
    if (!node.detects_pods) return "pods can't be told from other clients";
  } else if (frontend.external_local) {
    return "externalTrafficPolicy: Local keeps the client's address";
  }
  return "this node itself is the endpoint, and sees its client";
}

SocketDecision DecideSocket(const SocketCase& socket) {
  auto passed = [](std::string_view why) {
    return SocketDecision{"passed", why, FL_COUNTER_NOT_OURS};
  };
  auto declined = [](std::string_view why) {
    return SocketDecision{"declined", why, FL_COUNTER_SOCKET_DECLINED};
  };
  auto refused = [](std::string_view why) {
    return SocketDecision{"refused", why, FL_COUNTER_SOCKET_REFUSED};
  };
  if (socket.protocol == Protocol::kSctp) {
    return passed("the socket path translates TCP and UDP only");
  }
  if (socket.service == nullptr) {
    if (!socket.service_range) return passed("no Service has this address");
    return socket.other_frontends
               ? refused("a ClusterIP without this port: ECONNREFUSED")
               : declined("nobody's address of the service range");
  }
  const uint32_t flags = socket.service->flags;
  if ((flags & FL_SERVICE_NODE_PORT) != 0 && socket.loopback && !socket.host) {
    return passed("a pod's loopback address is its own");
  }
  const uint32_t verdict =
      flags >> FL_SERVICE_INTERNAL_VERDICT_SHIFT & FL_SERVICE_VERDICT_MASK;
  if (verdict == FL_VERDICT_DROP) return declined("the verdict is to drop");
  const bool in_ranges = (flags & FL_SERVICE_HOST_IN_RANGES) != 0 &&
                         socket.host;
  if ((flags & FL_SERVICE_SOURCE_RANGES) != 0 && !in_ranges) {
    return declined("source ranges need the source address");
  }
  if (verdict == FL_VERDICT_REJECT || !socket.any_backend_on) {
    return refused("no usable endpoint: ECONNREFUSED");
  }
  return {"translated", "at connect() or sendmsg(), to one of the candidates",
          FL_COUNTER_SOCKET_TRANSLATED};
}

}  // namespace fairlead::agent
