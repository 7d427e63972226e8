// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/daemon_set.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "control/api/int_or_string.h"
#include "control/controllers/node_affinity.h"
#include "control/controllers/ownership.h"
#include "control/controllers/rollout.h"
#include "userspace/base/strings.h"
#include "userspace/kube/control_resources.h"

namespace fairlead::controllers {
namespace {

constexpr char kHash[] = "controller-revision-hash";
constexpr char kTemplateGenerationLabel[] = "pod-template-generation";
constexpr char kTemplateGeneration[] =
    "deprecated.daemonset.template.generation";
constexpr int kBurst = 250;  // pods made or removed by one plan

struct OnNode {
  const Json* node = nullptr;
  bool should_run = false, may_stay = false;
  std::vector<Object> current, old;  // pods of the template and of others
};

// Everything that one plan works with.
class Daemons {
 public:
  Daemons(const DaemonSetFacts& facts, absl::Time now)
      : facts_(facts), ds_(*facts.daemon_set), now_(now) {}

  Plan Make() {
    ClaimedPods claimed =
        ClaimPods(kube::DaemonSets(), ds_, facts_.pods);
    plan_.writes = std::move(claimed.writes);
    pods_ = std::move(claimed.pods);
    if (!plan_.writes.empty()) return std::move(plan_);
    if (!IsTerminating(ds_) && !SyncRevision()) return std::move(plan_);
    PlacePods();
    if (!IsTerminating(ds_)) {
      KeepPods();
      ReplaceOld();
      CleanUpRevisions();
    }
    Status();
    return std::move(plan_);
  }

 private:
  // Sets hash_. False: the plan is to make or renumber the revision first.
  bool SyncRevision() {
    Json data = RevisionData(ds_);
    int64_t newest = 0;
    const Json* found = nullptr;
    for (const Object& revision : facts_.revisions) {
      newest = std::max(newest, Number(*revision, {"revision"}));
      if (Get(*revision, {"data"}) == data) found = revision.get();
    }
    if (found != nullptr) {
      hash_ = Label(*found, kHash);
      if (Number(*found, {"revision"}) == newest) return true;
      plan_.writes.push_back(PatchOf(kube::ControllerRevisions(), *found,
                                     {{"revision", newest + 1}}));
      return false;
    }
    int collisions =
        static_cast<int>(Number(ds_, {"status", "collisionCount"}));
    std::string name;
    do {
      hash_ = TemplateHash(Get(ds_, {"spec", "template"}), collisions++);
      name = StrCat(Name(ds_), "-", hash_);
    } while (std::any_of(
        facts_.revisions.begin(), facts_.revisions.end(),
        [&](const Object& r) { return Name(*r) == name; }));
    Json labels = Get(ds_, {"spec", "template", "metadata", "labels"});
    if (!labels.is_object()) labels = Json::object();
    labels[kHash] = hash_;
    Json metadata = {
        {"namespace", Namespace(ds_)},
        {"name", name},
        {"labels", labels},
        {"ownerReferences",
         Json::array({ControllerReference(kube::DaemonSets(), ds_)})}};
    const Json& annotations = Get(ds_, {"metadata", "annotations"});
    if (annotations.is_object()) metadata["annotations"] = annotations;
    plan_.writes.push_back(CreateOf(kube::ControllerRevisions(),
                                    {{"metadata", std::move(metadata)},
                                     {"data", std::move(data)},
                                     {"revision", newest + 1}}));
    return false;
  }

  bool IsCurrent(const Json& pod) const { return Label(pod, kHash) == hash_; }

  void PlacePods() {
    const Json& spec = Get(ds_, {"spec", "template", "spec"});
    Json tolerations = DaemonTolerations(spec);
    for (const Object& node : facts_.nodes) {
      OnNode& at = nodes_[std::string(Name(*node))];
      at.node = node.get();
      std::string_view named = Text(spec, {"nodeName"});
      bool admits = NodeAffinityAdmits(spec, *node) &&
                    (named.empty() || named == Name(*node));
      at.should_run = at.may_stay = admits;
      const Json& taints = Get(*node, {"spec", "taints"});
      if (!taints.is_array()) continue;
      for (const Json& taint : taints) {
        std::string_view effect = Text(taint, {"effect"});
        if (effect == "PreferNoSchedule" || IsTolerated(tolerations, taint)) {
          continue;
        }
        at.should_run = false;
        if (effect == "NoExecute") at.may_stay = false;
      }
    }
    for (const Object& pod : pods_) {
      auto it = nodes_.find(TargetNode(*pod));
      if (it == nodes_.end()) continue;  // the pod collector's
      (IsCurrent(*pod) ? it->second.current : it->second.old).push_back(pod);
    }
  }

