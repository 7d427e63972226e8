// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "control/scheduler/decision.h"
#include "control/scheduler/plugin.h"
#include "userspace/base/strings.h"

namespace fairlead::scheduler {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

PodView PodOf(const std::string& spec, const std::string& uid = "p",
              const std::string& owner = "") {
  Json pod = {{"metadata",
               {{"namespace", "default"}, {"name", uid}, {"uid", uid}}},
              {"spec", Json::parse(spec)}};
  if (!owner.empty()) {
    pod["metadata"]["ownerReferences"] =
        Json::array({{{"uid", owner}, {"controller", true}}});
  }
  return PodViewOf(std::make_shared<const Json>(pod));
}

Object NodeObject(const std::string& name, const std::string& overrides) {
  Json node = {{"metadata", {{"name", name}}},
               {"status",
                {{"allocatable",
                  {{"cpu", "2"}, {"memory", "4Gi"}, {"pods", "10"}}}}}};
  node.merge_patch(Json::parse(overrides));
  return std::make_shared<const Json>(node);
}

struct Placed {
  const char* node;
  const char* spec;
  const char* owner = "";
};

Snapshot SnapshotOf(const std::map<std::string, std::string>& nodes,
                    const std::vector<Placed>& pods = {}) {
  Cache cache;
  for (const auto& [name, overrides] : nodes) {
    cache.SetNode(NodeObject(name, overrides));
  }
  int i = 0;
  for (const Placed& p : pods) {
    cache.Assume(PodOf(p.spec, StrCat("placed", i++), p.owner), p.node);
  }
  return cache.TakeSnapshot();
}

constexpr char kAny[] = R"({"containers": [{}]})";
constexpr char kCpu1[] =
    R"({"containers": [{"resources": {"requests": {"cpu": "1"}}}]})";

// --- filters, row by row

struct FilterRow {
  const char* name;
  Reasons (*filter)(const PodView&, const NodeView&);
  std::string pod;
  std::string node;
  std::vector<std::string> want;
};
class FilterTest : public testing::TestWithParam<FilterRow> {};

TEST_P(FilterTest, Row) {
  const FilterRow& row = GetParam();
  Snapshot snapshot = SnapshotOf({{"n1", row.node}}, {{"n1", kCpu1}});
  EXPECT_EQ(row.filter(PodOf(row.pod), *snapshot[0]), row.want) << row.name;
}

std::string Affinity(const std::string& terms) {
  return StrCat(R"({"affinity": {"nodeAffinity": {
      "requiredDuringSchedulingIgnoredDuringExecution":
      {"nodeSelectorTerms": )",
                terms, "}}}}");
}
constexpr char kNoMatch[] = "node(s) didn't match Pod's node affinity/selector";
constexpr char kTainted[] = "node(s) had untolerated taint(s)";
constexpr char kGpuTaint[] =
    R"({"spec": {"taints": [{"key": "gpu", "value": "a",
                             "effect": "NoSchedule"}]}})";
constexpr char kZoneA[] = R"({"metadata": {"labels": {"zone": "a",
                                                       "size": "5"}}})";

