// SPDX-License-Identifier: Apache-2.0
// Who a client is to this node, in words that people know; the programs decide
// the same in bpf/lib/lookup.h (fl_client_kind), from the same tables, for each
// packet. Pure functions.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_CLIENT_KIND_H_
#define FAIRLEAD_USERSPACE_DATAPATH_CLIENT_KIND_H_

#include <cstdint>
#include <string_view>

#include "bpf/abi/types.h"

namespace fairlead::datapath {

enum class ClientKind : uint8_t {
  kPod,        // of this node, as far as is known
  kRemotePod,  // of another node
  kHost,       // this node itself: its packets leave, they don't come in
  kOutside,
};
// "pod", "pod of another node", "host", "outside"
std::string_view ClientKindName(ClientKind kind);

// Clients of this node use the internal rules, the others the external ones.
constexpr bool UsesInternal(ClientKind kind) {
  return kind == ClientKind::kPod || kind == ClientKind::kHost;
}

bool PrefixContains(const fl_prefix& prefix, const fl_addr& address);

// What the tables say about a client.
struct ClientFacts {
  fl_addr address = {};
  bool own_address = false;  // of this host
  bool pod_device = false;   // it comes in by a device of pods
};
ClientKind ClientKindOf(const ClientFacts& client, const fl_config& config,
                        const fl_node& node);
// Why it is of that kind.
std::string_view ClientKindReason(ClientKind kind, const fl_config& config);

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_CLIENT_KIND_H_