  // Where the pod is, or is to be: the affinity it was made with says so.
  static std::string TargetNode(const Json& pod) {
    std::string_view node = Text(pod, {"spec", "nodeName"});
    if (!node.empty()) return std::string(node);
    const Json& terms =
        Get(pod, {"spec", "affinity", "nodeAffinity",
                  "requiredDuringSchedulingIgnoredDuringExecution",
                  "nodeSelectorTerms"});
    if (!terms.is_array() || terms.empty()) return "";
    const Json& fields = Get(terms[0], {"matchFields"});
    if (!fields.is_array() || fields.empty()) return "";
    const Json& values = Get(fields[0], {"values"});
    if (!values.is_array() || values.empty()) return "";
    return values[0].is_string() ? values[0].get<std::string>() : "";
  }

  bool IsAvailable(const Json& pod) {
    return IsPodActive(pod) &&
           IsPodAvailable(
               pod, absl::Seconds(Number(ds_, {"spec", "minReadySeconds"})),
               now_, &plan_.again);
  }

  // One pod where there should be one, none where there should not.
  void KeepPods() {
    for (auto& [name, at] : nodes_) {
      if (!at.may_stay) {
        for (const auto* list : {&at.current, &at.old}) {
          for (const Object& pod : *list) Remove(*pod);
        }
        continue;
      }
      bool any = false;
      for (const auto* list : {&at.current, &at.old}) {
        bool kept = false;
        for (const Object& pod : *list) {
          if (IsTerminating(*pod)) {
            any = true;  // its place is not free yet
          } else if (IsPodTerminated(*pod)) {
            RemoveFailed(*pod);
            any = true;
          } else if (kept) {
            Remove(*pod);
          } else {
            kept = any = true;
          }
        }
      }
      if (at.should_run && !any) AddPod(*at.node);
    }
  }

  int Scaled(const char* field, int otherwise) const {
    const Json& value =
        Get(ds_, {"spec", "updateStrategy", "rollingUpdate", field});
    if (value.is_null()) return otherwise;
    int total = 0;
    for (const auto& [name, at] : nodes_) total += at.should_run;
    return api::ScaleIntOrPercent(value, total, api::Rounding::kUp)
        .value_or(otherwise);
  }

  static const Json* FirstActive(const std::vector<Object>& pods) {
    for (const Object& pod : pods) {
      if (IsPodActive(*pod)) return pod.get();
    }
    return nullptr;
  }

  void ReplaceOld() {
    if (Text(ds_, {"spec", "updateStrategy", "type"}) == "OnDelete") return;
    int surge = Scaled("maxSurge", 0);
    if (surge > 0) return ReplaceWithSurge(surge);
    int unavailable = 0;
    std::vector<const Json*> serving;  // old pods that do their work
    for (auto& [name, at] : nodes_) {
      if (!at.should_run) continue;
      const Json* fresh = FirstActive(at.current);
      const Json* old = FirstActive(at.old);
      if (fresh != nullptr) {
        unavailable += !IsAvailable(*fresh);
      } else if (old != nullptr && IsAvailable(*old)) {
        serving.push_back(old);
      } else {
        ++unavailable;
        if (old != nullptr) Remove(*old);
      }
    }
    int budget = std::max(1, Scaled("maxUnavailable", 1)) - unavailable;
    for (const Json* pod : serving) {
      if (budget-- <= 0) break;
      Remove(*pod);
    }
  }

  // The new pod comes up beside the old one, which goes when it is available.
  void ReplaceWithSurge(int surge) {
    std::vector<const Json*> waiting;  // nodes without a new pod
    for (auto& [name, at] : nodes_) {
      if (!at.should_run) continue;
      const Json* fresh = FirstActive(at.current);
      const Json* old = FirstActive(at.old);
      if (old == nullptr) continue;
      if (fresh != nullptr) {
        if (IsAvailable(*fresh)) {
          Remove(*old);
        } else {
          --surge;
        }
      } else if (!IsAvailable(*old)) {
        Remove(*old);
      } else {
        waiting.push_back(at.node);
      }
    }
    for (const Json* node : waiting) {
      if (surge-- <= 0) break;
      AddPod(*node);
    }
  }

