// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/pod_streams.h"

#include "userspace/base/strings.h"
#include "userspace/kubelet/json.h"
#include "userspace/kubelet/pod_status.h"

namespace fairlead::kubelet {
namespace {

const Json& StatusOf(const Json& status, const std::string& container) {
  static const Json kNone;
  for (const char* list : {"initContainerStatuses", "containerStatuses"}) {
    for (const Json& candidate : At(status, {list})) {
      if (StringAt(candidate, {"name"}) == container) return candidate;
    }
  }
  return kNone;
}

std::string WhyWaiting(const std::string& reason) {
  if (reason == "ErrImagePull") return "image can't be pulled";
  if (reason == "ImagePullBackOff") return "trying and failing to pull image";
  return reason;
}

}  // namespace

absl::StatusOr<ContainerRun> RunForLog(const std::string& pod,
                                       const std::string& container,
                                       bool previous, const PodView& view,
                                       const Json& status) {
  const Json& of = StatusOf(status, container);
  const std::string who = StrCat("container \"", container, "\" in pod \"",
                                 pod, "\"");
  std::string id = StringAt(of, {"lastState", "terminated", "containerID"});
  if (previous && id.empty()) {
    return absl::InvalidArgumentError(
        StrCat("previous terminated ", who, " not found"));
  }
  const bool waiting = At(of, {"state", "waiting"}).is_object();
  if (!previous && !waiting) id = StringAt(of, {"containerID"});
  const ContainerView& c = view.Of(container);
  for (const auto* run : {&c.run, &c.last}) {
    if (*run && ContainerId(**run) == id) return **run;
  }
  if (!waiting)
    return absl::InvalidArgumentError(StrCat(who, " is not available"));
  return absl::InvalidArgumentError(
      StrCat(who, " is waiting to start: ",
             WhyWaiting(StringAt(of, {"state", "waiting", "reason"}))));
}

}  // namespace fairlead::kubelet
