// SPDX-License-Identifier: Apache-2.0
// Loads the BPF objects over the pinned maps. Makes and pins maps that don't
// exist yet; attaches nothing.
//
// Threads: one at a time. Owns the loaded programs: what isn't attached when
// it dies is unloaded.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_LOADER_H_
#define FAIRLEAD_USERSPACE_DATAPATH_LOADER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bpf/abi/types.h"
#include "userspace/datapath/map_sizes.h"
#include "userspace/datapath/pin_layout.h"
#include "userspace/datapath/program_pins.h"

namespace fairlead::datapath {

class Programs {
 public:
  // Those of the last run, if it kept the very same ones. `sizes` are for maps
  // that aren't pinned yet: those keep theirs.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Programs>> Load(
      const PinLayout& layout, const fl_config& config, const MapSizes& sizes);
  Programs(const Programs&) = delete;
  Programs& operator=(const Programs&) = delete;

  // Borrowed descriptor of a program, such as "fl_connect4".
  [[nodiscard]] absl::StatusOr<int> Fd(std::string_view program) const;
  // Of all of them, in the order of the alphabet.
  std::vector<std::string> Names() const;
  // The next Load() finds these, in place of those that were kept so far.
  [[nodiscard]] absl::Status Keep(const PinLayout& layout) const;
  // Were they the last run's?
  bool kept() const { return kept_; }

 private:
  Programs() = default;
  ProgramFds fds_;
  std::string fingerprint_;
  bool kept_ = false;
};

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_LOADER_H_