INSTANTIATE_TEST_SUITE_P(
    Rows, FilterTest,
    testing::Values(
        FilterRow{"fits", FilterResources, kCpu1, "{}", {}},
        FilterRow{"exactly fits", FilterResources,
                  R"({"containers": [{"resources": {"requests":
                     {"cpu": "500m", "memory": "4Gi"}}},
                     {"resources": {"requests": {"cpu": "500m"}}}]})",
                  "{}",
                  {}},
        FilterRow{"one milli too much", FilterResources,
                  R"({"containers": [{"resources": {"requests":
                     {"cpu": "1001m"}}}]})",
                  "{}",
                  {"Insufficient cpu"}},
        FilterRow{"two reasons", FilterResources,
                  R"({"containers": [{"resources": {"requests":
                     {"cpu": "2", "memory": "5Gi"}}}]})",
                  "{}",
                  {"Insufficient cpu", "Insufficient memory"}},
        FilterRow{"init containers count by their highest", FilterResources,
                  R"({"initContainers": [
                     {"resources": {"requests": {"cpu": "1"}}},
                     {"resources": {"requests": {"cpu": "1"}}}],
                     "containers": [{"resources": {"requests":
                     {"cpu": "500m"}}}]})",
                  "{}",
                  {}},
        FilterRow{"sidecars count beside", FilterResources,
                  R"({"initContainers": [{"restartPolicy": "Always",
                     "resources": {"requests": {"cpu": "600m"}}}],
                     "containers": [{"resources": {"requests":
                     {"cpu": "500m"}}}]})",
                  "{}",
                  {"Insufficient cpu"}},
        FilterRow{"full of pods", FilterResources, kAny,
                  R"({"status": {"allocatable": {"pods": "1"}}})",
                  {"Too many pods"}},
        FilterRow{"unknown resource", FilterResources,
                  R"({"containers": [{"resources": {"requests":
                     {"example.com/gpu": "1"}}}]})",
                  "{}",
                  {"Insufficient example.com/gpu"}},
        FilterRow{"selector", FilterNodeAffinity,
                  R"({"nodeSelector": {"zone": "a"}})", kZoneA, {}},
        FilterRow{"selector differs", FilterNodeAffinity,
                  R"({"nodeSelector": {"zone": "b"}})", kZoneA, {kNoMatch}},
        FilterRow{"selector, no labels", FilterNodeAffinity,
                  R"({"nodeSelector": {"zone": "a"}})", "{}", {kNoMatch}},
        FilterRow{"affinity In", FilterNodeAffinity,
                  Affinity(R"([{"matchExpressions": [{"key": "zone",
                     "operator": "In", "values": ["b", "a"]}]}])"),
                  kZoneA,
                  {}},
        FilterRow{"affinity Gt", FilterNodeAffinity,
                  Affinity(R"([{"matchExpressions": [{"key": "size",
                     "operator": "Gt", "values": ["4"]}]}])"),
                  kZoneA,
                  {}},
        FilterRow{"affinity Lt", FilterNodeAffinity,
                  Affinity(R"([{"matchExpressions": [{"key": "size",
                     "operator": "Lt", "values": ["5"]}]}])"),
                  kZoneA,
                  {kNoMatch}},
        FilterRow{"terms are alternatives", FilterNodeAffinity,
                  Affinity(R"([{"matchExpressions": [{"key": "zone",
                     "operator": "DoesNotExist"}]}, {"matchFields": [{"key":
                     "metadata.name", "operator": "In", "values":
                     ["n1"]}]}])"),
                  kZoneA,
                  {}},
        FilterRow{"an empty term matches nothing", FilterNodeAffinity,
                  Affinity("[{}]"), kZoneA, {kNoMatch}},
        FilterRow{"tainted", FilterTaints, kAny, kGpuTaint, {kTainted}},
        FilterRow{"tolerated by value", FilterTaints,
                  R"({"tolerations": [{"key": "gpu", "value": "a"}]})",
                  kGpuTaint,
                  {}},
        FilterRow{"another value", FilterTaints,
                  R"({"tolerations": [{"key": "gpu", "value": "b"}]})",
                  kGpuTaint,
                  {kTainted}},
        FilterRow{"tolerates everything", FilterTaints,
                  R"({"tolerations": [{"operator": "Exists"}]})", kGpuTaint,
                  {}},
        FilterRow{"another effect", FilterTaints,
                  R"({"tolerations": [{"key": "gpu", "operator": "Exists",
                     "effect": "NoExecute"}]})",
                  kGpuTaint,
                  {kTainted}},
        FilterRow{"soft taints don't filter", FilterTaints, kAny,
                  R"({"spec": {"taints": [{"key": "x",
                     "effect": "PreferNoSchedule"}]}})",
                  {}},
        FilterRow{"cordoned", FilterUnschedulable, kAny,
                  R"({"spec": {"unschedulable": true}})",
                  {"node(s) were unschedulable"}},
        FilterRow{"cordoned but tolerated", FilterUnschedulable,
                  R"({"tolerations": [{"key":
                     "node.kubernetes.io/unschedulable", "operator":
                     "Exists"}]})",
                  R"({"spec": {"unschedulable": true}})",
                  {}}));

