// SPDX-License-Identifier: Apache-2.0
// Changes to the kernel's service tables as data: they can be printed,
// compared, replayed. Plain values, no thread rule.
#ifndef FAIRLEAD_USERSPACE_RECONCILE_PLAN_H_
#define FAIRLEAD_USERSPACE_RECONCILE_PLAN_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "bpf/abi/types.h"
#include "userspace/base/ip_address.h"
#include "userspace/reconcile/map_set.h"

namespace fairlead::reconcile {

struct SetFilterBit {
  Filter filter = Filter::kFrontends;
  uint32_t bit = 0;
};
struct PutBackend {
  uint32_t id = 0;
  fl_backend value = {};
};
struct SetBackendState {
  uint32_t id = 0;
  fl_backend_state state = FL_BACKEND_FREE;
};
struct PutSlots {
  uint32_t base = 0;
  std::vector<uint32_t> backend_ids;
};
// Publishes: everything that it refers to was written before.
struct PutService {
  fl_service_key key = {};
  fl_service value = {};
};
struct DeleteService {
  fl_service_key key = {};
};
// For packets whose port can't be read, or that no frontend has.
struct MarkAddress {
  IpAddress address;
};
struct UnmarkAddress {
  IpAddress address;
};
struct PutSourceRange {
  fl_source_range_key key = {};
};
struct DeleteSourceRange {
  fl_source_range_key key = {};
};
struct PutNodeAddress {
  fl_addr address = {};
  fl_node_addr value = {};
};
struct DeleteNodeAddress {
  fl_addr address = {};
};

using Operation =
    std::variant<SetFilterBit, PutBackend, SetBackendState, PutSlots,
                 MarkAddress, PutService, DeleteService, UnmarkAddress,
                 PutSourceRange, DeleteSourceRange,
                 PutNodeAddress, DeleteNodeAddress>;

// In the order in which they have to be done.
using Plan = std::vector<Operation>;

// Does one operation.
[[nodiscard]] absl::Status Execute(const Operation& operation, MapSet* maps);

// One line of the operation log, such as
// "PutService 10.96.0.1:80/TCP id=1 internal=[0,3) external=[0,3) flags=...".
std::string ToString(const Operation& operation);

// "id=1 internal=[0,3) external=drop masq=outside", without the key.
std::string ToString(const fl_service& service);
// "10.244.1.7:8080/TCP gen=1 on".
std::string ToString(const fl_backend& backend);
// "10.96.0.1:80/TCP", "*4:30080/TCP" and "*6:30080/TCP" for a NodePort.
std::string ToString(const fl_service_key& key);
std::string ToString(const fl_source_range_key& key);

// ---- between values of base and of bpf/abi ----

fl_addr ToAbi(const IpAddress& address);
IpAddress FromAbi(const fl_addr& address);
fl_service_key ToServiceKey(const L4Address& frontend);
L4Address FromServiceKey(const fl_service_key& key);
// The key that marks an address which has frontends.
fl_service_key MarkKey(const IpAddress& address);
bool IsMark(const fl_service_key& key);

}  // namespace fairlead::reconcile

#endif  // FAIRLEAD_USERSPACE_RECONCILE_PLAN_H_
