// SPDX-License-Identifier: Apache-2.0
// The flows of a network namespace whose destination netfilter (or IPVS)
// translates: what kube-proxy's rules have opened, and others' port forwards.
//
// An object works in the network namespace of the thread that opened it, for
// its whole life, whichever thread uses it later (one at a time).
#ifndef FAIRLEAD_USERSPACE_NETLINK_CONNTRACK_H_
#define FAIRLEAD_USERSPACE_NETLINK_CONNTRACK_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/base/ip_address.h"
#include "userspace/netlink/nfnetlink.h"

namespace fairlead::netlink {

struct TranslatedFlow {
  L4Address client;      // as it sends ...
  L4Address frontend;    // ... to where
  L4Address endpoint;    // who answers ...
  L4Address answers_to;  // ... to the client, or to what masquerades it
  // TCP and SCTP: both ends have not yet agreed.
  bool opening = false;
  // They have ended it, or it never answered and has closed.
  bool over = false;

  friend bool operator==(const TranslatedFlow&,
                         const TranslatedFlow&) = default;
};

class Conntrack {
 public:
  // In the calling thread's network namespace. Needs CAP_NET_ADMIN there.
  [[nodiscard]] static absl::StatusOr<Conntrack> Open();

  // TCP, UDP and SCTP of both families, as they are now. Empty on a kernel
  // that has no conntrack loaded.
  [[nodiscard]] absl::StatusOr<std::vector<TranslatedFlow>> Translated();

 private:
  explicit Conntrack(NfnetlinkSocket socket) : socket_(std::move(socket)) {}
  NfnetlinkSocket socket_;
};

}  // namespace fairlead::netlink

#endif  // FAIRLEAD_USERSPACE_NETLINK_CONNTRACK_H_
