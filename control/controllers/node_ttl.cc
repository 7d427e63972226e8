// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/node_ttl.h"

#include <cstdint>
#include <nlohmann/json.hpp>

namespace fairlead::controllers {
namespace {

constexpr char kTtl[] = "node.alpha.kubernetes.io/ttl";

// Kubernetes' steps. One is left below `least` and above `most` nodes.
constexpr struct {
  size_t least, most;
  int seconds;
} kSteps[] = {{0, 100, 0},
              {90, 500, 15},
              {450, 1000, 30},
              {900, 2000, 60},
              {1800, SIZE_MAX, 300}};

}  // namespace

size_t NextTtlStep(size_t step, size_t nodes) {
  while (nodes > kSteps[step].most) ++step;
  while (nodes < kSteps[step].least) --step;
  return step;
}

Plan PlanNodeTtl(const Object& node, size_t step) {
  Plan plan;
  std::string wanted = std::to_string(kSteps[step].seconds);
  if (IsTerminating(*node) || Annotation(*node, kTtl) == wanted) return plan;
  plan.writes.push_back(
      PatchOf(kube::Nodes(), *node,
              {{"metadata", {{"annotations", {{kTtl, wanted}}}}}}));
  return plan;
}

NodeTtlController::NodeTtlController(const Context& context)
    : context_(context),
      shell_(context, "ttl-controller",
             [this](const std::string& key, const Shell::Answers&) {
               return Make(key);
             }) {
  context.informers->Of(kube::Nodes())
      .Subscribe([this](const Object&, const Object& after) {
        if (after != nullptr) shell_.Add(kube::KeyOf(*after));
      });
}

Plan NodeTtlController::Make(const std::string& key) {
  kube::Informer& nodes = context_.informers->Of(kube::Nodes());
  step_ = NextTtlStep(step_, nodes.size());
  Object node = nodes.Get(key);
  return node == nullptr ? Plan() : PlanNodeTtl(node, step_);
}

}  // namespace fairlead::controllers
