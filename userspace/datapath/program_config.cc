// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/program_config.h"

#include <bpf/bpf.h>
#include <unistd.h>

#include <cerrno>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"
#include "userspace/datapath/kernel_maps.h"
#include "userspace/datapath/typed_map.h"

namespace fairlead::datapath {
namespace {

constexpr char kMap[] = "fl_program";
using ConfigMap = TypedMap<uint32_t, fl_config>;

absl::StatusOr<ConfigMap> Open(const PinLayout& layout) {
  FL_ASSIGN_OR_RETURN(PinnedMap map, OpenPinnedMap(layout, kMap));
  if (map.value_size != sizeof(fl_config)) {
    return absl::FailedPreconditionError(
        StrCat("the pinned map ", kMap, " is another version's"));
  }
  return ConfigMap(kMap, std::move(map.fd));
}

}  // namespace

absl::Status MakeProgramConfigMap(const PinLayout& layout) {
  const std::string path = layout.MapPath(kMap);
  if (access(path.c_str(), F_OK) == 0) return absl::OkStatus();
  UniqueFd fd(bpf_map_create(BPF_MAP_TYPE_ARRAY, kMap, sizeof(uint32_t),
                             sizeof(fl_config), 1, nullptr));
  if (!fd.valid()) return ErrnoStatus(errno, "make map", kMap);
  if (bpf_obj_pin(fd.get(), path.c_str()) != 0) {
    return ErrnoStatus(errno, "pin map", path);
  }
  return absl::OkStatus();
}

absl::Status WriteProgramConfig(const PinLayout& layout,
                                const fl_config& config) {
  FL_ASSIGN_OR_RETURN(ConfigMap map, Open(layout));
  return map.Update(0, config);
}

absl::StatusOr<fl_config> ReadProgramConfig(const PinLayout& layout) {
  FL_ASSIGN_OR_RETURN(ConfigMap map, Open(layout));
  FL_ASSIGN_OR_RETURN(std::optional<fl_config> config, map.Lookup(0));
  return config.value_or(fl_config());
}

}  // namespace fairlead::datapath
