// SPDX-License-Identifier: Apache-2.0
// With which constants the programs run that are attached, for who replaces
// them without knowing the agent's settings. In the pinned map fl_program.
//
// Threads: one at a time.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_PROGRAM_CONFIG_H_
#define FAIRLEAD_USERSPACE_DATAPATH_PROGRAM_CONFIG_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bpf/abi/types.h"
#include "userspace/datapath/pin_layout.h"

namespace fairlead::datapath {

// Makes the map if there is none.
[[nodiscard]] absl::Status MakeProgramConfigMap(const PinLayout& layout);
[[nodiscard]] absl::Status WriteProgramConfig(const PinLayout& layout,
                                              const fl_config& config);
[[nodiscard]] absl::StatusOr<fl_config> ReadProgramConfig(
    const PinLayout& layout);

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_PROGRAM_CONFIG_H_
