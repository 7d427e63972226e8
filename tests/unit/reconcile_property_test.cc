// SPDX-License-Identifier: Apache-2.0
// Random histories of objects: what must hold after every single operation,
// and what must be there at the end whatever the way to it was.
#include <arpa/inet.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/golden/fake_maps.h"
#include "userspace/base/strings.h"
#include "userspace/model/cluster.h"
#include "userspace/reconcile/reconciler.h"

namespace fairlead::reconcile {
namespace {

using ::testing::IsEmpty;

constexpr absl::Duration kGrace = absl::Seconds(10);
constexpr MapSet::Capacity kSmall = {.services = 1000,
                                     .slots = 2000,
                                     .backends = 400,
                                     .source_ranges = 100,
                                     .node_addresses = 10};

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }

// Objects over a universe so small that everything meets everything.
class Objects {
 public:
  Objects(uint32_t seed, bool conflicts)
      : random_(seed), conflicts_(conflicts) {}

  uint32_t Below(uint32_t n) { return random_() % n; }
  bool OneIn(uint32_t n) { return Below(n) == 0; }

  void Mutate(model::Cluster* cluster) {
    const uint32_t index = Below(6);
    if (OneIn(3)) {
      PutService(index, cluster);
    } else if (OneIn(12)) {
      cluster->DeleteService(StrCat("ns/svc-", index));
      services_.erase(index);
    } else if (OneIn(10)) {
      const std::string key = StrCat("ns/slice-", index, "-", Below(3));
      cluster->DeleteEndpointSlice(key);
      slices_.erase(key);
    } else {
      PutSlice(index, cluster);
    }
  }

  void PutAll(model::Cluster* cluster) const {
    for (const auto& [index, service] : services_) {
      cluster->PutService(service);
    }
    for (const auto& [key, slice] : slices_) cluster->PutEndpointSlice(slice);
  }

  void MarkAllDirty(model::Cluster* cluster) const {
    for (uint32_t i = 0; i < 6; ++i) cluster->MarkDirty(StrCat("ns/svc-", i));
  }

  static model::NodeConfig Node() {
    model::NodeConfig node;
    node.name = "node-0";
    node.zone = "zone-0";
    node.addresses = {{Ip("192.0.2.10"), true}};
    return node;
  }

 private:
  void PutService(uint32_t index, model::Cluster* cluster) {
    kube::Service s;
    s.meta.ns = "ns";
    s.meta.name = StrCat("svc-", index);
    s.cluster_ips = {Ip(StrCat("10.96.0.", index + 1))};
    if (OneIn(3)) s.cluster_ips.push_back(Ip(StrCat("fd00:96::", index + 1)));
    s.headless = OneIn(12);
    s.internal_local = OneIn(4);
    s.external_local = OneIn(3);
    if (OneIn(4)) s.affinity = absl::Seconds(10 + Below(2));
    const uint32_t shared = conflicts_ ? Below(3) : index;
    const uint32_t ports = 1 + Below(2);
    for (uint32_t p = 0; p < ports; ++p) {
      kube::ServicePort port;
      port.name = p == 0 ? "a" : "b";
      port.port = 80 + p;
      if (OneIn(2)) port.node_port = 30000 + 2 * shared + p;
      s.ports.push_back(port);
    }
    if (OneIn(3)) {
      s.load_balancer_vips = {Ip(StrCat("203.0.113.", shared + 1))};
      if (OneIn(2)) s.source_ranges = {*IpPrefix::Parse("198.51.100.0/24")};
      if (OneIn(4)) s.source_ranges.push_back(*IpPrefix::Parse("192.0.2.0/24"));
    }
    if (OneIn(5)) s.external_ips = {Ip(StrCat("203.0.113.", 101 + shared))};
    services_[index] = s;
    cluster->PutService(s);
  }

