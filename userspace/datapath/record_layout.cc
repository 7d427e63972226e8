// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/record_layout.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::datapath {
namespace {

// Structs of ours are three deep; a map that isn't ours must not cost more.
constexpr int kMaxDepth = 16;
constexpr size_t kMaxScalars = 1 << 14;

constexpr char kLayoutMap[] = "fl_layout";
constexpr char kWhole[] = ".";  // the path of a record that is a scalar
// No map's key or value is larger.
constexpr uint32_t kMaxRecord = 1 << 20;

bool IsScalar(int64_t size) {
  return size == 1 || size == 2 || size == 4 || size == 8;
}

absl::Status AddScalars(const btf* types, uint32_t type,
                        const std::string& path, uint32_t offset, int depth,
                        RecordLayout* layout);

absl::Status AddMembers(const btf* types, const btf_type* found,
                        const std::string& path, uint32_t offset, int depth,
                        RecordLayout* layout) {
  for (uint32_t i = 0; i < btf_vlen(found); ++i) {
    const btf_member& member = btf_members(found)[i];
    const uint32_t bit = btf_member_bit_offset(found, i);
    if (bit % 8 != 0 || btf_member_bitfield_size(found, i) != 0) {
      return absl::UnimplementedError("a bit field");
    }
    const std::string name = btf__name_by_offset(types, member.name_off);
    FL_RETURN_IF_ERROR(AddScalars(
        types, member.type,
        path == kWhole ? name : StrCat(path, ".", name),
        offset + bit / 8, depth + 1, layout));
  }
  return absl::OkStatus();
}

absl::Status AddScalars(const btf* types, uint32_t type,
                        const std::string& path, uint32_t offset, int depth,
                        RecordLayout* layout) {
  if (depth > kMaxDepth || layout->scalars.size() > kMaxScalars) {
    return absl::OutOfRangeError("a type of more members than any of ours");
  }
  const int resolved = btf__resolve_type(types, type);
  const btf_type* found =
      resolved < 0 ? nullptr : btf__type_by_id(types, resolved);
  if (found == nullptr) return absl::InvalidArgumentError("a type is missing");
  if (btf_is_composite(found)) {
    return AddMembers(types, found, path, offset, depth, layout);
  }
  if (btf_is_array(found)) {
    const struct btf_array* array = btf_array(found);
    const int64_t size = btf__resolve_size(types, array->type);
    if (size < 0) return absl::InvalidArgumentError("a type without a size");
    for (uint32_t i = 0; i < array->nelems; ++i) {
      FL_RETURN_IF_ERROR(AddScalars(
          types, array->type, StrCat(path, "[", i, "]"),
          offset + i * static_cast<uint32_t>(size), depth + 1, layout));
    }
    return absl::OkStatus();
  }
  const int64_t size = btf__resolve_size(types, resolved);
  if (!IsScalar(size)) {
    return absl::UnimplementedError("a scalar of another size");
  }
  layout->scalars[path] = {offset, static_cast<uint32_t>(size)};
  return absl::OkStatus();
}

// An integer of 1, 2, 4 or 8 bytes in this machine's order.
template <typename T>
uint64_t LoadAs(const void* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
uint64_t Load(const void* at, uint32_t size) {
  switch (size) {
    case 1: return LoadAs<uint8_t>(at);
    case 2: return LoadAs<uint16_t>(at);
    case 4: return LoadAs<uint32_t>(at);
    default: return LoadAs<uint64_t>(at);
  }
}
template <typename T>
void StoreAs(uint64_t value, void* at) {
  const T narrow = static_cast<T>(value);
  std::memcpy(at, &narrow, sizeof narrow);
}
void Store(uint64_t value, uint32_t size, void* at) {
  switch (size) {
    case 1: return StoreAs<uint8_t>(value, at);
    case 2: return StoreAs<uint16_t>(value, at);
    case 4: return StoreAs<uint32_t>(value, at);
    default: return StoreAs<uint64_t>(value, at);
  }
}

}  // namespace

absl::StatusOr<RecordLayout> LayoutOfType(const btf* types, uint32_t type) {
  RecordLayout layout;
  if (type == 0) return layout;
  const int64_t size = btf__resolve_size(types, type);
  if (size < 0) return absl::InvalidArgumentError("a type without a size");
  layout.size = static_cast<uint32_t>(size);
  FL_RETURN_IF_ERROR(AddScalars(types, type, kWhole, 0, 0, &layout));
  return layout;
}

std::string ToText(const MapLayouts& layouts) {
  std::string text;
  for (const auto& [name, map] : layouts) {
    for (const RecordLayout* record : {&map.key, &map.value}) {
      StrAppend(&text, name, record == &map.key ? " key " : " value ",
                record->size, "\n");
      for (const auto& [path, place] : record->scalars) {
        StrAppend(&text, path, " ", place.offset, " ", place.size, "\n");
      }
    }
  }
  return text;
}

absl::StatusOr<MapLayouts> ParseLayouts(std::string_view text) {
  MapLayouts layouts;
  RecordLayout* record = nullptr;
  for (absl::string_view line :
       absl::StrSplit(Absl(text), '\n', absl::SkipEmpty())) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    uint32_t last = 0, offset = 0;
    const bool numbered =
        words.size() == 3 && absl::SimpleAtoi(words[2], &last);
    if (numbered && (words[1] == "key" || words[1] == "value")) {
      MapLayout& map = layouts[words[0]];
      record = words[1] == "key" ? &map.key : &map.value;
      *record = {.scalars = {}, .size = last};
      if (last <= kMaxRecord) continue;
    } else if (numbered && record != nullptr &&
               absl::SimpleAtoi(words[1], &offset) && IsScalar(last) &&
               offset <= record->size && last <= record->size - offset) {
      record->scalars[words[0]] = {offset, last};
      continue;
    }
    return absl::InvalidArgumentError(
        StrCat("not a line of a layout: \"", line, "\""));
  }
  return layouts;
}