// --- decisions

TEST(Decide, SpreadsPodsOfOneOwner) {
  Snapshot snapshot = SnapshotOf({{"n1", "{}"}, {"n2", "{}"}},
                                 {{"n1", kAny, "web"},
                                  {"n2", kCpu1, "other"},
                                  {"n2", kAny, "other"}});
  // n2 is fuller, but has none of web.
  EXPECT_EQ(Decide(PodOf(kAny, "p", "web"), snapshot).node, "n2");
  EXPECT_EQ(Decide(PodOf(kAny, "p", "third"), snapshot).node, "n1");
}

TEST(Decide, PrefersTheEmptierNode) {
  Snapshot snapshot =
      SnapshotOf({{"n1", "{}"}, {"n2", "{}"}}, {{"n1", kCpu1, "x"},
                                                {"n2", kAny, "y"}});
  EXPECT_EQ(Decide(PodOf(kAny, "p", "web"), snapshot).node, "n2");
}

TEST(Decide, AvoidsSoftTaints) {
  Snapshot snapshot = SnapshotOf(
      {{"n1", R"({"spec": {"taints": [{"key": "x",
                  "effect": "PreferNoSchedule"}]}})"},
       {"n2", "{}"}});
  EXPECT_EQ(Decide(PodOf(kAny, "p", "web"), snapshot).node, "n2");
}

TEST(Decide, PortsOfANodeBelongToOnePod) {
  const auto with = [](const std::string& port) {
    return StrCat(R"({"containers": [{"ports": [)", port, "]}]}");
  };
  const std::string tcp80 = with(
      R"({"hostPort": 80, "containerPort": 8080, "protocol": "TCP"})");
  const Snapshot taken = SnapshotOf({{"n1", "{}"}}, {{"n1", tcp80.c_str()}});
  const auto message = [&](const std::string& port) {
    return Decide(PodOf(with(port)), taken).message;
  };
  constexpr char kNone[] =
      "0/1 nodes are available: 1 node(s) didn't have free ports for the "
      "requested pod ports.";
  EXPECT_EQ(message(R"({"hostPort": 80, "containerPort": 1})"), kNone);
  EXPECT_EQ(message(R"({"hostPort": 80, "containerPort": 1,
                        "hostIP": "192.0.2.1"})"), kNone);
  EXPECT_EQ(message(R"({"hostPort": 80, "containerPort": 1,
                        "protocol": "UDP"})"), "");
  EXPECT_EQ(message(R"({"hostPort": 81, "containerPort": 8080})"), "");
  EXPECT_EQ(message(R"({"containerPort": 80})"), "");
  // Two addresses are two ports.
  const std::string first = with(
      R"({"hostPort": 80, "containerPort": 1, "hostIP": "192.0.2.1"})");
  EXPECT_EQ(Decide(PodOf(with(R"({"hostPort": 80, "containerPort": 1,
                                  "hostIP": "192.0.2.2"})")),
                   SnapshotOf({{"n1", "{}"}}, {{"n1", first.c_str()}})).node,
            "n1");
}