  void PutSlice(uint32_t index, model::Cluster* cluster) {
    const uint32_t which = Below(3);
    kube::EndpointSlice s;
    s.meta.ns = "ns";
    s.meta.name = StrCat("slice-", index, "-", which);
    s.service_name = StrCat("svc-", index);
    s.family = which == 2 ? IpFamily::kIpv6 : IpFamily::kIpv4;
    for (uint32_t p = 0; p < 2; ++p) {
      s.ports.push_back({p == 0 ? "a" : "b", Protocol::kTcp,
                         static_cast<Port>(8080 + Below(2))});
    }
    const uint32_t count = OneIn(8) ? 14 : Below(5);
    for (uint32_t i = 0; i < count; ++i) {
      kube::Endpoint e;
      e.address = Ip(StrCat(which == 2 ? "fd00:244::" : "10.244.0.",
                            1 + Below(20)));
      if (OneIn(4)) e.ready = false;
      if (!e.ready && OneIn(2)) e.serving = false;
      if (!e.ready && OneIn(2)) e.terminating = true;
      e.node_name = StrCat("node-", Below(3));
      if (OneIn(3)) e.zone_hints = {StrCat("zone-", Below(2))};
      s.endpoints.push_back(e);
    }
    slices_[StrCat("ns/", s.meta.name)] = s;
    cluster->PutEndpointSlice(s);
  }

  std::mt19937 random_;
  bool conflicts_;
  std::map<uint32_t, kube::Service> services_;
  std::map<std::string, kube::EndpointSlice> slices_;
};

// Watches each operation as the programs would see it.
class Witness {
 public:
  Witness(const FakeMaps* maps, absl::Duration* now)
      : maps_(maps), now_(now) {}

  // A frontend and side through which any start finds a live backend.
  using Usable = std::map<std::string, bool>;
  Usable FindUsable() const {
    Usable out;
    EXPECT_TRUE(maps_->ForEachService([&](const fl_service_key& key,
                                          const fl_service& value) {
      if (IsMark(key)) return;
      out[ToString(key) + " internal"] = IsUsable(
          value.flags >> FL_SERVICE_INTERNAL_VERDICT_SHIFT, value.internal);
      out[ToString(key) + " external"] = IsUsable(
          value.flags >> FL_SERVICE_EXTERNAL_VERDICT_SHIFT, value.external);
    }).ok());
    return out;
  }

  // Who may answer there.
  using Answers = std::map<std::string, std::set<std::string>>;
  Answers FindAnswers() const {
    Answers out;
    EXPECT_TRUE(maps_->ForEachService([&](const fl_service_key& key,
                                          const fl_service& value) {
      AddAnswers(value.internal, &out[ToString(key) + " internal"]);
      AddAnswers(value.external, &out[ToString(key) + " external"]);
    }).ok());
    return out;
  }

  void See(const Operation& operation) {
    log_.push_back(ToString(operation));
    EXPECT_THAT(CheckReadable(*maps_), IsEmpty()) << log_.back();
    if (auto* slots = std::get_if<PutSlots>(&operation)) {
      for (uint32_t i = 0; i < slots->backend_ids.size(); ++i) {
        EXPECT_TRUE(MayReuse(slot_seen_, slots->base + i)) << log_.back();
      }
    }
    if (auto* backend = std::get_if<PutBackend>(&operation)) {
      EXPECT_TRUE(MayReuse(backend_seen_, backend->id)) << log_.back();
      uint32_t& generation = generations_[backend->id];
      EXPECT_GT(backend->value.generation, generation) << log_.back();
      generation = backend->value.generation;
    }
    if (strict_) {
      steps_.push_back(FindUsable());
      step_answers_.push_back(FindAnswers());
    }
    Remember();
  }

