// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/volumes/volume.h"

#include "userspace/kubelet/json.h"

namespace fairlead::kubelet {
namespace {

constexpr int64_t kTokenSeconds = 3600;  // the API's default

std::vector<ProjectedFile> DecodeFiles(const Json& items) {
  std::vector<ProjectedFile> files;
  for (const Json& item : items) {
    ProjectedFile file{.path = StringAt(item, {"path"}),
                       .mode = std::nullopt,
                       .key = StringAt(item, {"key"}),
                       .field = StringAt(item, {"fieldRef", "fieldPath"}),
                       .resource = std::nullopt};
    if (At(item, {"mode"}).is_number())
      file.mode = static_cast<mode_t>(IntAt(item, {"mode"}));
    if (const Json& ref = At(item, {"resourceFieldRef"}); ref.is_object())
      file.resource = DecodeResourceRef(ref);
    files.push_back(std::move(file));
  }
  return files;
}

// `name_key`: what the kind's own field for the object's name is called.
Projection DecodeObject(Projection::Kind kind, const Json& json,
                        const char* name_key) {
  return {.kind = kind,
          .object = StringAt(json, {name_key}),
          .optional = BoolAt(json, {"optional"}),
          .files = DecodeFiles(At(json, {"items"})),
          .audience = "",
          .lifetime = absl::ZeroDuration()};
}

std::optional<Projection> DecodeSource(const Json& source) {
  using Kind = Projection::Kind;
  if (const Json& map = At(source, {"configMap"}); map.is_object())
    return DecodeObject(Kind::kConfigMap, map, "name");
  if (const Json& secret = At(source, {"secret"}); secret.is_object())
    return DecodeObject(Kind::kSecret, secret, "name");
  if (const Json& api = At(source, {"downwardAPI"}); api.is_object())
    return DecodeObject(Kind::kDownwardApi, api, "name");
  const Json& token = At(source, {"serviceAccountToken"});
  if (!token.is_object()) return std::nullopt;
  Projection projection{.kind = Kind::kToken,
                        .object = "",
                        .optional = false,
                        .files = {},
                        .audience = StringAt(token, {"audience"}),
                        .lifetime = absl::Seconds(IntAt(
                            token, {"expirationSeconds"}, kTokenSeconds))};
  projection.files.emplace_back().path = StringAt(token, {"path"});
  return projection;
}

void DecodeProjected(const Json& json, Volume* volume) {
  volume->kind = Volume::Kind::kProjected;
  volume->mode = static_cast<mode_t>(IntAt(json, {"defaultMode"}, 0644));
  for (const Json& source : At(json, {"sources"})) {
    if (auto projection = DecodeSource(source)) {
      volume->projections.push_back(*std::move(projection));
    } else {
      volume->kind = Volume::Kind::kUnsupported;
      volume->unsupported = "projected with " + source.dump();
    }
  }
}

}  // namespace

Volume DecodeVolume(const Json& json) {
  using Kind = Projection::Kind;
  Volume volume;
  volume.name = StringAt(json, {"name"});
  if (const Json& dir = At(json, {"emptyDir"}); dir.is_object()) {
    volume.kind = Volume::Kind::kEmptyDir;
    volume.in_memory = StringAt(dir, {"medium"}) == "Memory";
    const auto limit = kube::Quantity::FromJson(At(dir, {"sizeLimit"}));
    if (limit.ok() && limit->sign() > 0) volume.size_limit = limit->value();
    return volume;
  }
  if (const Json& host = At(json, {"hostPath"}); host.is_object()) {
    volume.kind = Volume::Kind::kHostPath;
    volume.path = StringAt(host, {"path"});
    volume.type = StringAt(host, {"type"});
    return volume;
  }
  if (const Json& projected = At(json, {"projected"});
      projected.is_object()) {
    DecodeProjected(projected, &volume);
    return volume;
  }
  for (const auto& [field, kind, name] :
       {std::tuple{"configMap", Kind::kConfigMap, "name"},
        std::tuple{"secret", Kind::kSecret, "secretName"},
        std::tuple{"downwardAPI", Kind::kDownwardApi, "name"}}) {
    const Json& source = At(json, {field});
    if (!source.is_object()) continue;
    volume.kind = Volume::Kind::kProjected;
    volume.mode = static_cast<mode_t>(IntAt(source, {"defaultMode"}, 0644));
    volume.projections = {DecodeObject(kind, source, name)};
    return volume;
  }
  for (const auto& [key, value] : json.items()) {
    if (key != "name" && value.is_object()) volume.unsupported = key;
  }
  return volume;
}

VolumeMount DecodeVolumeMount(const Json& mount) {
  return {.volume = StringAt(mount, {"name"}),
          .path = StringAt(mount, {"mountPath"}),
          .sub_path = StringAt(mount, {"subPath"}),
          .sub_path_expr = StringAt(mount, {"subPathExpr"}),
          .read_only = BoolAt(mount, {"readOnly"})};
}

}  // namespace fairlead::kubelet
