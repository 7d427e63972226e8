// SPDX-License-Identifier: Apache-2.0
#include "control/controllers/rollout.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "control/api/int_or_string.h"
#include "userspace/base/strings.h"

namespace fairlead::controllers {
namespace {

int AnnotatedNumber(const Json& object, const char* key, int otherwise) {
  int value = 0;
  return absl::SimpleAtoi(Absl(Annotation(object, key)), &value) ? value
                                                                 : otherwise;
}

bool IsOlder(const ReplicaSetState& a, const ReplicaSetState& b) {
  absl::Time at = CreationTime(*a.object), bt = CreationTime(*b.object);
  if (at != bt) return at < bt;
  return Name(*a.object) < Name(*b.object);
}

int Scaled(const Json& value, int total, api::Rounding rounding,
           int otherwise) {
  if (value.is_null()) return otherwise;
  return std::max(
      0, api::ScaleIntOrPercent(value, total, rounding).value_or(otherwise));
}

}  // namespace

RolloutSpec RolloutSpecOf(const Json& deployment) {
  RolloutSpec spec;
  spec.replicas = static_cast<int>(Number(deployment, {"spec", "replicas"}, 1));
  spec.paused = Flag(deployment, {"spec", "paused"});
  spec.recreate =
      Text(deployment, {"spec", "strategy", "type"}) == "Recreate";
  spec.revision_history_limit = static_cast<int>(
      Number(deployment, {"spec", "revisionHistoryLimit"}, 10));
  int64_t deadline =
      Number(deployment, {"spec", "progressDeadlineSeconds"}, 600);
  if (deadline < std::numeric_limits<int32_t>::max()) {
    spec.progress_deadline = absl::Seconds(deadline);
  }
  if (spec.recreate) return spec;
  const Json& rolling = Get(deployment, {"spec", "strategy", "rollingUpdate"});
  static const Json kQuarter = "25%";
  const Json& surge = Get(rolling, {"maxSurge"});
  const Json& unavailable = Get(rolling, {"maxUnavailable"});
  spec.max_surge = Scaled(surge.is_null() ? kQuarter : surge, spec.replicas,
                          api::Rounding::kUp, 1);
  spec.max_unavailable =
      Scaled(unavailable.is_null() ? kQuarter : unavailable, spec.replicas,
             api::Rounding::kDown, 0);
  if (spec.max_surge == 0 && spec.max_unavailable == 0) {
    spec.max_unavailable = 1;
  }
  spec.max_unavailable = std::min(spec.max_unavailable, spec.replicas);
  return spec;
}

ReplicaSetState StateOf(const Object& rs) {
  auto status = [&rs](const char* field) {
    return static_cast<int>(Number(*rs, {"status", field}));
  };
  int replicas = static_cast<int>(Number(*rs, {"spec", "replicas"}, 1));
  return {.object = rs,
          .replicas = replicas,
          .available = status("availableReplicas"),
          .pods = std::max(replicas, status("replicas")),
          .lagging = status("observedGeneration") < Generation(*rs)};
}

int NewReplicas(const RolloutSpec& spec, int total, int current) {
  if (spec.recreate || current > spec.replicas) return spec.replicas;
  int room = spec.replicas + spec.max_surge - total;
  if (room <= 0) return current;
  return current + std::min(room, spec.replicas - current);
}

bool ScaleDownOld(const RolloutSpec& spec, std::vector<ReplicaSetState>& old,
                  const ReplicaSetState& current) {
  int total = current.replicas;
  for (const auto& rs : old) total += rs.replicas;
  if (total == current.replicas) return false;
  int min_available = spec.replicas - spec.max_unavailable;
  // New replicas that are not available yet are not counted on.
  int may_go =
      total - min_available - (current.replicas - current.available);
  if (may_go <= 0) return false;
  std::sort(old.begin(), old.end(), IsOlder);
  bool changed = false;
  int available = current.available;
  for (auto& rs : old) {
    int sick = std::min(may_go, std::max(0, rs.replicas - rs.available));
    rs.replicas -= sick;
    may_go -= sick;
    changed |= sick > 0;
    // Of the old ones, those that stay wanted.
    available += std::min(rs.available, rs.replicas);
  }
  int spare = std::min(available - min_available, may_go);
  for (auto& rs : old) {
    if (spare <= 0) break;
    int gone = std::min(rs.replicas, spare);
    rs.replicas -= gone;
    spare -= gone;
    changed |= gone > 0;
  }
  return changed;
}

bool ScaleProportionally(const RolloutSpec& spec, int status_replicas,
                         std::vector<ReplicaSetState>& old,
                         ReplicaSetState* current) {
  std::vector<ReplicaSetState*> all;
  for (auto& rs : old) all.push_back(&rs);
  if (current != nullptr) all.push_back(current);
  std::vector<ReplicaSetState*> active;
  for (auto* rs : all) {
    if (rs->replicas > 0) active.push_back(rs);
  }
  auto set = [](ReplicaSetState* rs, int replicas) {
    bool changes = rs->replicas != replicas;
    rs->replicas = replicas;
    return changes;
  };
  if (active.size() <= 1) {
    // The one that is in use, or the newest.
    ReplicaSetState* only = current;
    if (!active.empty()) only = active[0];
    if (only == nullptr && !all.empty()) {
      only = *std::max_element(all.begin(), all.end(), [](auto* a, auto* b) {
        return IsOlder(*a, *b);
      });
    }
    return only != nullptr && set(only, spec.replicas);
  }
  bool changed = false;
  // Complete, and for this size.
  if (current != nullptr && current->replicas == spec.replicas &&
      current->available == spec.replicas &&
      AnnotatedNumber(*current->object, kDesiredReplicas, -1) ==
          spec.replicas) {
    for (auto& rs : old) changed |= set(&rs, 0);
    return changed;
  }
  if (spec.recreate) return false;
  int total = 0;
  for (auto* rs : active) total += rs->replicas;
  int allowed = spec.replicas > 0 ? spec.replicas + spec.max_surge : 0;
  int to_add = allowed - total;
  // The biggest take the rounding; of equals, the newer grow and the older
  // shrink.
  std::sort(active.begin(), active.end(), [&](auto* a, auto* b) {
    if (a->replicas != b->replicas) return a->replicas > b->replicas;
    return to_add > 0 ? IsOlder(*b, *a) : IsOlder(*a, *b);
  });
  int added = 0;
  std::vector<int> sizes;
  for (auto* rs : active) {
    int share = 0;
    int left = to_add - added;
    if (left != 0 && spec.replicas == 0) {
      share = std::max(-rs->replicas, left);
    } else if (left != 0) {
      int before = AnnotatedNumber(*rs->object, kMaxReplicas, status_replicas);
      double size = before <= 0 ? rs->replicas
                                : static_cast<double>(rs->replicas) * allowed /
                                      before;
      share = static_cast<int>(std::lround(size)) - rs->replicas;
      share = to_add > 0 ? std::clamp(share, 0, left)
                         : std::clamp(share, left, 0);
    }
    added += share;
    sizes.push_back(rs->replicas + share);
  }
  sizes[0] = std::max(0, sizes[0] + to_add - added);
  for (size_t i = 0; i < active.size(); ++i) {
    changed |= set(active[i], std::max(0, sizes[i]));
  }
  return changed;
}

std::string TemplateHash(const Json& pod_template, int collisions) {
  uint32_t hash = 2166136261u;
  auto mix = [&hash](std::string_view bytes) {
    for (unsigned char c : bytes) hash = (hash ^ c) * 16777619u;
  };
  // Keys of a Json are sorted, so equal templates have equal texts.
  mix(pod_template.dump(-1, ' ', false, Json::error_handler_t::replace));
  if (collisions > 0) mix(std::to_string(collisions));
  constexpr std::string_view kLetters = "bcdfghjklmnpqrstvwxz2456789";
  std::string text = std::to_string(hash);
  for (char& c : text) {
    c = kLetters[static_cast<unsigned char>(c) % kLetters.size()];
  }
  return text;
}

}  // namespace fairlead::controllers
