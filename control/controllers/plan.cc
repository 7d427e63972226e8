// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/plan.h"

#include <utility>

#include "control/controllers/object.h"
#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

Write WriteOf(Verb verb, const kube::Resource& resource, Json object,
              int stage) {
  Write write;
  write.verb = verb;
  write.resource = &resource;
  write.ns = Namespace(object);
  write.name = Name(object);
  write.body = std::move(object);
  write.stage = stage;
  // Items of a list don't carry these.
  write.body["apiVersion"] = resource.ApiVersion();
  write.body["kind"] = resource.kind;
  return write;
}

std::string_view VerbName(Verb verb) {
  switch (verb) {
    case Verb::kCreate:
      return "create";
    case Verb::kUpdate:
      return "update";
    case Verb::kUpdateStatus:
      return "update-status";
    case Verb::kMergePatch:
      return "patch";
    case Verb::kMergePatchStatus:
      return "patch-status";
    case Verb::kDelete:
      return "delete";
    case Verb::kFinalize:
      return "finalize";
  }
  return "?";
}

}  // namespace

Write CreateOf(const kube::Resource& resource, Json object, int stage) {
  return WriteOf(Verb::kCreate, resource, std::move(object), stage);
}

Write UpdateOf(const kube::Resource& resource, Json object, int stage) {
  return WriteOf(Verb::kUpdate, resource, std::move(object), stage);
}

Write StatusOf(const kube::Resource& resource, Json object, int stage) {
  return WriteOf(Verb::kUpdateStatus, resource, std::move(object), stage);
}

Write PatchOf(const kube::Resource& resource, const Json& object, Json patch,
              int stage) {
  Write write;
  write.verb = Verb::kMergePatch;
  write.resource = &resource;
  write.ns = Namespace(object);
  write.name = Name(object);
  write.body = std::move(patch);
  write.body["metadata"]["resourceVersion"] =
      Get(object, {"metadata", "resourceVersion"});
  write.stage = stage;
  return write;
}

Write DeleteOf(const kube::Resource& resource, const Json& object, int stage) {
  Write write;
  write.verb = Verb::kDelete;
  write.resource = &resource;
  write.ns = Namespace(object);
  write.name = Name(object);
  write.uid = Uid(object);
  write.stage = stage;
  return write;
}

Write ForceDeleteOf(const kube::Resource& resource, const Json& object,
                    int stage) {
  Write write = DeleteOf(resource, object, stage);
  write.grace_period_seconds = 0;
  return write;
}

Announcement Announce(const kube::Resource& resource, const Json& object,
                      kube::EventType type, std::string_view reason,
                      std::string_view message) {
  return {kube::ReferenceTo(resource, object), type, std::string(reason),
          std::string(message)};
}

std::string Describe(const Write& write) {
  std::string name = write.name;
  if (name.empty()) {
    name = Text(write.body, {"metadata", "generateName"});
  }
  return StrCat(VerbName(write.verb), " ", write.resource->plural, " ",
                write.ns, write.ns.empty() ? "" : "/", name);
}

}  // namespace fairlead::controllers
