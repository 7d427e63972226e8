// SPDX-License-Identifier: Apache-2.0
#include "userspace/datapath/loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "bpf/socket.skel.h"
#include "bpf/tc.skel.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/base/unique_fd.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/program_config.h"
#include "userspace/datapath/record_layout.h"

namespace fairlead::datapath {
namespace {

// libbpf explains itself through one callback for the whole process: what it
// says while a Diagnosis lives on this thread becomes part of the Status.
class Diagnosis {
 public:
  Diagnosis() {
    previous_ = std::exchange(current_, this);
    libbpf_set_print(&Diagnosis::Print);
  }
  ~Diagnosis() { current_ = previous_; }
  // The last lines, where the verifier says what it refused.
  std::string Tail() const {
    constexpr size_t kLimit = 2000;
    return text_.size() <= kLimit ? text_
                                  : text_.substr(text_.size() - kLimit);
  }

 private:
  static int Print(libbpf_print_level level, const char* format, va_list args) {
    if (current_ == nullptr || level == LIBBPF_DEBUG) return 0;
    char* line = nullptr;
    int length = vasprintf(&line, format, args);
    if (length >= 0) {
      current_->text_.append(line, static_cast<size_t>(length));
      free(line);
    }
    return length;
  }

  static thread_local Diagnosis* current_;
  Diagnosis* previous_;
  std::string text_;
};
thread_local Diagnosis* Diagnosis::current_ = nullptr;

bool IsInternal(const bpf_map* map) {
  // .rodata and its like belong to one load of one object.
  return std::string_view(bpf_map__name(map)).find('.') !=
         std::string_view::npos;
}

bool Resize(bpf_map* map, const MapSizes& sizes) {
  for (const MapSize& size : AllMapSizes()) {
    if (size.map != bpf_map__name(map)) continue;
    const uint32_t entries = sizes.*size.entries;
    bpf_map__set_max_entries(
        map, size.map == "fl_flow" ? FlowBuckets(entries) : entries);
    return true;
  }
  return false;
}

// Hands the pinned map to the object if there is one that fits.
absl::Status Reuse(const PinLayout& layout, bpf_map* map, bool resizable) {
  std::string path = layout.MapPath(bpf_map__name(map));
  UniqueFd fd(bpf_obj_get(path.c_str()));
  if (!fd.valid()) {
    return errno == ENOENT ? absl::OkStatus()
                           : ErrnoStatus(errno, "open pinned map", path);
  }
  bpf_map_info info = {};
  uint32_t size = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0) {
    return ErrnoStatus(errno, "inspect map", path);
  }
  bool same_layout = info.type == bpf_map__type(map) &&
                     info.key_size == bpf_map__key_size(map) &&
                     info.value_size == bpf_map__value_size(map) &&
                     info.map_flags == bpf_map__map_flags(map);
  bool same_size =
      resizable || info.max_entries == bpf_map__max_entries(map);
  if (same_layout && same_size) {
    int result = bpf_map__reuse_fd(map, fd.get());
    return ErrnoStatus(-result, "reuse map", path);
  }
  // Counters are appended without a new version of the layout; the counts
  // start anew then.
  if (same_layout && std::string_view(bpf_map__name(map)) == "fl_counter") {
    return RemovePin(path);
  }
  return absl::FailedPreconditionError(
      StrCat("the pinned map ", path,
             " has another layout than this program's: remove it with "
             "`fairlead-agent --cleanup` (established connections through "
             "Services end)"));
}

absl::Status PrepareMaps(const PinLayout& layout, const MapSizes& sizes,
                         bpf_object* object) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    if (IsInternal(map)) continue;
    FL_RETURN_IF_ERROR(Reuse(layout, map, Resize(map, sizes)));
  }
  return absl::OkStatus();
}

// Loads, and pins the maps that aren't yet.
absl::Status LoadObject(const PinLayout& layout, bpf_object* object) {
  bpf_map* map = nullptr;
  Diagnosis diagnosis;
  if (int result = bpf_object__load(object); result != 0) {
    return WithContext(
        ErrnoStatus(-result, "load BPF object", bpf_object__name(object)),
        diagnosis.Tail());
  }
  bpf_object__for_each_map(map, object) {
    if (IsInternal(map)) continue;
    std::string path = layout.MapPath(bpf_map__name(map));
    // EEXIST: it is the one that was reused.
    if (bpf_obj_pin(bpf_map__fd(map), path.c_str()) != 0 && errno != EEXIST) {
      return ErrnoStatus(errno, "pin map", path);
    }
  }
  return absl::OkStatus();
}