  void BeginBatch(bool strict) {
    strict_ = strict;
    log_.clear();
    steps_.clear();
    step_answers_.clear();
    before_ = FindUsable();
    before_answers_ = FindAnswers();
    Remember();
  }
  // What could be used before and can be used now could be all the time, and
  // nobody has answered who doesn't before or now.
  void EndBatch() {
    if (!strict_) return;
    Usable after = FindUsable();
    for (const auto& [name, usable] : before_) {
      if (!usable || !after[name]) continue;
      for (size_t i = 0; i < steps_.size(); ++i) {
        EXPECT_TRUE(steps_[i][name]) << name << " after " << log_[i] << "\n"
                                     << Log();
      }
    }
    Answers after_answers = FindAnswers();
    for (size_t i = 0; i < step_answers_.size(); ++i) {
      for (const auto& [name, answers] : step_answers_[i]) {
        for (const std::string& who : answers) {
          EXPECT_TRUE(before_answers_[name].contains(who) ||
                      after_answers[name].contains(who))
              << who << " at " << name << " after " << log_[i] << "\n"
              << Log();
        }
      }
    }
  }
  std::string Log() const {
    std::string out;
    for (const std::string& line : log_) StrAppend(&out, line, "\n");
    return out;
  }
  size_t operations() const { return log_.size(); }
  // A restarted process doesn't know what is in its grace period.
  void Forget() {
    slot_seen_.clear();
    backend_seen_.clear();
  }

 private:
  bool IsUsable(uint32_t verdict, const fl_selection& range) const {
    if ((verdict & FL_SERVICE_VERDICT_MASK) != FL_VERDICT_FORWARD) {
      return false;
    }
    for (uint32_t start = 0; start < range.count; ++start) {
      bool found = false;
      for (uint32_t i = 0; i < FL_SELECT_TRIES && i < range.count; ++i) {
        const uint32_t id =
            maps_->slot(range.base + (start + i) % range.count);
        found |= maps_->backend(id).state == FL_BACKEND_ON;
      }
      if (!found) return false;
    }
    return true;
  }

  void AddAnswers(const fl_selection& range,
                  std::set<std::string>* answers) const {
    for (uint32_t i = 0; i < range.count; ++i) {
      const fl_backend& backend = maps_->backend(maps_->slot(range.base + i));
      if (backend.state != FL_BACKEND_ON) continue;
      answers->insert(StrCat(FromAbi(backend.addr).ToString(), " ",
                             ntohs(backend.port)));
    }
  }

  bool MayReuse(const std::map<uint32_t, absl::Duration>& seen,
                uint32_t id) const {
    auto it = seen.find(id);
    return it == seen.end() || it->second + kGrace <= *now_;
  }

  void Remember() {
    EXPECT_TRUE(maps_->ForEachService([&](const fl_service_key&,
                                          const fl_service& value) {
      for (const fl_selection& range : {value.internal, value.external}) {
        for (uint32_t i = 0; i < range.count; ++i) {
          slot_seen_[range.base + i] = *now_;
          backend_seen_[maps_->slot(range.base + i)] = *now_;
        }
      }
    }).ok());
  }

  const FakeMaps* maps_;
  absl::Duration* now_;
  bool strict_ = true;
  std::vector<std::string> log_;
  Usable before_;
  std::vector<Usable> steps_;
  Answers before_answers_;
  std::vector<Answers> step_answers_;
  std::map<uint32_t, absl::Duration> slot_seen_;
  std::map<uint32_t, absl::Duration> backend_seen_;
  std::map<uint32_t, uint32_t> generations_;
};

// Entries that only wait for their flows to end depend on the past.
std::vector<std::string> Settled(const MapSet& maps) {
  std::vector<std::string> lines = DumpMaps(maps, /*ids=*/false);
  lines.erase(std::remove_if(lines.begin(), lines.end(),
                             [](const std::string& line) {
                               return line.starts_with("backend ") &&
                                      !line.ends_with(" on");
                             }),
              lines.end());
  return lines;
}

class World {
 public:
  World(uint32_t seed, bool conflicts)
      : objects(seed, conflicts),
        cluster(Objects::Node()),
        maps(kSmall),
        witness(&maps, &now) {
    Start();
  }

