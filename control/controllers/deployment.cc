// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/deployment.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "control/controllers/rollout.h"
#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

// Annotations that belong to one object alone.
constexpr std::string_view kOwnAnnotations[] = {
    "kubectl.kubernetes.io/last-applied-configuration",
    kRevision,
    kRevisionHistory,
    kDesiredReplicas,
    kMaxReplicas,
};

int64_t RevisionOf(const Json& object) {
  int64_t revision = 0;
  return absl::SimpleAtoi(Absl(Annotation(object, kRevision)), &revision)
             ? revision
             : 0;
}

Json WithoutHash(Json pod_template) {
  auto meta = pod_template.find("metadata");
  if (meta == pod_template.end()) return pod_template;
  // The server may add it, always empty.
  meta->erase("creationTimestamp");
  auto labels = meta->find("labels");
  if (labels != meta->end()) labels->erase(kTemplateHash);
  return pod_template;
}

// Everything that one plan works with.
class Rollout {
 public:
  Rollout(const DeploymentFacts& facts, absl::Time now)
      : facts_(facts),
        d_(*facts.deployment),
        now_(now),
        spec_(RolloutSpecOf(d_)) {
    collisions_ = static_cast<int>(Number(d_, {"status", "collisionCount"}));
  }

  Plan Make() {
    if (Claim()) return std::move(plan_);
    Split();
    if (IsTerminating(d_)) return Status({});
    if (spec_.paused || IsScaling()) return Scale();
    if (current_ != nullptr && SyncRevision()) return std::move(plan_);
    return spec_.recreate ? Recreate() : RollingUpdate();
  }

 private:
  // Takes in ReplicaSets without an owner and lets go of those that don't
  // match any more. True if the plan is just that.
  bool Claim() {
    const Json& selector = Get(d_, {"spec", "selector"});
    for (const Object& rs : facts_.replica_sets) {
      std::string_view owner = ControllerUid(*rs);
      bool matches =
          SelectorMatches(selector, Get(*rs, {"metadata", "labels"}));
      if (owner == Uid(d_) && matches) {
        owned_.push_back(rs);
      } else if (owner == Uid(d_) && !IsTerminating(d_)) {
        SetOwners(*rs, /*adopt=*/false);
      } else if (owner.empty() && matches && !IsTerminating(d_) &&
                 !IsTerminating(*rs)) {
        SetOwners(*rs, /*adopt=*/true);
      }
    }
    return !plan_.writes.empty();
  }

  void SetOwners(const Json& rs, bool adopt) {
    Json owners = Json::array();
    const Json& before = Get(rs, {"metadata", "ownerReferences"});
    for (const Json& owner : before.is_array() ? before : owners) {
      if (Text(owner, {"uid"}) != Uid(d_)) owners.push_back(owner);
    }
    if (adopt) {
      owners.push_back(ControllerReference(kube::Deployments(), d_));
    }
    plan_.writes.push_back(
        PatchOf(kube::ReplicaSets(), rs,
                {{"metadata",
                  {{"uid", Uid(rs)}, {"ownerReferences", owners}}}}));
  }

  void Split() {
    Json wanted = WithoutHash(Get(d_, {"spec", "template"}));
    std::sort(owned_.begin(), owned_.end(),
              [](const Object& a, const Object& b) {
                return std::pair(CreationTime(*a), Name(*a)) <
                       std::pair(CreationTime(*b), Name(*b));
              });
    for (const Object& rs : owned_) {
      if (current_ == nullptr &&
          WithoutHash(Get(*rs, {"spec", "template"})) == wanted) {
        current_ = rs;
        current_state_ = StateOf(rs);
      } else {
        old_.push_back(StateOf(rs));
      }
    }
  }

  int64_t NextRevision() const {
    int64_t highest = 0;
    for (const auto& rs : old_) {
      highest = std::max(highest, RevisionOf(*rs.object));
    }
    return highest + 1;
  }

  // spec.replicas is not what the ReplicaSets were last sized for.
  bool IsScaling() const {
    std::string wanted = std::to_string(spec_.replicas);
    return std::any_of(owned_.begin(), owned_.end(), [&](const Object& rs) {
      return Number(*rs, {"spec", "replicas"}) > 0 &&
             !Annotation(*rs, kDesiredReplicas).empty() &&
             Annotation(*rs, kDesiredReplicas) != wanted;
    });
  }

