// SPDX-License-Identifier: Apache-2.0
// What the programs remember of UDP exchanges, and the removal of what must
// not be used any more: flows of the packet path, endpoints that unconnected
// sockets stay with. TCP and SCTP are never touched.
//
// Each call walks a map in batches and may take as long as that map is large:
// not for the loop's thread. The programs go on meanwhile; an exchange that
// they begin anew during the walk may lose its entry and begin once more.
//
// Threads: one at a time. Owns its descriptors.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_UDP_STATE_H_
#define FAIRLEAD_USERSPACE_DATAPATH_UDP_STATE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bpf/abi/types.h"
#include "userspace/base/ip_address.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/pin_layout.h"
#include "userspace/datapath/typed_map.h"

namespace fairlead::datapath {

class UdpState {
 public:
  // May what was sent to `frontend` go (on) to `backend`?
  using Serves = absl::FunctionRef<bool(const L4Address& frontend,
                                        const L4Address& backend)>;

  [[nodiscard]] static absl::StatusOr<std::unique_ptr<UdpState>> Open(
      const PinLayout& layout);

  struct Removed {
    uint64_t looked_at = 0;  // entries
    uint64_t removed = 0;    // flows, or sockets' endpoints
  };
  // `masquerade`: the node's addresses, to find a flow's source port.
  [[nodiscard]] absl::StatusOr<Removed> RemoveFlows(
      Serves serves, const std::vector<IpAddress>& masquerade);
  // An unconnected socket's next datagram chooses again.
  [[nodiscard]] absl::StatusOr<Removed> RemoveEndpoints(Serves serves);

  // Sockets that were connected to a frontend by the socket path and must not
  // stay with `backend`. They may have been connected to something else since.
  struct StaleSocket {
    uint64_t cookie = 0;
    L4Address backend;
  };
  [[nodiscard]] absl::StatusOr<std::vector<StaleSocket>> FindConnected(
      Serves serves) const;

 private:
  UdpState() = default;
  absl::Status RemoveFlow(const fl_flow_key& key, const fl_flow& flow,
                          const std::vector<IpAddress>& masquerade);

  FlowTable flows_;
  TypedMap<fl_socket_key, fl_socket> sockets_;
  UniqueFd peers_;
  uint32_t peer_entries_ = 0;
};

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_UDP_STATE_H_
