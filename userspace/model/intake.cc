// SPDX-License-Identifier: Apache-2.0
#include "userspace/model/intake.h"

#include <utility>

#include "userspace/base/strings.h"
#include "userspace/kube/objects.h"

namespace fairlead::model {

std::string KeyOf(const kube::EncodedObject& object) {
  auto meta = kube::DecodeMeta(object);
  return meta.ok() ? StrCat(meta->ns, "/", meta->name) : "";
}

Intake PutService(const kube::EncodedObject& object, Cluster* cluster) {
  auto service = kube::DecodeService(object);
  if (service.ok()) {
    cluster->PutService(*std::move(service));
    return {};
  }
  const std::string key = KeyOf(object);
  if (key.empty()) return {.nameless = true};
  cluster->RejectService(key, Std(service.status().message()));
  return {};
}

Intake PutEndpointSlice(const kube::EncodedObject& object, Cluster* cluster) {
  auto slice = kube::DecodeEndpointSlice(object);
  if (slice.ok()) {
    cluster->PutEndpointSlice(*slice);
    return {.last_change = slice->last_change};
  }
  const std::string key = KeyOf(object);
  if (key.empty()) return {.nameless = true};
  std::string service = kube::EndpointSliceServiceName(object);
  if (!service.empty()) {
    service = StrCat(key.substr(0, key.find('/') + 1), service);
  }
  cluster->RejectEndpointSlice(key, service, Std(slice.status().message()));
  return {};
}

Intake DeleteService(const kube::EncodedObject& object, Cluster* cluster) {
  const std::string key = KeyOf(object);
  if (key.empty()) return {.nameless = true};
  cluster->DeleteService(key);
  return {};
}

Intake DeleteEndpointSlice(const kube::EncodedObject& object,
                           Cluster* cluster) {
  const std::string key = KeyOf(object);
  if (key.empty()) return {.nameless = true};
  cluster->DeleteEndpointSlice(key);
  return {};
}

}  // namespace fairlead::model