  void Start() {
    ReconcilerOptions options;
    options.grace = kGrace;
    options.on_operation = [this](const Operation& operation,
                                  const absl::Status& status) {
      if (status.ok()) witness.See(operation);
    };
    reconciler = std::make_unique<Reconciler>(&maps, options);
    ASSERT_TRUE(reconciler->Restore().ok());
  }
  void Restart() {
    witness.Forget();
    Start();
    objects.MarkAllDirty(&cluster);
  }
  ApplyResult Apply(bool strict) {
    witness.BeginBatch(strict);
    ApplyResult result = reconciler->Apply(&cluster, now);
    witness.EndBatch();
    EXPECT_EQ(result.operations, witness.operations());
    return result;
  }
  // Killed after so many operations; then what the next start does. False: it
  // got to the end.
  bool ApplyAndCrash(size_t operations) {
    size_t tried = 0;
    maps.fault = [&](std::string_view) {
      return tried++ < operations ? absl::OkStatus()
                                  : absl::InternalError("killed");
    };
    witness.BeginBatch(true);
    (void)reconciler->Apply(&cluster, now);
    maps.fault = nullptr;
    Restart();
    EXPECT_TRUE(reconciler->Apply(&cluster, now).ok());
    witness.EndBatch();
    return tried > operations;
  }
  void Pass(absl::Duration time) {
    now += time;
    witness.BeginBatch(false);
    EXPECT_TRUE(reconciler->Advance(now).ok());
  }