  Json SizeAnnotations() const {
    return {{kDesiredReplicas, std::to_string(spec_.replicas)},
            {kMaxReplicas, std::to_string(spec_.replicas + spec_.max_surge)}};
  }

  // Writes what has become of `state` against the ReplicaSet as it is.
  void EmitScale(const ReplicaSetState& state) {
    const Json& rs = *state.object;
    int before = static_cast<int>(Number(rs, {"spec", "replicas"}, 1));
    Json annotations = SizeAnnotations();
    bool sized = MapSelects(annotations, Get(rs, {"metadata", "annotations"}));
    if (before == state.replicas && (sized || before == 0)) return;
    Write write = PatchOf(kube::ReplicaSets(), rs,
                          {{"metadata", {{"annotations", annotations}}},
                           {"spec", {{"replicas", state.replicas}}}});
    if (before != state.replicas) {
      write.announce = ScalingEvent(Name(rs), before, state.replicas);
    }
    plan_.writes.push_back(std::move(write));
  }

  Announcement ScalingEvent(std::string_view name, int before, int after) {
    return Announce(
        kube::Deployments(), d_, kube::EventType::kNormal, "ScalingReplicaSet",
        StrCat("Scaled ", after > before ? "up" : "down", " replica set ",
               name, " from ", before, " to ", after));
  }

  Plan Scale() {
    ReplicaSetState* current = current_ == nullptr ? nullptr : &current_state_;
    ScaleProportionally(spec_,
                        static_cast<int>(Number(d_, {"status", "replicas"})),
                        old_, current);
    for (const auto& rs : old_) EmitScale(rs);
    if (current != nullptr) EmitScale(*current);
    if (spec_.paused && plan_.writes.empty()) CleanUp();
    StatusFacts status;
    status.scaling_only = !spec_.paused;
    return Status(std::move(status));
  }

  // Annotations of the new ReplicaSet and the Deployment's revision. True if
  // the plan is just that.
  bool SyncRevision() {
    const Json& rs = *current_;
    Json annotations = SizeAnnotations();
    CopyAnnotations(annotations);
    int64_t revision = RevisionOf(rs), next = NextRevision();
    if (revision < next) {
      annotations[kRevision] = std::to_string(next);
      if (revision > 0) {
        std::string history(Annotation(rs, kRevisionHistory));
        annotations[kRevisionHistory] =
            StrCat(history, history.empty() ? "" : ",", revision);
      }
    }
    Json spec = Json::object();
    int64_t min_ready = Number(d_, {"spec", "minReadySeconds"});
    if (Number(rs, {"spec", "minReadySeconds"}) != min_ready) {
      spec["minReadySeconds"] = min_ready;
    }
    if (!spec.empty() ||
        !MapSelects(annotations, Get(rs, {"metadata", "annotations"}))) {
      Json patch = {{"metadata", {{"annotations", annotations}}}};
      if (!spec.empty()) patch["spec"] = spec;
      plan_.writes.push_back(PatchOf(kube::ReplicaSets(), rs, patch));
    }
    std::string shown = std::to_string(std::max(revision, next));
    if (Annotation(d_, kRevision) != shown) {
      // As one of the status: so it has one owner with it.
      plan_.writes.push_back(
          PatchOf(kube::Deployments(), d_,
                  {{"metadata", {{"annotations", {{kRevision, shown}}}}}}));
      plan_.writes.back().verb = Verb::kMergePatchStatus;
    }
    return !plan_.writes.empty();
  }

  void CopyAnnotations(Json& into) const {
    const Json& annotations = Get(d_, {"metadata", "annotations"});
    if (!annotations.is_object()) return;
    for (const auto& [key, value] : annotations.items()) {
      if (std::find(std::begin(kOwnAnnotations), std::end(kOwnAnnotations),
                    key) == std::end(kOwnAnnotations)) {
        into[key] = value;
      }
    }
  }

  // Nothing is added before all ReplicaSets have come down to what they were
  // told: the surge bounds the pods, not only the wishes.
  std::optional<int> TotalPods() const {
    int total = current_state_.pods;
    bool lagging = current_state_.lagging;
    for (const auto& rs : old_) {
      total += rs.pods;
      lagging |= rs.lagging;
    }
    if (lagging) return std::nullopt;
    return total;
  }