// How the object's maps are laid out, for another version of the agent.
absl::Status AddLayouts(const bpf_object* object, MapLayouts* layouts) {
  const btf* types = bpf_object__btf(object);
  const bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    if (IsInternal(map)) continue;
    MapLayout& layout = (*layouts)[bpf_map__name(map)];
    FL_ASSIGN_OR_RETURN(layout.key,
                        LayoutOfType(types, bpf_map__btf_key_type_id(map)));
    FL_ASSIGN_OR_RETURN(layout.value,
                        LayoutOfType(types, bpf_map__btf_value_type_id(map)));
  }
  return absl::OkStatus();
}

struct SocketDeleter {
  void operator()(struct socket* skeleton) { socket__destroy(skeleton); }
};
struct TcDeleter {
  void operator()(struct tc* skeleton) { tc__destroy(skeleton); }
};

absl::StatusOr<std::string> Fingerprint(const PinLayout& layout,
                                        const fl_config& config) {
  static_assert(std::has_unique_object_representations_v<fl_config>);
  size_t socket_size = 0, tc_size = 0;
  const void* socket_bytes = socket__elf_bytes(&socket_size);
  const void* tc_bytes = tc__elf_bytes(&tc_size);
  return ProgramFingerprint(
      layout, {{static_cast<const char*>(socket_bytes), socket_size},
               {static_cast<const char*>(tc_bytes), tc_size},
               {reinterpret_cast<const char*>(&config), sizeof config}});
}

// Descriptors of their own: the object may go.
absl::Status TakePrograms(bpf_object* object, ProgramFds* programs) {
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object) {
    const char* name = bpf_program__name(program);
    UniqueFd fd(fcntl(bpf_program__fd(program), F_DUPFD_CLOEXEC, 0));
    if (!fd.valid()) return ErrnoStatus(errno, "duplicate program", name);
    programs->emplace(name, std::move(fd));
  }
  return absl::OkStatus();
}

absl::StatusOr<ProgramFds> LoadPrograms(const PinLayout& layout,
                                        const fl_config& config,
                                        const MapSizes& sizes) {
  Diagnosis diagnosis;
  std::unique_ptr<struct socket, SocketDeleter> socket(socket__open());
  if (socket == nullptr) return ErrnoStatus(errno, "open BPF object", "socket");
  std::unique_ptr<struct tc, TcDeleter> tc(tc__open());
  if (tc == nullptr) return ErrnoStatus(errno, "open BPF object", "tc");
  // Before they are loaded: a map that is there keeps the types of who made it.
  MapLayouts layouts;
  FL_RETURN_IF_ERROR(AddLayouts(socket->obj, &layouts));
  FL_RETURN_IF_ERROR(AddLayouts(tc->obj, &layouts));
  socket->rodata->fl_config = config;
  tc->rodata->fl_config = config;
  FL_RETURN_IF_ERROR(PrepareMaps(layout, sizes, socket->obj));
  FL_RETURN_IF_ERROR(LoadObject(layout, socket->obj));
  FL_RETURN_IF_ERROR(PrepareMaps(layout, sizes, tc->obj));
  // A table that was there keeps its size.
  FL_ASSIGN_OR_RETURN(
      tc->rodata->fl_config.flows,
      PinnedFlowHashing(layout, bpf_map__max_entries(tc->maps.fl_flow)));
  FL_RETURN_IF_ERROR(LoadObject(layout, tc->obj));
  FL_RETURN_IF_ERROR(WriteLayouts(layout, layouts));
  FL_RETURN_IF_ERROR(MakeProgramConfigMap(layout));
  ProgramFds programs;
  FL_RETURN_IF_ERROR(TakePrograms(socket->obj, &programs));
  FL_RETURN_IF_ERROR(TakePrograms(tc->obj, &programs));
  return programs;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Programs>> Programs::Load(
    const PinLayout& layout, const fl_config& config, const MapSizes& sizes) {
  std::unique_ptr<Programs> programs(new Programs());
  FL_ASSIGN_OR_RETURN(programs->fingerprint_, Fingerprint(layout, config));
  FL_ASSIGN_OR_RETURN(programs->fds_,
                      OpenPinnedPrograms(layout, programs->fingerprint_));
  programs->kept_ = !programs->fds_.empty();
  if (programs->kept_) return programs;
  FL_ASSIGN_OR_RETURN(programs->fds_, LoadPrograms(layout, config, sizes));
  // Loading has made the maps that were missing.
  FL_ASSIGN_OR_RETURN(programs->fingerprint_, Fingerprint(layout, config));
  return programs;
}

absl::StatusOr<int> Programs::Fd(std::string_view program) const {
  auto found = fds_.find(program);
  if (found != fds_.end()) return found->second.get();
  return absl::NotFoundError(StrCat("no BPF program ", program));
}

std::vector<std::string> Programs::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, fd] : fds_) names.push_back(name);
  return names;
}

absl::Status Programs::Keep(const PinLayout& layout) const {
  return PinPrograms(layout, fingerprint_, fds_);
}

}  // namespace fairlead::datapath