  absl::Duration now = absl::Seconds(1000);
  Objects objects;
  model::Cluster cluster;
  FakeMaps maps;
  Witness witness;
  std::unique_ptr<Reconciler> reconciler;
};

std::vector<std::string> FromScratch(model::Cluster* cluster,
                                     const Objects& objects) {
  FakeMaps maps(kSmall);
  Reconciler reconciler(&maps, {});
  EXPECT_TRUE(reconciler.Restore().ok());
  objects.MarkAllDirty(cluster);
  EXPECT_TRUE(reconciler.Apply(cluster, absl::ZeroDuration()).ok());
  return Settled(maps);
}

class ReconcileProperty : public ::testing::TestWithParam<uint32_t> {};

TEST_P(ReconcileProperty, AnyHistoryEndsAsIfFromScratch) {
  World world(GetParam(), /*conflicts=*/false);
  for (int step = 0; step < 60 && !HasFailure(); ++step) {
    const uint32_t mutations = 1 + world.objects.Below(3);
    for (uint32_t i = 0; i < mutations; ++i) {
      world.objects.Mutate(&world.cluster);
    }
    EXPECT_TRUE(world.Apply(true).ok());
    world.Pass(absl::Seconds(world.objects.Below(5)));
    model::Cluster fresh(Objects::Node());
    world.objects.PutAll(&fresh);
    EXPECT_EQ(Settled(world.maps), FromScratch(&fresh, world.objects))
        << world.witness.Log();
  }
  EXPECT_THAT(world.cluster.problems(), IsEmpty());
}

TEST_P(ReconcileProperty, ConflictsDontBreakAnything) {
  World world(GetParam(), /*conflicts=*/true);
  for (int step = 0; step < 60 && !HasFailure(); ++step) {
    world.objects.Mutate(&world.cluster);
    EXPECT_TRUE(world.Apply(true).ok());
    world.Pass(absl::Seconds(world.objects.Below(5)));
    EXPECT_EQ(Settled(world.maps),
              FromScratch(&world.cluster, world.objects));
  }
}

TEST_P(ReconcileProperty, UnchangedMeansNoOperation) {
  World world(GetParam(), /*conflicts=*/true);
  for (int step = 0; step < 40 && !HasFailure(); ++step) {
    world.objects.Mutate(&world.cluster);
    EXPECT_TRUE(world.Apply(true).ok());
    world.objects.MarkAllDirty(&world.cluster);
    world.Apply(true);
    EXPECT_EQ(world.witness.operations(), 0u) << world.witness.Log();
    world.Pass(absl::Seconds(world.objects.Below(5)));
  }
}

TEST_P(ReconcileProperty, ARestartFindsEverythingAgain) {
  World world(GetParam(), /*conflicts=*/false);
  for (int step = 0; step < 40 && !HasFailure(); ++step) {
    world.objects.Mutate(&world.cluster);
    EXPECT_TRUE(world.Apply(true).ok());
    world.Pass(absl::Seconds(world.objects.Below(5)));
    world.Restart();
    if (world.objects.OneIn(2)) {
      world.Apply(true);
      EXPECT_EQ(world.witness.operations(), 0u) << world.witness.Log();
    } else {
      world.objects.Mutate(&world.cluster);
      EXPECT_TRUE(world.Apply(true).ok());
    }
    EXPECT_EQ(Settled(world.maps),
              FromScratch(&world.cluster, world.objects));
  }
}

TEST_P(ReconcileProperty, FaultsAreRetriedToTheSameEnd) {
  World world(GetParam(), /*conflicts=*/true);
  for (int step = 0; step < 60 && !HasFailure(); ++step) {
    world.objects.Mutate(&world.cluster);
    world.maps.fault = [&](std::string_view) {
      return world.objects.OneIn(6) ? absl::InternalError("fault")
                                    : absl::OkStatus();
    };
    const bool failed = !world.Apply(false).ok();
    if (world.objects.OneIn(3)) {  // killed in the middle
      world.maps.fault = nullptr;
      world.Restart();
    } else if (failed && world.objects.OneIn(2)) {
      world.now += absl::Seconds(world.objects.Below(5));
      world.Apply(false);
    }
    world.maps.fault = nullptr;
    EXPECT_TRUE(world.Apply(false).ok());
    EXPECT_EQ(Settled(world.maps),
              FromScratch(&world.cluster, world.objects));
    world.Pass(absl::Seconds(world.objects.Below(5)));
  }
}

// The same history again and again, killed one operation later each time.
TEST_P(ReconcileProperty, ACrashAfterAnyOperationIsMended) {
  constexpr int kSteps = 12;
  const int at = static_cast<int>(GetParam() % kSteps);
  bool crashed = true;
  for (size_t operations = 0; crashed && !HasFailure(); ++operations) {
    World world(GetParam(), /*conflicts=*/false);
    for (int step = 0; step < kSteps; ++step) {
      for (int i = 0; i < 3; ++i) world.objects.Mutate(&world.cluster);
      if (step == at) {
        crashed = world.ApplyAndCrash(operations);
      } else {
        EXPECT_TRUE(world.Apply(true).ok());
      }
      world.Pass(absl::Seconds(1));
    }
    EXPECT_EQ(Settled(world.maps),
              FromScratch(&world.cluster, world.objects))
        << "killed after " << operations << " operations";
  }
}

TEST_P(ReconcileProperty, NothingIsLeftWhenAllIsDeleted) {
  World world(GetParam(), /*conflicts=*/true);
  for (int step = 0; step < 40; ++step) {
    world.objects.Mutate(&world.cluster);
    world.Apply(true);
  }
  for (int i = 0; i < 6; ++i) {
    world.cluster.DeleteService(StrCat("ns/svc-", i));
  }
  world.Apply(true);
  world.Pass(kGrace);
  EXPECT_THAT(DumpMaps(world.maps, true),
              ::testing::ElementsAre("node 192.0.2.10 node-port"));
  const Reconciler::Stats stats = world.reconciler->stats();
  EXPECT_EQ(stats.slots_used, 0u);
  EXPECT_EQ(stats.backends, 0u);
  EXPECT_EQ(stats.services, 0u);
  EXPECT_EQ(world.reconciler->NextDue(), std::nullopt);
}

// More histories: FAIRLEAD_SEEDS=1000 reconcile_property_test
uint32_t Seeds() {
  const char* text = std::getenv("FAIRLEAD_SEEDS");
  return text == nullptr ? 2 : static_cast<uint32_t>(std::atoi(text));
}
INSTANTIATE_TEST_SUITE_P(Seeds, ReconcileProperty,
                         ::testing::Range(9u, 9 + Seeds()));

}  // namespace
}  // namespace fairlead::reconcile