  Plan RollingUpdate() {
    std::optional<int> total = TotalPods();
    if (current_ == nullptr) {
      return total ? Create(NewReplicas(spec_, *total, 0)) : Status({});
    }
    int before = current_state_.replicas;
    int wanted = NewReplicas(spec_, total.value_or(before), before);
    if (wanted != before && (total || wanted < before)) {
      current_state_.replicas = wanted;
      EmitScale(current_state_);
      return Status({});
    }
    if (ScaleDownOld(spec_, old_, current_state_)) {
      for (const auto& rs : old_) EmitScale(rs);
      return Status({});
    }
    if (IsComplete()) CleanUp();
    return Status({});
  }

  Plan Recreate() {
    bool waiting = false;
    for (auto& rs : old_) {
      waiting |= std::exchange(rs.replicas, 0) > 0;
      EmitScale(rs);
    }
    for (const Object& pod : facts_.pods) {
      if (IsPodTerminated(*pod)) continue;
      for (const auto& rs : old_) {
        waiting |= ControllerUid(*pod) == Uid(*rs.object);
      }
    }
    if (waiting) return Status({});
    if (current_ == nullptr) return Create(spec_.replicas);
    current_state_.replicas = spec_.replicas;
    EmitScale(current_state_);
    if (IsComplete()) CleanUp();
    return Status({});
  }

  bool IsComplete() const {
    int64_t wanted = spec_.replicas;
    if (current_ == nullptr || current_state_.available != wanted ||
        Number(*current_, {"status", "replicas"}) != wanted) {
      return false;
    }
    return std::all_of(old_.begin(), old_.end(), [](const auto& rs) {
      return rs.replicas == 0 && Number(*rs.object, {"status", "replicas"}) == 0;
    });
  }

  Plan Create(int replicas) {
    const Json& wanted = Get(d_, {"spec", "template"});
    std::string hash, name;
    bool taken = true;
    while (taken) {
      hash = TemplateHash(wanted, collisions_);
      name = StrCat(Name(d_), "-", hash);
      taken = std::any_of(
          facts_.replica_sets.begin(), facts_.replica_sets.end(),
          [&](const Object& rs) { return Name(*rs) == name; });
      if (taken) ++collisions_;
    }
    Json rs = NewReplicaSet(name, hash, replicas);
    Write write = CreateOf(kube::ReplicaSets(), std::move(rs));
    if (replicas > 0) write.announce = ScalingEvent(name, 0, replicas);
    plan_.writes.push_back(std::move(write));
    StatusFacts status;
    status.created = name;
    return Status(std::move(status));
  }

  Json NewReplicaSet(const std::string& name, const std::string& hash,
                     int replicas) const {
    Json pod_template = Get(d_, {"spec", "template"});
    pod_template["metadata"]["labels"][kTemplateHash] = hash;
    Json selector = Get(d_, {"spec", "selector"});
    selector["matchLabels"][kTemplateHash] = hash;
    Json annotations = SizeAnnotations();
    annotations[kRevision] = std::to_string(NextRevision());
    CopyAnnotations(annotations);
    Json spec = {{"replicas", replicas}, {"selector", selector}};
    if (int64_t n = Number(d_, {"spec", "minReadySeconds"}); n > 0) {
      spec["minReadySeconds"] = n;
    }
    Json labels = pod_template["metadata"]["labels"];
    spec["template"] = std::move(pod_template);
    return {{"metadata",
             {{"name", name},
              {"namespace", Namespace(d_)},
              {"labels", labels},
              {"annotations", annotations},
              {"ownerReferences",
               Json::array({ControllerReference(kube::Deployments(), d_)})}}},
            {"spec", spec}};
  }

  // Old ReplicaSets beyond the history limit, the oldest revisions first.
  void CleanUp() {
    std::vector<Object> old;
    for (const auto& rs : old_) {
      if (!IsTerminating(*rs.object)) old.push_back(rs.object);
    }
    int excess = static_cast<int>(old.size()) - spec_.revision_history_limit;
    if (excess <= 0) return;
    std::stable_sort(old.begin(), old.end(),
                     [](const Object& a, const Object& b) {
                       return RevisionOf(*a) < RevisionOf(*b);
                     });
    for (int i = 0; i < excess; ++i) {
      const Json& rs = *old[i];
      bool empty =
          Number(rs, {"status", "replicas"}) == 0 &&
          Number(rs, {"spec", "replicas"}) == 0 &&
          Generation(rs) <= Number(rs, {"status", "observedGeneration"});
      if (empty) plan_.writes.push_back(DeleteOf(kube::ReplicaSets(), rs));
    }
  }

