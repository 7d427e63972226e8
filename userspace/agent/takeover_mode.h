// SPDX-License-Identifier: Apache-2.0
// --takeover: when flows are left to netfilter (docs/design/takeover.md).
#ifndef FAIRLEAD_USERSPACE_AGENT_TAKEOVER_MODE_H_
#define FAIRLEAD_USERSPACE_AGENT_TAKEOVER_MODE_H_

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace fairlead::agent {

enum class TakeoverMode : uint8_t {
  kAuto,  // while kube-proxy's rules are there, or a flow of theirs
  kOn,
  kOff,
};
std::string_view TakeoverModeName(TakeoverMode mode);
[[nodiscard]] absl::StatusOr<TakeoverMode> ParseTakeoverMode(
    std::string_view text);

}  // namespace fairlead::agent

#endif  // FAIRLEAD_USERSPACE_AGENT_TAKEOVER_MODE_H_
