// SPDX-License-Identifier: Apache-2.0
// Keys and values of one version's maps as another version's: members are found
// by their names. A member that only one side has is left out, or zero; an
// integer may have another width. So what a member means must stay with its
// name.
//
// Each version says in a pinned map (fl_layout) how its maps are laid out: the
// kernel would tell their types (BTF) only to who has CAP_SYS_ADMIN.
//
// Values; any thread.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_RECORD_LAYOUT_H_
#define FAIRLEAD_USERSPACE_DATAPATH_RECORD_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/datapath/pin_layout.h"

struct btf;

namespace fairlead::datapath {

// Where each scalar of a key or a value is: "entry[3].key.sport" -> bytes.
struct RecordLayout {
  struct Place {
    uint32_t offset = 0;
    uint32_t size = 0;
  };
  std::map<std::string, Place> scalars;
  uint32_t size = 0;
};

struct MapLayout {
  RecordLayout key;
  RecordLayout value;
};

using MapLayouts = std::map<std::string, MapLayout>;  // by the map's name

// Of a type in an object's BTF (0: none, an empty layout).
[[nodiscard]] absl::StatusOr<RecordLayout> LayoutOfType(const btf* types,
                                                        uint32_t type);

// A line "NAME key|value SIZE" for each record, and after it a line
// "PATH OFFSET SIZE" for each of its scalars; "." is the path of a record that
// is a scalar itself.
std::string ToText(const MapLayouts& layouts);
// kInvalidArgument: not such a text, or scalars outside of their record.
[[nodiscard]] absl::StatusOr<MapLayouts> ParseLayouts(std::string_view text);

// The text in the pinned map of a version; written if it isn't there.
[[nodiscard]] absl::Status WriteLayouts(const PinLayout& layout,
                                        const MapLayouts& layouts);
[[nodiscard]] absl::StatusOr<MapLayouts> ReadLayouts(const PinLayout& layout);

// Copies what both layouts have.
class RecordConversion {
 public:
  RecordConversion() = default;
  RecordConversion(const RecordLayout& from, const RecordLayout& to);

  // `from` and `to` have their layouts' sizes; all of `to` is written.
  void Convert(const void* from, void* to) const;

 private:
  struct Move {
    uint32_t from, from_size, to, to_size;
  };
  std::vector<Move> moves_;
  uint32_t to_size_ = 0;
};

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_RECORD_LAYOUT_H_