  // Adds the status, if it changes, and ends the plan.
  Plan Status(StatusFacts facts) {
    facts.deployment = &d_;
    facts.spec = spec_;
    facts.all = owned_;
    facts.current = current_;
    facts.collisions = collisions_;
    Json status = DeploymentStatus(facts, now_, &plan_.again);
    if (Get(d_, {"status"}) != status) {
      Json updated = d_;
      updated["status"] = std::move(status);
      plan_.writes.push_back(StatusOf(kube::Deployments(), updated, 1));
    }
    return std::move(plan_);
  }

  const DeploymentFacts& facts_;
  const Json& d_;
  absl::Time now_;
  RolloutSpec spec_;
  int collisions_ = 0;
  std::vector<Object> owned_;
  Object current_;  // the one made from the present template
  ReplicaSetState current_state_;
  std::vector<ReplicaSetState> old_;
  Plan plan_;
};

}  // namespace

Plan PlanDeployment(const DeploymentFacts& facts, absl::Time now) {
  return Rollout(facts, now).Make();
}

DeploymentController::DeploymentController(const Context& context)
    : context_(context),
      shell_(context, "deployment-controller",
             [this](const std::string& key, const Shell::Answers&) {
               Object d = context_.informers->Of(kube::Deployments()).Get(key);
               if (d == nullptr) return Plan();
               return PlanDeployment(Facts(d), context_.clock->Now());
             }) {
  Informers& informers = *context.informers;
  informers.Of(kube::Deployments())
      .Subscribe([this](const Object& before, const Object& after) {
        shell_.Add(kube::KeyOf(after != nullptr ? *after : *before));
      });
  informers.Of(kube::ReplicaSets())
      .Subscribe([this](const Object& before, const Object& after) {
        ReplicaSetChanged(before, after);
      });
  informers.Of(kube::Pods())
      .Subscribe([this](const Object& before, const Object& after) {
        PodChanged(before, after);
      });
}

DeploymentFacts DeploymentController::Facts(const Object& d) const {
  DeploymentFacts facts{.deployment = d};
  Informers& informers = *context_.informers;
  facts.replica_sets = informers.Of(kube::ReplicaSets())
                           .ByIndex("namespace", Namespace(*d));
  if (Text(*d, {"spec", "strategy", "type"}) != "Recreate") return facts;
  for (const Object& rs : facts.replica_sets) {
    if (ControllerUid(*rs) != Uid(*d)) continue;
    for (Object& pod :
         informers.Of(kube::Pods()).ByIndex("controller", Uid(*rs))) {
      facts.pods.push_back(std::move(pod));
    }
  }
  return facts;
}

void DeploymentController::ReplicaSetChanged(const Object& before,
                                             const Object& after) {
  for (const Object& rs : {before, after}) {
    if (rs == nullptr) continue;
    if (const Json* owner = ControllerOf(*rs)) {
      if (Text(*owner, {"kind"}) == "Deployment") {
        shell_.Add(StrCat(Namespace(*rs), "/", Text(*owner, {"name"})));
      }
      continue;
    }
    kube::Informer& all = context_.informers->Of(kube::Deployments());
    for (const Object& d : all.ByIndex("namespace", Namespace(*rs))) {
      if (SelectorMatches(Get(*d, {"spec", "selector"}),
                          Get(*rs, {"metadata", "labels"}))) {
        shell_.Add(kube::KeyOf(*d));
      }
    }
  }
}

// Recreate waits for the last old pod.
void DeploymentController::PodChanged(const Object& before,
                                      const Object& after) {
  if (before == nullptr) return;
  if (after != nullptr && !IsPodTerminated(*after)) return;
  const Json* owner = ControllerOf(*before);
  if (owner == nullptr || Text(*owner, {"kind"}) != "ReplicaSet") return;
  Object rs =
      context_.informers->Of(kube::ReplicaSets())
          .Get(StrCat(Namespace(*before), "/", Text(*owner, {"name"})));
  if (rs == nullptr) return;
  const Json* deployment = ControllerOf(*rs);
  if (deployment == nullptr) return;
  shell_.Add(StrCat(Namespace(*rs), "/", Text(*deployment, {"name"})));
}

}  // namespace fairlead::controllers