  void AddPod(const Json& node) {
    if (++changes_ > kBurst) return;
    const Json& wanted = Get(ds_, {"spec", "template"});
    Json metadata = Get(wanted, {"metadata"});
    if (!metadata.is_object()) metadata = Json::object();
    metadata.erase("creationTimestamp");
    metadata["namespace"] = Namespace(ds_);
    metadata["generateName"] = StrCat(Name(ds_), "-");
    metadata["labels"][kHash] = hash_;
    std::string_view generation = Annotation(ds_, kTemplateGeneration);
    if (!generation.empty()) {
      metadata["labels"][kTemplateGenerationLabel] = generation;
    }
    metadata["ownerReferences"] =
        Json::array({ControllerReference(kube::DaemonSets(), ds_)});
    Json spec = Get(wanted, {"spec"});
    spec["tolerations"] = DaemonTolerations(spec);
    // The scheduler binds it, but only to this node.
    spec["affinity"]["nodeAffinity"]
        ["requiredDuringSchedulingIgnoredDuringExecution"] = {
            {"nodeSelectorTerms",
             Json::array({{{"matchFields",
                            Json::array({{{"key", "metadata.name"},
                                          {"operator", "In"},
                                          {"values", {Name(node)}}}})}}})}};
    Write write = CreateOf(
        kube::Pods(), {{"metadata", std::move(metadata)}, {"spec", spec}}, 1);
    write.announce =
        Announce(kube::DaemonSets(), ds_, kube::EventType::kNormal,
                 "SuccessfulCreate", "Created pod: %s");
    plan_.writes.push_back(std::move(write));
  }

  void Remove(const Json& pod) {
    if (IsTerminating(pod) || ++changes_ > kBurst) return;
    Write write = DeleteOf(kube::Pods(), pod, 1);
    write.announce = Announce(kube::DaemonSets(), ds_,
                              kube::EventType::kNormal, "SuccessfulDelete",
                              StrCat("Deleted pod: ", Name(pod)));
    plan_.writes.push_back(std::move(write));
  }

  // Not at once: a pod that fails at each start must not spin.
  void RemoveFailed(const Json& pod) {
    constexpr absl::Duration kWait = absl::Seconds(1);
    absl::Duration age = now_ - CreationTime(pod);
    if (age < kWait) {
      plan_.again = std::min(plan_.again, kWait - age);
      return;
    }
    plan_.announcements.push_back(Announce(
        kube::DaemonSets(), ds_, kube::EventType::kWarning, "FailedDaemonPod",
        StrCat("Found failed daemon pod ", Namespace(pod), "/", Name(pod),
               " on node ", Text(pod, {"spec", "nodeName"}),
               ", will try to kill it")));
    Remove(pod);
  }

  // Old revisions beyond the limit that no pod is of, the oldest first.
  void CleanUpRevisions() {
    std::vector<Object> idle;
    for (const Object& revision : facts_.revisions) {
      std::string_view hash = Label(*revision, kHash);
      bool used = hash == hash_ ||
                  std::any_of(pods_.begin(), pods_.end(), [&](auto& pod) {
                    return Label(*pod, kHash) == hash;
                  });
      if (!used) idle.push_back(revision);
    }
    std::sort(idle.begin(), idle.end(), [](const Object& a, const Object& b) {
      return Number(*a, {"revision"}) < Number(*b, {"revision"});
    });
    int64_t excess = static_cast<int64_t>(idle.size()) -
                     Number(ds_, {"spec", "revisionHistoryLimit"}, 10);
    for (int64_t i = 0; i < excess; ++i) {
      plan_.writes.push_back(
          DeleteOf(kube::ControllerRevisions(), *idle[i], 2));
    }
  }

  void Status() {
    int desired = 0, current = 0, misscheduled = 0, ready = 0, updated = 0,
        available = 0;
    for (auto& [name, at] : nodes_) {
      const Json* pod = FirstActive(at.current);
      bool is_new = pod != nullptr;
      const Json* old = FirstActive(at.old);
      if (pod == nullptr || (old != nullptr && !IsPodReady(*pod))) {
        if (old != nullptr) pod = old;
      }
      if (!at.should_run) {
        misscheduled += pod != nullptr;
        continue;
      }
      ++desired;
      if (pod == nullptr) continue;
      ++current;
      ready += IsPodReady(*pod);
      available += IsAvailable(*pod);
      updated += is_new;
    }
    Json status = {{"currentNumberScheduled", current},
                   {"numberMisscheduled", misscheduled},
                   {"desiredNumberScheduled", desired},
                   {"numberReady", ready},
                   {"observedGeneration", Generation(ds_)}};
    auto set = [&](const char* field, int value) {
      if (value > 0) status[field] = value;
    };
    set("updatedNumberScheduled", updated);
    set("numberAvailable", available);
    set("numberUnavailable", desired - available);
    for (const char* kept : {"conditions", "collisionCount"}) {
      const Json& value = Get(ds_, {"status", kept});
      if (!value.is_null()) status[kept] = value;
    }
    if (Get(ds_, {"status"}) == status) return;
    Json object = ds_;
    object["status"] = std::move(status);
    plan_.writes.push_back(StatusOf(kube::DaemonSets(), std::move(object)));
  }

