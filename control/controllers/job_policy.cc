// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/job_policy.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "control/controllers/job.h"
#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

const Json& ListOf(const Json& object, const char* field) {
  static const Json kNone = Json::array();
  const Json& list = Get(object, {field});
  return list.is_array() ? list : kNone;
}

// In what way the pod matches the rule; an exit code of 0 matches nothing.
std::optional<std::string> MatchExitCodes(const Json& wanted, const Json& pod) {
  const Json& status = Get(pod, {"status"});
  const Json& values = ListOf(wanted, "values");
  bool in = Text(wanted, {"operator"}) == "In";
  std::string_view only = Text(wanted, {"containerName"});
  for (const char* list : {"containerStatuses", "initContainerStatuses"}) {
    for (const Json& container : ListOf(status, list)) {
      if (!only.empty() && Text(container, {"name"}) != only) continue;
      int64_t code = Number(container, {"state", "terminated", "exitCode"});
      if (code == 0) continue;
      bool listed =
          std::find(values.begin(), values.end(), code) != values.end();
      if (listed == in) {
        return StrCat("Container ", Text(container, {"name"}), " for pod ",
                      Namespace(pod), "/", Name(pod),
                      " failed with exit code ", code);
      }
    }
  }
  return std::nullopt;
}

std::optional<std::string> MatchConditions(const Json& patterns,
                                           const Json& pod) {
  for (const Json& condition :
       ListOf(Get(pod, {"status"}), "conditions")) {
    for (const Json& pattern : patterns) {
      if (Text(condition, {"type"}) == Text(pattern, {"type"}) &&
          Text(condition, {"status"}) == Text(pattern, {"status"})) {
        return StrCat("Pod ", Namespace(pod), "/", Name(pod),
                      " has condition ", Text(condition, {"type"}));
      }
    }
  }
  return std::nullopt;
}

}  // namespace

PodVerdict JudgeFailedPod(const Json& policy, const Json& pod) {
  const Json& rules = ListOf(policy, "rules");
  for (size_t i = 0; i < rules.size(); ++i) {
    const Json& codes = Get(rules[i], {"onExitCodes"});
    std::optional<std::string> match =
        codes.is_object()
            ? MatchExitCodes(codes, pod)
            : MatchConditions(ListOf(rules[i], "onPodConditions"), pod);
    if (!match) continue;
    std::string_view action = Text(rules[i], {"action"});
    PodVerdict verdict{.counts = action != "Ignore",
                       .fails_index = action == "FailIndex"};
    if (action == "FailJob") {
      verdict.fails_job =
          StrCat(*match, " matching FailJob rule at index ", i);
    }
    return verdict;
  }
  return {};
}

std::optional<std::string> FulfilledRule(const Json& policy,
                                         const std::set<int>& succeeded) {
  const Json& rules = ListOf(policy, "rules");
  for (size_t i = 0; i < rules.size(); ++i) {
    int64_t have = static_cast<int64_t>(succeeded.size()), wanted = have;
    if (Get(rules[i], {"succeededIndexes"}).is_string()) {
      std::vector<int> named =
          ParseIndexes(Text(rules[i], {"succeededIndexes"}));
      wanted = static_cast<int64_t>(named.size());
      have = std::count_if(named.begin(), named.end(), [&](int index) {
        return succeeded.contains(index);
      });
    }
    wanted = Number(rules[i], {"succeededCount"}, wanted);
    if (have > 0 && have >= wanted) {
      return StrCat("Matched rules at index ", i);
    }
  }
  return std::nullopt;
}

}  // namespace fairlead::controllers