TEST(Decide, SaysWhyNoNodeFits) {
  EXPECT_EQ(Decide(PodOf(kAny), {}).message,
            "no nodes available to schedule pods");
  Snapshot snapshot = SnapshotOf(
      {{"n1", kGpuTaint},
       {"n2", R"({"spec": {"unschedulable": true}})"},
       {"n3", R"({"status": {"allocatable": {"cpu": "500m"}}})"},
       {"n4", R"({"status": {"allocatable": {"cpu": "500m"}}})"}});
  Decision decision = Decide(PodOf(kCpu1), snapshot);
  EXPECT_EQ(decision.node, "");
  EXPECT_EQ(decision.message,
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), "
            "1 node(s) were unschedulable, 2 Insufficient cpu.");
  snapshot.resize(2);
  // Nobody is in its way, and so preemption would not help it.
  EXPECT_EQ(Decide(PodOf(kCpu1), snapshot).message,
            "0/2 nodes are available: 1 node(s) had untolerated taint(s), "
            "1 node(s) were unschedulable. no new claims to deallocate, "
            "preemption: 0/2 nodes are available: 2 Preemption is not helpful "
            "for scheduling.");
}

// --- the cache

TEST(Cache, AssumedPodsTakeUpRoomUntilForgotten) {
  Cache cache;
  cache.SetNode(NodeObject("n1", "{}"));
  PodView two = PodOf(
      R"({"containers": [{"resources": {"requests": {"cpu": "2"}}}]})");
  Snapshot before = cache.TakeSnapshot();
  cache.Assume(two, "n1");
  EXPECT_TRUE(cache.IsAssumed("p"));
  EXPECT_EQ(Decide(PodOf(kCpu1, "q"), cache.TakeSnapshot()).node, "");
  // A snapshot is of its moment.
  EXPECT_EQ(Decide(PodOf(kCpu1, "q"), before).node, "n1");
  cache.Forget("p");
  EXPECT_EQ(Decide(PodOf(kCpu1, "q"), cache.TakeSnapshot()).node, "n1");
}

TEST(Cache, ConfirmedPodsAreNotForgotten) {
  Cache cache;
  cache.SetNode(NodeObject("n1", "{}"));
  PodView pod = PodOf(kCpu1);
  cache.Assume(pod, "n1");
  Json bound = *pod.pod;
  bound["spec"]["nodeName"] = "n1";
  cache.SetPlaced(std::make_shared<const Json>(bound));
  EXPECT_FALSE(cache.IsAssumed("p"));
  cache.Forget("p");
  EXPECT_EQ(cache.TakeSnapshot()[0]->requested.at("cpu"), 1000);
  cache.RemovePod("p");
  EXPECT_EQ(cache.TakeSnapshot()[0]->requested.at("cpu"), 0);
  EXPECT_THAT(cache.TakeSnapshot()[0]->pods_by_owner, IsEmpty());
}

TEST(Cache, PortsAreFreeWhenTheirPodIsGone) {
  constexpr char kPort[] = R"({"containers": [{"ports": [
      {"hostPort": 80, "containerPort": 80}]}]})";
  Cache cache;
  cache.SetNode(NodeObject("n1", "{}"));
  cache.Assume(PodOf(kPort), "n1");
  EXPECT_EQ(Decide(PodOf(kPort, "q"), cache.TakeSnapshot()).node, "");
  cache.SetNode(NodeObject("n1", "{}"));
  EXPECT_EQ(Decide(PodOf(kPort, "q"), cache.TakeSnapshot()).node, "");
  cache.RemovePod("p");
  EXPECT_EQ(Decide(PodOf(kPort, "q"), cache.TakeSnapshot()).node, "n1");
}

TEST(Cache, PodsMayComeBeforeTheirNode) {
  Cache cache;
  Json bound = *PodOf(kCpu1).pod;
  bound["spec"]["nodeName"] = "n1";
  cache.SetPlaced(std::make_shared<const Json>(bound));
  cache.SetNode(NodeObject("n1", "{}"));
  EXPECT_EQ(cache.TakeSnapshot()[0]->requested.at("cpu"), 1000);
  cache.SetNode(NodeObject("n1", R"({"spec": {"unschedulable": true}})"));
  EXPECT_EQ(cache.TakeSnapshot()[0]->requested.at("cpu"), 1000);
}

}  // namespace
}  // namespace fairlead::scheduler
