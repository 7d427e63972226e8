// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/volumes/projection.h"

#include <filesystem>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::kubelet {
namespace {

absl::Status Put(const std::string& path, FileContent content,
                 Payload* payload) {
  if (!IsUsablePath(path))
    return absl::InvalidArgumentError(StrCat("invalid path: ", path));
  (*payload)[path] = std::move(content);
  return absl::OkStatus();
}

const std::string* Value(const ObjectData& object, const std::string& key) {
  for (const auto* values : {&object.text, &object.binary}) {
    const auto it = values->find(key);
    if (it != values->end()) return &it->second;
  }
  return nullptr;
}

}  // namespace

bool IsUsablePath(std::string_view path) {
  if (path.empty() || path.starts_with('/') || path.starts_with(".."))
    return false;
  for (const auto& part : std::filesystem::path(path)) {
    if (part == "..") return false;
  }
  return true;
}

absl::Status ProjectObject(const Projection& projection,
                           const ObjectData& object, mode_t mode,
                           Payload* payload) {
  if (projection.files.empty()) {
    for (const auto* values : {&object.text, &object.binary}) {
      for (const auto& [key, value] : *values)
        FL_RETURN_IF_ERROR(Put(key, {value, mode, {}}, payload));
    }
    return absl::OkStatus();
  }
  for (const ProjectedFile& file : projection.files) {
    const std::string* value = Value(object, file.key);
    if (value == nullptr && projection.optional) continue;
    if (value == nullptr) {
      return absl::NotFoundError(
          StrCat(projection.kind == Projection::Kind::kSecret
                     ? "references non-existent secret key: "
                     : "configmap references non-existent config key: ",
                 file.key));
    }
    FL_RETURN_IF_ERROR(
        Put(file.path, {*value, file.mode.value_or(mode), {}}, payload));
  }
  return absl::OkStatus();
}

absl::Status ProjectFields(const Projection& projection,
                           const EnvContext& context, mode_t mode,
                           Payload* payload) {
  for (const ProjectedFile& file : projection.files) {
    absl::StatusOr<std::string> value =
        file.resource ? ResourceValue(context, *file.resource, "")
                      : FieldValue(context, file.field);
    if (!value.ok()) return value.status();
    FL_RETURN_IF_ERROR(Put(
        file.path, {*std::move(value), file.mode.value_or(mode), {}}, payload));
  }
  return absl::OkStatus();
}

}  // namespace fairlead::kubelet
