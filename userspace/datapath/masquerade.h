// SPDX-License-Identifier: Apache-2.0
// Masqueraded flows of an address that this node doesn't masquerade with any
// more. Their answers go where nobody knows them, and with the new address
// their source ports may be other flows': they must end.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_MASQUERADE_H_
#define FAIRLEAD_USERSPACE_DATAPATH_MASQUERADE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "userspace/base/ip_address.h"
#include "userspace/datapath/flow_table.h"

namespace fairlead::datapath {

// Removes all but those whose source became one of `keep`, and returns how
// many. For when the programs have the new addresses: what the old ones open
// meanwhile would stay. The client of a TCP connection is reset by its next
// packet, a UDP flow begins anew.
// Walks the table; any thread.
[[nodiscard]] absl::StatusOr<uint64_t> RemoveMasqueraded(
    FlowTable* flows, const std::vector<IpAddress>& keep);

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_MASQUERADE_H_