absl::Status WriteLayouts(const PinLayout& layout, const MapLayouts& layouts) {
  const std::string path = layout.MapPath(kLayoutMap);
  if (access(path.c_str(), F_OK) == 0) return absl::OkStatus();
  const std::string text = ToText(layouts);
  LIBBPF_OPTS(bpf_map_create_opts, options);
  UniqueFd fd(bpf_map_create(BPF_MAP_TYPE_ARRAY, kLayoutMap, sizeof(uint32_t),
                             static_cast<uint32_t>(text.size()), 1, &options));
  if (!fd.valid()) return ErrnoStatus(errno, "make map", kLayoutMap);
  const uint32_t zero = 0;
  if (bpf_map_update_elem(fd.get(), &zero, text.data(), BPF_ANY) != 0) {
    return ErrnoStatus(errno, "write", kLayoutMap);
  }
  if (bpf_obj_pin(fd.get(), path.c_str()) != 0) {
    return ErrnoStatus(errno, "pin map", path);
  }
  return absl::OkStatus();
}

absl::StatusOr<MapLayouts> ReadLayouts(const PinLayout& layout) {
  const std::string path = layout.MapPath(kLayoutMap);
  UniqueFd fd(bpf_obj_get(path.c_str()));
  if (!fd.valid()) return ErrnoStatus(errno, "open pinned map", path);
  bpf_map_info info = {};
  uint32_t size = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0) {
    return ErrnoStatus(errno, "inspect map", path);
  }
  std::string text(info.value_size, '\0');
  const uint32_t zero = 0;
  if (bpf_map_lookup_elem(fd.get(), &zero, text.data()) != 0) {
    return ErrnoStatus(errno, "read", path);
  }
  auto layouts = ParseLayouts(text);
  return layouts.ok() ? std::move(layouts)
                      : WithContext(layouts.status(), path);
}

RecordConversion::RecordConversion(const RecordLayout& from,
                                   const RecordLayout& to)
    : to_size_(to.size) {
  for (const auto& [path, place] : to.scalars) {
    auto it = from.scalars.find(path);
    if (it == from.scalars.end()) continue;
    moves_.push_back({it->second.offset, it->second.size, place.offset,
                      place.size});
  }
  std::sort(moves_.begin(), moves_.end(),
            [](const Move& a, const Move& b) { return a.to < b.to; });
  // Neighbours on both sides go as one: equal layouts are one copy.
  std::vector<Move> joined;
  for (const Move& move : moves_) {
    Move* last = joined.empty() ? nullptr : &joined.back();
    if (last != nullptr && last->from_size == last->to_size &&
        move.from_size == move.to_size &&
        last->from + last->from_size == move.from &&
        last->to + last->to_size == move.to) {
      last->from_size += move.from_size;
      last->to_size += move.to_size;
    } else {
      joined.push_back(move);
    }
  }
  moves_ = std::move(joined);
}

void RecordConversion::Convert(const void* from, void* to) const {
  std::memset(to, 0, to_size_);
  for (const Move& move : moves_) {
    const void* source = static_cast<const char*>(from) + move.from;
    void* target = static_cast<char*>(to) + move.to;
    if (move.from_size == move.to_size) {
      std::memcpy(target, source, move.to_size);
    } else {
      Store(Load(source, move.from_size), move.to_size, target);
    }
  }
}

}  // namespace fairlead::datapath
