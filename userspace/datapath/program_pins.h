// SPDX-License-Identifier: Apache-2.0
// The programs of the last run, pinned: a start with nothing changed takes them
// as they are, and the verifier, which is most of a start, has nothing to do.
//
// A set of programs is known by its fingerprint: of the objects' bytes, of what
// is in their constants, and of the maps that they were loaded over. One set is
// kept, in <version>/programs_<fingerprint>.
//
// Threads: one at a time.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_PROGRAM_PINS_H_
#define FAIRLEAD_USERSPACE_DATAPATH_PROGRAM_PINS_H_

#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "userspace/base/unique_fd.h"
#include "userspace/datapath/pin_layout.h"

namespace fairlead::datapath {

// By name, such as "fl_connect4".
using ProgramFds = std::map<std::string, UniqueFd, std::less<>>;

// 32 hexadecimal digits. `parts`: all bytes that make the programs what they
// are, but for the maps, which are those pinned in `layout` now.
[[nodiscard]] absl::StatusOr<std::string> ProgramFingerprint(
    const PinLayout& layout, absl::Span<const std::string_view> parts);

// Empty: no set of this fingerprint is pinned.
[[nodiscard]] absl::StatusOr<ProgramFds> OpenPinnedPrograms(
    const PinLayout& layout, const std::string& fingerprint);

// Keeps `programs` in place of the set that was kept so far. A crash on the way
// leaves the old set, this one or none, never a part of one.
[[nodiscard]] absl::Status PinPrograms(const PinLayout& layout,
                                       const std::string& fingerprint,
                                       const ProgramFds& programs);

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_PROGRAM_PINS_H_
