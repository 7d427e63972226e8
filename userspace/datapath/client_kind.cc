// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/client_kind.h"

#include <arpa/inet.h>

namespace fairlead::datapath {
namespace {

bool IsV4(const fl_addr& address) {
  return address.w[0] == 0 && address.w[1] == 0 &&
         address.w[2] == htonl(0xffff);
}

bool IsPod(const ClientFacts& client, const fl_config& config,
           const fl_prefix& node_pods) {
  switch (config.pod_detection) {
    case FL_PODS_BY_ADDRESS:
      return PrefixContains(config.pods4, client.address) ||
             PrefixContains(config.pods6, client.address);
    case FL_PODS_BY_NODE:
      return PrefixContains(node_pods, client.address);
    default:
      return client.pod_device;
  }
}

}  // namespace

bool PrefixContains(const fl_prefix& prefix, const fl_addr& address) {
  uint32_t mask = 0, diff = 0;
  for (int i = 0; i < 4; ++i) {
    mask |= prefix.mask.w[i];
    diff |= (address.w[i] ^ prefix.addr.w[i]) & prefix.mask.w[i];
  }
  return mask != 0 && diff == 0;
}

std::string_view ClientKindName(ClientKind kind) {
  constexpr std::string_view kNames[] = {"pod", "pod of another node", "host",
                                         "outside"};
  return kNames[static_cast<size_t>(kind)];
}

ClientKind ClientKindOf(const ClientFacts& client, const fl_config& config,
                        const fl_node& node) {
  if (client.own_address) return ClientKind::kHost;
  const fl_prefix& node_pods =
      IsV4(client.address) ? node.pods4 : node.pods6;
  if (!IsPod(client, config, node_pods)) return ClientKind::kOutside;
  const bool known = node_pods.mask.w[0] != 0;
  return known && !PrefixContains(node_pods, client.address)
             ? ClientKind::kRemotePod
             : ClientKind::kPod;
}

std::string_view ClientKindReason(ClientKind kind, const fl_config& config) {
  if (kind == ClientKind::kHost) return "its address is this node's";
  if (kind == ClientKind::kRemotePod) {
    return "its address is a pod's, and not of this node's range";
  }
  const bool pod = kind == ClientKind::kPod;
  switch (config.pod_detection) {
    case FL_PODS_BY_ADDRESS:
      return pod ? "its address is in --cluster-cidr"
                 : "its address is neither in --cluster-cidr nor this node's";
    case FL_PODS_BY_NODE:
      return pod ? "its address is in this node's pod range"
                 : "its address is neither in this node's pod range nor its "
                   "own";
    default:
      return pod ? "it comes in by a device of pods"
                 : "it doesn't come in by a device of pods (see --device)";
  }
}

}  // namespace fairlead::datapath
