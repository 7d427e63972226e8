// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/resources.h"

#include <algorithm>

#include "userspace/base/strings.h"
#include "userspace/kubelet/json.h"

namespace fairlead::kubelet {
namespace {

ResourceAmounts DecodeAmounts(const Json& json) {
  ResourceAmounts amounts;
  if (!json.is_object()) return amounts;
  for (const auto& [name, value] : json.items()) {
    const auto amount = kube::Quantity::FromJson(value);
    if (amount.ok()) amounts[name] = *amount;
  }
  return amounts;
}

int64_t DivideUp(int64_t amount, int64_t divisor) {
  return amount / divisor + (amount % divisor > 0 ? 1 : 0);
}

}  // namespace

Resources DecodeResources(const Json& resources) {
  return {.requests = DecodeAmounts(At(resources, {"requests"})),
          .limits = DecodeAmounts(At(resources, {"limits"}))};
}

ResourceRef DecodeResourceRef(const Json& ref) {
  ResourceRef out{.container = StringAt(ref, {"containerName"}),
                  .resource = StringAt(ref, {"resource"}),
                  .divisor = kube::Quantity()};
  const auto divisor = kube::Quantity::FromJson(At(ref, {"divisor"}));
  if (divisor.ok()) out.divisor = *divisor;
  return out;
}

absl::StatusOr<std::string> ResourceFieldValue(
    const ResourceRef& ref, const Resources& of,
    const ResourceAmounts& allocatable) {
  const size_t dot = ref.resource.find('.');
  const std::string list = ref.resource.substr(0, dot);
  const std::string name =
      dot == std::string::npos ? "" : ref.resource.substr(dot + 1);
  const bool limits = list == "limits";
  const bool known = name == "cpu" || name == "memory" ||
                     name == "ephemeral-storage" ||
                     name.starts_with("hugepages-");
  if (!known || (!limits && list != "requests")) {
    return absl::InvalidArgumentError(
        StrCat("Unsupported container resource : ", ref.resource));
  }
  kube::Quantity amount;
  for (const ResourceAmounts* from :
       {&allocatable, limits ? &of.limits : &of.requests}) {
    if (!limits && from == &allocatable) continue;
    if (const auto it = from->find(name); it != from->end())
      amount = it->second;
  }
  const bool cpu = name == "cpu";
  const int64_t divisor =
      ref.divisor.sign() <= 0
          ? (cpu ? 1000 : 1)
          : std::max<int64_t>(
                1, cpu ? ref.divisor.milli() : ref.divisor.value());
  return StrCat(DivideUp(cpu ? amount.milli() : amount.value(), divisor));
}

}  // namespace fairlead::kubelet