  const DaemonSetFacts& facts_;
  const Json& ds_;
  absl::Time now_;
  std::string hash_;  // of the present template
  std::vector<Object> pods_;
  std::map<std::string, OnNode> nodes_;
  int changes_ = 0;
  Plan plan_;
};

}  // namespace

Json RevisionData(const Json& daemon_set) {
  Json wanted = Get(daemon_set, {"spec", "template"});
  if (!wanted.is_object()) wanted = Json::object();
  wanted["$patch"] = "replace";
  return {{"spec", {{"template", std::move(wanted)}}}};
}

Json DaemonTolerations(const Json& pod_spec) {
  Json tolerations = Get(pod_spec, {"tolerations"});
  if (!tolerations.is_array()) tolerations = Json::array();
  auto add = [&](const char* name, const char* effect) {
    Json wanted = {{"key", StrCat("node.kubernetes.io/", name)},
                   {"operator", "Exists"},
                   {"effect", effect}};
    if (std::find(tolerations.begin(), tolerations.end(), wanted) ==
        tolerations.end()) {
      tolerations.push_back(std::move(wanted));
    }
  };
  add("not-ready", "NoExecute");
  add("unreachable", "NoExecute");
  add("disk-pressure", "NoSchedule");
  add("memory-pressure", "NoSchedule");
  add("pid-pressure", "NoSchedule");
  add("unschedulable", "NoSchedule");
  if (Flag(pod_spec, {"hostNetwork"})) {
    add("network-unavailable", "NoSchedule");
  }
  return tolerations;
}

Plan PlanDaemonSet(const DaemonSetFacts& facts, absl::Time now) {
  return Daemons(facts, now).Make();
}

DaemonSetController::DaemonSetController(const Context& context)
    : context_(context),
      shell_(context, "daemonset-controller",
             [this](const std::string& key, const Shell::Answers&) {
               Object ds = context_.informers->Of(kube::DaemonSets()).Get(key);
               if (ds == nullptr) return Plan();
               return PlanDaemonSet(Facts(ds), context_.clock->Now());
             }) {
  Informers& informers = *context.informers;
  informers.Of(kube::DaemonSets())
      .Subscribe([this](const Object& before, const Object& after) {
        shell_.Add(kube::KeyOf(after != nullptr ? *after : *before));
      });
  informers.Of(kube::ControllerRevisions())
      .Subscribe([this](const Object& before, const Object& after) {
        const Json& revision = after != nullptr ? *after : *before;
        const Json* owner = ControllerOf(revision);
        if (owner != nullptr && Text(*owner, {"kind"}) == "DaemonSet") {
          shell_.Add(StrCat(Namespace(revision), "/", Text(*owner, {"name"})));
        }
      });
  informers.Of(kube::Pods())
      .Subscribe([this](const Object& before, const Object& after) {
        PodChanged(before, after);
      });
  informers.Of(kube::Nodes())
      .Subscribe([this](const Object& before, const Object& after) {
        // Heartbeats change nothing here.
        if (before != nullptr && after != nullptr &&
            Get(*before, {"spec"}) == Get(*after, {"spec"}) &&
            Get(*before, {"metadata", "labels"}) ==
                Get(*after, {"metadata", "labels"})) {
          return;
        }
        AddAll();
      });
}

void DaemonSetController::AddAll() {
  context_.informers->Of(kube::DaemonSets()).ForEach([&](const Object& ds) {
    shell_.Add(kube::KeyOf(*ds));
  });
}

DaemonSetFacts DaemonSetController::Facts(const Object& ds) const {
  Informers& informers = *context_.informers;
  DaemonSetFacts facts{.daemon_set = ds};
  informers.Of(kube::Nodes()).ForEach([&](const Object& node) {
    facts.nodes.push_back(node);
  });
  const Json& selector = Get(*ds, {"spec", "selector"});
  facts.pods = informers.Of(kube::Pods()).ByIndex("controller", Uid(*ds));
  for (const Object& pod :
       informers.Of(kube::Pods()).ByIndex("orphan", Namespace(*ds))) {
    if (SelectorMatches(selector, Get(*pod, {"metadata", "labels"}))) {
      facts.pods.push_back(pod);
    }
  }
  facts.revisions =
      informers.Of(kube::ControllerRevisions()).ByIndex("controller",
                                                        Uid(*ds));
  return facts;
}

void DaemonSetController::PodChanged(const Object& before,
                                     const Object& after) {
  const Json& pod = after != nullptr ? *after : *before;
  const Json* owner = ControllerOf(pod);
  if (owner != nullptr) {
    if (Text(*owner, {"kind"}) == "DaemonSet") {
      shell_.Add(StrCat(Namespace(pod), "/", Text(*owner, {"name"})));
    }
    return;
  }
  for (const Object& ds : context_.informers->Of(kube::DaemonSets())
                              .ByIndex("namespace", Namespace(pod))) {
    if (SelectorMatches(Get(*ds, {"spec", "selector"}),
                        Get(pod, {"metadata", "labels"}))) {
      shell_.Add(kube::KeyOf(*ds));
    }
  }
}

}  // namespace fairlead::controllers
