// SPDX-License-Identifier: Apache-2.0
// Back to netfilter: the programs go on with the flows that they have and open
// no others (fl_config.handover), until those have ended.
//
// Threads: one at a time, in the network namespace whose devices are meant.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_HAND_OVER_H_
#define FAIRLEAD_USERSPACE_DATAPATH_HAND_OVER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/loader.h"
#include "userspace/datapath/pin_layout.h"
#include "userspace/datapath/root_lock.h"

namespace fairlead::datapath {

class HandOver {
 public:
  // Puts the programs in, configured as those before, whatever the flags are
  // now. kUnavailable: an agent is at work. kNotFound: there is nothing to hand
  // over. kFailedPrecondition: another version's programs are at work.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<HandOver>> Begin(
      const std::string& pin_root);

  // Flows of the packet path that live still: no end of theirs was seen, nor
  // have they been silent for as long as netfilter would wait.
  [[nodiscard]] absl::StatusOr<uint64_t> LiveFlows() const;

 private:
  HandOver(RootLock lock, PinLayout layout)
      : lock_(std::move(lock)), layout_(std::move(layout)) {}

  RootLock lock_;
  PinLayout layout_;
  FlowTable flows_;
  std::unique_ptr<Programs> programs_;
};

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_HAND_OVER_H_
