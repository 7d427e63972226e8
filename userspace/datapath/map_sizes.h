// SPDX-License-Identifier: Apache-2.0
// How many entries the maps have room for. Maps of other sizes are other maps:
// they live in a directory of their own, and what is in the ones before is
// copied into them as between two versions (docs/design/upgrade.md). Values; any
// thread.
#ifndef FAIRLEAD_USERSPACE_DATAPATH_MAP_SIZES_H_
#define FAIRLEAD_USERSPACE_DATAPATH_MAP_SIZES_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace fairlead::datapath {

// Entries, but for the last.
struct MapSizes {
  uint32_t services = 262144;
  uint32_t slots = 1 << 20;
  uint32_t backends = 1 << 18;
  uint32_t flows = 1 << 18;
  uint32_t sockets = 1 << 16;
  uint32_t affinities = 1 << 16;
  uint32_t source_ranges = 1 << 16;
  uint32_t node_addresses = 1024;
  uint32_t event_bytes = 1 << 20;  // a power of two, at least a page
};

// One of them, by its name for people ("source-ranges") and its map.
struct MapSize {
  std::string_view name;
  std::string_view map;
  uint32_t MapSizes::*entries;
  uint32_t most;
  bool power_of_two = false;
};
absl::Span<const MapSize> AllMapSizes();

// Takes "NAME=ENTRIES" over. kInvalidArgument: says what is wrong, and what
// there is.
[[nodiscard]] absl::Status SetMapSize(std::string_view text, MapSizes* sizes);

// Those that aren't the default: "flows=524288,slots=2097152"; or "".
std::string ToText(const MapSizes& sizes);

// The directory of maps of these sizes, of our version: "v6", or
// "v6_flows-524288_slots-2097152".
std::string VersionName(const MapSizes& sizes);
// The version that such a directory is of; 0 if it isn't one.
uint32_t VersionOf(std::string_view directory);

}  // namespace fairlead::datapath

#endif  // FAIRLEAD_USERSPACE_DATAPATH_MAP_SIZES_H_
