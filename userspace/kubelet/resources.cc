// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/resources.h"

#include <algorithm>

#include "absl/strings/str_split.h"
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

ContainerLimits LimitsOf(const Resources& resources) {
  const auto amount = [](const ResourceAmounts& from, const char* name) {
    const auto it = from.find(name);
    return it == from.end() ? kube::Quantity() : it->second;
  };
  ContainerLimits limits{
      .cpu_request_milli = amount(resources.requests, "cpu").milli(),
      .cpu_limit_milli = amount(resources.limits, "cpu").milli(),
      .memory_limit = amount(resources.limits, "memory").value()};
  // A limit alone asks for as much.
  if (limits.cpu_request_milli == 0)
    limits.cpu_request_milli = limits.cpu_limit_milli;
  return limits;
}

absl::StatusOr<ResourceAmounts> ParseReserved(const std::string& text) {
  ResourceAmounts amounts;
  for (const auto& part : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    const std::string word(part);
    const size_t equals = std::min(word.find('='), word.size());
    const std::string name = word.substr(0, equals);
    const auto amount =
        kube::Quantity::Parse(word.substr(std::min(equals + 1, word.size())));
    const bool known =
        name == "cpu" || name == "memory" || name == "ephemeral-storage";
    if (!known || !amount.ok() || amount->sign() < 0) {
      return absl::InvalidArgumentError(
          StrCat("\"", word, "\" is no reserve: cpu, memory or "
                 "ephemeral-storage, \"=\" and an amount"));
    }
    amounts[name] = *amount;
  }
  return amounts;
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
