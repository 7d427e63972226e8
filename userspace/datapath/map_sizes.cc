// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/map_sizes.h"

#include <bit>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "bpf/abi/types.h"
#include "userspace/base/strings.h"

namespace fairlead::datapath {
namespace {

// A page: the smallest ring.
constexpr uint32_t kLeastBytes = 4096;

// The mostly used at the limit take about a gigabyte each.
constexpr MapSize kSizes[] = {
    {"services", "fl_service", &MapSizes::services, 1 << 23},
    {"slots", "fl_slot", &MapSizes::slots, 1 << 26},
    {"backends", "fl_backend", &MapSizes::backends, 1 << 24},
    {"flows", "fl_flow", &MapSizes::flows, 1 << 23, true},
    {"sockets", "fl_socket", &MapSizes::sockets, 1 << 22},
    {"affinities", "fl_affinity", &MapSizes::affinities, 1 << 22},
    {"source-ranges", "fl_source_range", &MapSizes::source_ranges, 1 << 22},
    {"node-addresses", "fl_node_addr", &MapSizes::node_addresses, 1 << 20},
    {"event-bytes", "fl_event", &MapSizes::event_bytes, 1 << 28, true},
};

template <typename Format>
std::vector<std::string> Changed(const MapSizes& sizes, Format format) {
  const MapSizes defaults;
  std::vector<std::string> parts;
  for (const MapSize& size : kSizes) {
    const uint32_t entries = sizes.*size.entries;
    if (entries == defaults.*size.entries) continue;
    parts.push_back(format(size.name, entries));
  }
  return parts;
}

std::string Names() {
  std::vector<std::string> names;
  for (const MapSize& size : kSizes) names.emplace_back(size.name);
  return absl::StrJoin(names, ", ");
}

absl::Status Invalid(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(StrCat("\"", text, "\": ", why));
}

}  // namespace

absl::Span<const MapSize> AllMapSizes() { return kSizes; }

absl::Status SetMapSize(std::string_view text, MapSizes* sizes) {
  const size_t equals = text.find('=');
  if (equals == text.npos) return Invalid(text, "want NAME=ENTRIES");
  const std::string_view name = text.substr(0, equals);
  for (const MapSize& size : kSizes) {
    if (size.name != name) continue;
    uint32_t entries = 0;
    const uint32_t least = size.map == "fl_event" ? kLeastBytes : 1;
    if (!absl::SimpleAtoi(Absl(text.substr(equals + 1)), &entries) ||
        entries < least || entries > size.most) {
      return Invalid(text, StrCat("want ", least, " to ", size.most));
    }
    if (size.power_of_two && !std::has_single_bit(entries)) {
      return Invalid(text, StrCat("want a power of two, such as ",
                                  std::bit_ceil(entries)));
    }
    sizes->*size.entries = entries;
    return absl::OkStatus();
  }
  return Invalid(text, StrCat("there are ", Names()));
}

std::string ToText(const MapSizes& sizes) {
  return absl::StrJoin(
      Changed(sizes, [](std::string_view name,
                        uint32_t entries) { return StrCat(name, "=", entries); }),
      ",");
}

std::string VersionName(const MapSizes& sizes) {
  std::string name = StrCat("v", FL_ABI_VERSION);
  for (const std::string& part :
       Changed(sizes, [](std::string_view name, uint32_t entries) {
         return StrCat("_", name, "-", entries);
       })) {
    name += part;
  }
  return name;
}

uint32_t VersionOf(std::string_view directory) {
  uint32_t version = 0;
  const std::string_view number = directory.substr(0, directory.find('_'));
  if (number.size() < 2 || number[0] != 'v' ||
      number.find_first_not_of("0123456789", 1) != number.npos ||
      !absl::SimpleAtoi(Absl(number.substr(1)), &version)) {
    return 0;
  }
  return version;
}

}  // namespace fairlead::datapath
