// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/role_aggregation.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "userspace/kube/control_resources.h"

namespace fairlead::controllers {
namespace {

constexpr char kAll[] = "all";  // any role may be a part of any

const Json& SelectorsOf(const Json& role) {
  return Get(role, {"aggregationRule", "clusterRoleSelectors"});
}

// Each once, in the order of selectors and names.
Json RulesFor(const Json& role, const std::vector<Object>& roles) {
  Json rules = Json::array();
  for (const Json& selector : SelectorsOf(role)) {
    for (const Object& other : roles) {
      if (Name(*other) == Name(role) ||
          !SelectorMatches(selector, Get(*other, {"metadata", "labels"}))) {
        continue;
      }
      for (const Json& rule : Get(*other, {"rules"})) {
        if (std::find(rules.begin(), rules.end(), rule) == rules.end()) {
          rules.push_back(rule);
        }
      }
    }
  }
  return rules;
}

}  // namespace

Plan PlanRoleAggregation(const std::vector<Object>& roles) {
  Plan plan;
  for (const Object& role : roles) {
    if (!SelectorsOf(*role).is_array() || IsTerminating(*role)) continue;
    Json rules = RulesFor(*role, roles);
    const Json& have = Get(*role, {"rules"});
    if ((have.is_array() ? have : Json::array()) == rules) continue;
    plan.writes.push_back(PatchOf(kube::ClusterRoles(), *role,
                                  {{"rules", std::move(rules)}}));
  }
  return plan;
}

RoleAggregationController::RoleAggregationController(const Context& context)
    : context_(context),
      shell_(context, "clusterrole-aggregation-controller",
             [this](const std::string&, const Shell::Answers&) {
               std::vector<Object> roles;
               context_.informers->Of(kube::ClusterRoles())
                   .ForEach([&](const Object& role) { roles.push_back(role); });
               return PlanRoleAggregation(roles);
             }) {
  context.informers->Of(kube::ClusterRoles())
      .Subscribe([this](const Object&, const Object&) { shell_.Add(kAll); });
}

}  // namespace fairlead::controllers
