// SPDX-License-Identifier: Apache-2.0
#include "control/api/priority.h"

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "control/api/json_access.h"
#include "control/api/refusal.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

class PriorityAdmission : public Admission {
 public:
  FieldErrors Admit(const Kind& kind, WriteVerb verb, bool, Json& object,
                    const Json* before) override {
    bool new_pod = kind.resource.group.empty() &&
                   kind.resource.kind == "Pod" &&
                   verb == WriteVerb::kCreate && before == nullptr;
    if (!new_pod) return {};
    Json& spec = Sub(object, "spec");
    std::string name(Text(spec, "priorityClassName"));
    const Class* found = nullptr;
    if (name.empty()) {
      for (const auto& [each, one] : classes_) {
        if (!one.is_default) continue;
        found = &one;
        spec["priorityClassName"] = each;
      }
      if (found == nullptr) return {};
    } else if (auto it = classes_.find(name); it != classes_.end()) {
      found = &it->second;
    } else if (name.starts_with("system-")) {
      return {};  // known from the start
    } else {
      return {
          Refusal(StrCat("no PriorityClass with name ", name, " was found"))};
    }
    spec["priority"] = found->value;
    spec["preemptionPolicy"] = found->preemption;
    return {};
  }

  void Committed(const Kind& kind, const Json* before,
                 const Json* after) override {
    if (!IsClass(kind)) return;
    if (after != nullptr) {
      Restore(kind, *after);
    } else if (before != nullptr) {
      classes_.erase(std::string(Text(*before, {"metadata", "name"})));
    }
  }

  void Aborted(const Kind&, const Json&, const Json*) override {}

  void Restore(const Kind& kind, const Json& object) override {
    if (!IsClass(kind)) return;
    classes_[std::string(Text(object, {"metadata", "name"}))] = {
        Int(object, "value"), IsTrue(object, "globalDefault"),
        std::string(Text(object, "preemptionPolicy"))};
  }

 private:
  struct Class {
    int64_t value = 0;
    bool is_default = false;
    std::string preemption;
  };

  static bool IsClass(const Kind& kind) {
    return kind.resource.kind == "PriorityClass";
  }

  std::map<std::string, Class> classes_;
};

}  // namespace

std::unique_ptr<Admission> MakePriorityAdmission() {
  return std::make_unique<PriorityAdmission>();
}

}  // namespace fairlead::api
