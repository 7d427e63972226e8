// SPDX-License-Identifier: Apache-2.0
// From objects to desired frontends: policies, masquerading, conflicts, bad
// objects, what becomes dirty.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/category_rows.h"
#include "userspace/base/strings.h"
#include "userspace/model/cluster.h"

namespace fairlead::model {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }

NodeConfig Node() {
  NodeConfig node;
  node.name = "node-1";
  node.zone = "zone-a";
  node.addresses = {{Ip("192.0.2.1"), true}};
  return node;
}

kube::Service Web() {
  kube::Service s;
  s.meta = {"default", "web", "", ""};
  s.type = kube::ServiceType::kLoadBalancer;
  s.cluster_ips = {Ip("10.96.0.1")};
  s.ports = {{"http", Protocol::kTcp, 80, 30080}};
  s.load_balancer_vips = {Ip("203.0.113.7")};
  return s;
}

kube::Endpoint Ep(const std::string& address, const std::string& node) {
  kube::Endpoint e;
  e.address = Ip(address);
  e.node_name = node;
  return e;
}

kube::EndpointSlice WebSlice(std::vector<kube::Endpoint> endpoints,
                             const std::string& name = "web-1") {
  kube::EndpointSlice s;
  s.meta = {"default", name, "", ""};
  s.service_name = "web";
  s.family = IpFamily::kIpv4;
  s.ports = {{"http", Protocol::kTcp, 8080}};
  s.endpoints = std::move(endpoints);
  return s;
}

std::vector<kube::Endpoint> OneHereOneThere() {
  return {Ep("10.244.1.5", "node-1"), Ep("10.244.2.5", "node-2")};
}

// "local M": which endpoints a kind of client gets at a kind of frontend, and
// if its address is translated.
std::string Flow(const Cluster& cluster, FrontendKind kind,
                 uint32_t masquerade_flag) {
  const DesiredService desired = cluster.Desired("default/web");
  if (desired.ports.size() != 1) return "?";
  for (const Frontend& f : desired.ports[0].frontends) {
    if (f.kind != kind) continue;
    const bool outside = masquerade_flag == FL_SERVICE_MASQ_OUTSIDE;
    const fl_verdict verdict =
        outside ? f.external_verdict() : f.internal_verdict();
    if (verdict == FL_VERDICT_REJECT) return "reject";
    if (verdict == FL_VERDICT_DROP) return "drop";
    const EndpointSet set = outside ? f.external : f.internal;
    std::string text = set == EndpointSet::kCluster ? "all" : "local";
    return text + (f.flags & masquerade_flag ? " M" : "");
  }
  return "none";
}

// The masquerade matrix: a row is a client and a kind of frontend.
struct FlowRow {
  FrontendKind kind;
  uint32_t client;
  const char* plain;
  const char* external_local;
  const char* internal_local;
  const char* masquerade_all;
  const char* no_detector;
  const char* no_detector_external_local;
};
constexpr FrontendKind kCip = FrontendKind::kClusterIp;
constexpr FrontendKind kNp = FrontendKind::kNodePort;
constexpr FrontendKind kLb = FrontendKind::kLoadBalancer;
constexpr uint32_t kPod = FL_SERVICE_MASQ_POD;
constexpr uint32_t kHost = FL_SERVICE_MASQ_HOST;
constexpr uint32_t kOut = FL_SERVICE_MASQ_OUTSIDE;
const FlowRow kFlows[] = {
    {kCip, kPod, "all", "all", "local", "all M", "all", "all"},
    {kNp, kPod, "all M", "all", "all M", "all M", "all M", "all"},
    {kLb, kPod, "all M", "all", "all M", "all M", "all M", "all"},
    {kCip, kHost, "all M", "all M", "local M", "all M", "all", "all"},
    {kNp, kHost, "all M", "all M", "all M", "all M", "all M", "all M"},
    {kLb, kHost, "all M", "all M", "all M", "all M", "all M", "all M"},
    {kCip, kOut, "all M", "all M", "local M", "all M", "all", "all"},
    {kNp, kOut, "all M", "local", "all M", "all M", "all M", "local"},
    {kLb, kOut, "all M", "local", "all M", "all M", "all M", "local"},
};

TEST(ClusterTest, MasqueradeMatrix) {
  for (const FlowRow& row : kFlows) {
    auto flow = [&row](bool external_local, bool internal_local, bool all,
                       bool detects) {
      NodeConfig node = Node();
      node.masquerade_all = all;
      node.detects_pods = detects;
      Cluster cluster(node);
      kube::Service web = Web();
      web.external_local = external_local;
      web.internal_local = internal_local;
      cluster.PutService(web);
      cluster.PutEndpointSlice(WebSlice(OneHereOneThere()));
      return Flow(cluster, row.kind, row.client);
    };
    SCOPED_TRACE(StrCat(FrontendKindName(row.kind), " ", row.client));
    EXPECT_EQ(flow(false, false, false, true), row.plain);
    EXPECT_EQ(flow(true, false, false, true), row.external_local);
    EXPECT_EQ(flow(false, true, false, true), row.internal_local);
    EXPECT_EQ(flow(false, false, true, true), row.masquerade_all);
    // A pod is known as one by the socket path only: what the specification
    // has in these columns is the packet path's, which sees it as from outside.
    EXPECT_EQ(flow(false, false, false, false), row.no_detector);
    EXPECT_EQ(flow(true, false, false, false), row.no_detector_external_local);
  }
}

// What a load balancer with policy Local sees while endpoints terminate.
TEST(ClusterTest, TerminatingWithExternalLocal) {
  auto state = [](kube::Endpoint e, char kind) {
    e.ready = kind == 'R';
    e.serving = kind != 'd';
    e.terminating = kind != 'R';
    return e;
  };
  const kube::Endpoint here1 = Ep("10.244.1.1", "node-1");
  const kube::Endpoint here2 = Ep("10.244.1.2", "node-1");
  const kube::Endpoint dead = state(Ep("10.244.1.3", "node-1"), 'd');
  const kube::Endpoint there = Ep("10.244.2.1", "node-2");
  const struct {
    std::vector<kube::Endpoint> endpoints;
    const char* cluster_ip;
    const char* load_balancer;
  } rows[] = {
      {{here1, state(here2, 'T'), dead, there},
       "10.244.1.1 10.244.2.1", "10.244.1.1"},
      {{state(here1, 'T'), state(here2, 'T'), dead, there},
       "10.244.2.1", "10.244.1.1 10.244.1.2"},
      {{state(there, 'T')}, "10.244.2.1", "drop"},
      {{dead}, "reject", "reject"},
      {{}, "reject", "reject"},
  };
  for (const auto& row : rows) {
    Cluster cluster(Node());
    kube::Service web = Web();
    web.external_local = true;
    cluster.PutService(web);
    cluster.PutEndpointSlice(WebSlice(row.endpoints));
    const DesiredService desired = cluster.Desired("default/web");
    ASSERT_EQ(desired.ports.size(), 1u);
    auto used = [&](const Frontend& f, bool outside) -> std::string {
      switch (outside ? f.external_verdict() : f.internal_verdict()) {
        case FL_VERDICT_REJECT:
          return "reject";
        case FL_VERDICT_DROP:
          return "drop";
        case FL_VERDICT_FORWARD:
          break;
      }
      std::vector<std::string> out;
      for (const ServingEndpoint& e : desired.ports[0].endpoints) {
        if ((outside ? f.external : f.internal) == EndpointSet::kCluster
                ? e.cluster
                : e.local) {
          out.push_back(e.address.address.ToString());
        }
      }
      return absl::StrJoin(out, " ");
    };
    for (const Frontend& f : desired.ports[0].frontends) {
      if (f.kind == kCip) {
        EXPECT_EQ(used(f, false), row.cluster_ip);
      }
      if (f.kind == kLb) {
        EXPECT_EQ(used(f, true), row.load_balancer);
      }
    }
  }
}

// "1 3": the endpoints of which that is true, by the numbers of their order.
std::string Numbers(const std::vector<ServingEndpoint>& endpoints,
                    bool (*which)(const ServingEndpoint&)) {
  std::vector<int> numbers;
  for (const ServingEndpoint& e : endpoints) {
    if (which(e)) numbers.push_back(e.address.address.bytes()[15]);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers.empty() ? "-" : absl::StrJoin(numbers, " ");
}

// An endpoint of a row's words; its number is its address' last.
kube::Endpoint EndpointOf(const std::string& word, size_t number,
                          const std::string& node) {
  const std::vector<std::string> parts = absl::StrSplit(word, '/');
  kube::Endpoint e = Ep(StrCat("10.244.1.", number),
                        parts[0].size() > 1 ? node : "elsewhere");
  e.ready = parts[0][0] == 'R';
  e.serving = parts[0][0] != 'u';
  e.terminating = parts[0][0] == 'T';
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::vector<std::string> names =
        absl::StrSplit(parts[i].substr(2), ',');
    (parts[i][0] == 'z' ? e.zone_hints : e.node_hints) = names;
  }
  return e;
}

// The rows of category_rows.h from objects to what goes into the kernel: which
// endpoints a frontend reaches by either set.
TEST(ClusterTest, EndpointsOfEachCategory) {
  for (const CategoryRow& row : kCategoryRows) {
    SCOPED_TRACE(row.name);
    const std::vector<std::string> place = absl::StrSplit(row.node, ' ');
    NodeConfig node = Node();
    node.name = place[0];
    node.zone = place[1] == "-" ? "" : place[1];
    Cluster cluster(node);
    const std::string policy = row.policy;
    auto has = [&policy](char letter) {
      return policy.find(letter) != policy.npos;
    };
    kube::Service web = Web();
    web.internal_local = has('i');
    web.external_local = has('e');
    if (!has('x')) {
      web.type = kube::ServiceType::kClusterIp;
      web.ports[0].node_port = 0;
      web.load_balancer_vips.clear();
    }
    std::vector<kube::Endpoint> endpoints;
    for (absl::string_view word :
         absl::StrSplit(row.endpoints, ' ', absl::SkipEmpty())) {
      endpoints.push_back(
          EndpointOf(std::string(word), endpoints.size() + 1, node.name));
    }
    cluster.PutService(web);
    cluster.PutEndpointSlice(WebSlice(endpoints));
    const DesiredService desired = cluster.Desired("default/web");
    ASSERT_EQ(desired.ports.size(), 1u);
    const std::vector<ServingEndpoint>& found = desired.ports[0].endpoints;
    EXPECT_EQ(Numbers(found, [](const auto& e) { return e.cluster; }),
              row.cluster);
    EXPECT_EQ(Numbers(found, [](const auto& e) { return e.local; }),
              row.local);
    EXPECT_EQ(
        Numbers(found, [](const auto& e) { return e.cluster || e.local; }),
        row.reachable);
  }
}

std::vector<std::string> Frontends(const Cluster& cluster,
                                   const std::string& key) {
  std::vector<std::string> out;
  for (const DesiredPort& port : cluster.Desired(key).ports) {
    for (const Frontend& f : port.frontends) {
      out.push_back(f.address.ToString());
    }
  }
  return out;
}

TEST(ClusterTest, OnlyWhatChangedIsDirty) {
  Cluster cluster(Node());
  cluster.PutService(Web());
  kube::Service other = Web();
  other.meta.name = "other";
  other.cluster_ips = {Ip("10.96.0.2")};
  other.ports[0].node_port = 0;
  other.load_balancer_vips.clear();
  cluster.PutService(other);
  cluster.PutEndpointSlice(WebSlice(OneHereOneThere()));
  EXPECT_THAT(cluster.TakeDirty(),
              ElementsAre("default/other", "default/web"));

  cluster.PutEndpointSlice(WebSlice(OneHereOneThere()));
  kube::Service web = Web();
  web.meta.resource_version = "7";
  cluster.PutService(web);
  EXPECT_THAT(cluster.TakeDirty(), IsEmpty());

  cluster.PutEndpointSlice(WebSlice({Ep("10.244.1.5", "node-1")}));
  EXPECT_THAT(cluster.TakeDirty(), ElementsAre("default/web"));

  // Moved to another Service: both.
  kube::EndpointSlice moved = WebSlice({Ep("10.244.1.5", "node-1")});
  moved.service_name = "other";
  cluster.PutEndpointSlice(moved);
  EXPECT_THAT(cluster.TakeDirty(),
              ElementsAre("default/other", "default/web"));
  EXPECT_EQ(cluster.endpoint_count(), 1u);

  NodeConfig node = Node();
  node.addresses.push_back({Ip("192.0.2.2"), true});
  cluster.SetNode(node);
  EXPECT_THAT(cluster.TakeDirty(), IsEmpty());
  node.zone = "zone-b";
  cluster.SetNode(node);
  EXPECT_THAT(cluster.TakeDirty(),
              ElementsAre("default/other", "default/web"));
}

TEST(ClusterTest, AListDeletesWhatIsNotInIt) {
  Cluster cluster(Node());
  cluster.PutService(Web());
  cluster.PutEndpointSlice(WebSlice(OneHereOneThere()));
  cluster.TakeDirty();

  cluster.BeginServiceList();
  cluster.AbortServiceList();
  EXPECT_THAT(cluster.TakeDirty(), IsEmpty());

  cluster.BeginServiceList();
  cluster.PutService(Web());
  cluster.EndServiceList();
  cluster.BeginEndpointSliceList();
  cluster.EndEndpointSliceList();
  EXPECT_THAT(cluster.TakeDirty(), ElementsAre("default/web"));
  EXPECT_EQ(cluster.slice_count(), 0u);
  EXPECT_EQ(cluster.endpoint_count(), 0u);

  cluster.BeginServiceList();
  cluster.EndServiceList();
  EXPECT_THAT(cluster.TakeDirty(), ElementsAre("default/web"));
  EXPECT_EQ(cluster.service_count(), 0u);
  EXPECT_THAT(Frontends(cluster, "default/web"), IsEmpty());
}

TEST(ClusterTest, NotForThisProxyIsADelete) {
  for (int what = 0; what < 4; ++what) {
    Cluster cluster(Node());
    cluster.PutService(Web());
    cluster.TakeDirty();
    kube::Service web = Web();
    if (what == 0) web.headless = true;
    if (what == 1) web.other_proxy = true;
    if (what == 2) web.type = kube::ServiceType::kExternalName;
    if (what == 3) web.cluster_ips.clear();
    cluster.PutService(web);
    EXPECT_THAT(cluster.TakeDirty(), ElementsAre("default/web")) << what;
    EXPECT_THAT(cluster.Desired("default/web").ports, IsEmpty()) << what;
  }
}

TEST(ClusterTest, TheOldestClaimWinsAndTheNextOneFollows) {
  Cluster cluster(Node());
  kube::Service second = Web();
  second.meta.name = "a-second";
  second.meta.creation = absl::FromUnixSeconds(2);
  second.cluster_ips = {Ip("10.96.0.2")};
  kube::Service third = second;
  third.meta.name = "third";
  third.cluster_ips = {Ip("10.96.0.3")};
  cluster.PutService(Web());
  cluster.PutService(second);
  cluster.PutService(third);
  const std::vector<Problem> problems = cluster.TakeNewProblems();
  ASSERT_EQ(problems.size(), 4u);  // NodePort and VIP of two Services
  EXPECT_EQ(problems[0].service, "default/a-second");
  EXPECT_EQ(problems[0].kind, Problem::Kind::kConflict);
  EXPECT_EQ(cluster.problems().size(), 4u);
  EXPECT_THAT(Frontends(cluster, "default/a-second"),
              ElementsAre("10.96.0.2:80/TCP"));

  cluster.TakeDirty();
  cluster.DeleteService("default/web");
  EXPECT_THAT(cluster.TakeDirty(),
              ElementsAre("default/a-second", "default/web"));
  EXPECT_EQ(Frontends(cluster, "default/a-second").size(), 3u);
  EXPECT_EQ(Frontends(cluster, "default/third").size(), 1u);
  EXPECT_EQ(cluster.problems().size(), 2u);
  EXPECT_THAT(cluster.TakeNewProblems(), IsEmpty());
}

// Or a restart, which lists by name, would move frontends.
TEST(ClusterTest, WhoWinsDependsOnTheObjectsAlone) {
  Cluster cluster(Node());
  kube::Service old = Web(), young = Web();
  old.meta.name = "old";
  old.meta.creation = absl::FromUnixSeconds(1);
  young.meta.name = "a-young";
  young.meta.creation = absl::FromUnixSeconds(2);
  cluster.PutService(young);
  cluster.TakeDirty();
  cluster.PutService(old);
  EXPECT_THAT(cluster.TakeDirty(),
              ElementsAre("default/a-young", "default/old"));
  EXPECT_THAT(Frontends(cluster, "default/a-young"), IsEmpty());
  EXPECT_EQ(Frontends(cluster, "default/old").size(), 3u);

  // One that is made anew under the same name is no longer the oldest.
  old.meta.creation = absl::FromUnixSeconds(3);
  cluster.PutService(old);
  EXPECT_THAT(cluster.TakeDirty(),
              ElementsAre("default/a-young", "default/old"));
  EXPECT_THAT(Frontends(cluster, "default/old"), IsEmpty());
  EXPECT_EQ(Frontends(cluster, "default/a-young").size(), 3u);
}

TEST(ClusterTest, ABadObjectChangesNothing) {
  Cluster cluster(Node());
  cluster.PutService(Web());
  cluster.PutEndpointSlice(WebSlice(OneHereOneThere()));
  cluster.TakeDirty();
  const DesiredService before = cluster.Desired("default/web");

  kube::Service bad = Web();
  bad.load_balancer_vips = {Ip("127.0.0.1")};
  cluster.PutService(bad);
  cluster.PutEndpointSlice(WebSlice({Ep("0.0.0.0", "node-1")}));
  cluster.RejectEndpointSlice("default/web-2", "default/web", "no JSON");
  EXPECT_THAT(cluster.TakeDirty(), IsEmpty());
  EXPECT_EQ(cluster.Desired("default/web"), before);
  EXPECT_EQ(cluster.TakeNewProblems().size(), 3u);
  EXPECT_FALSE(cluster.has_unusable_service());

  // Said once, until it is something else.
  cluster.PutService(bad);
  EXPECT_THAT(cluster.TakeNewProblems(), IsEmpty());
  EXPECT_EQ(cluster.problems().size(), 3u);

  // In a list it stands for the Service.
  cluster.BeginServiceList();
  cluster.PutService(bad);
  cluster.EndServiceList();
  EXPECT_EQ(cluster.Desired("default/web"), before);

  cluster.PutService(Web());
  cluster.PutEndpointSlice(WebSlice(OneHereOneThere()));
  cluster.DeleteEndpointSlice("default/web-2");
  EXPECT_THAT(cluster.problems(), IsEmpty());

  cluster.RejectService("default/new", "no JSON");
  EXPECT_TRUE(cluster.has_unusable_service());
  cluster.DeleteService("default/new");
  EXPECT_FALSE(cluster.has_unusable_service());
}

TEST(ClusterTest, WhatIsTakenForABadService) {
  const struct {
    const char* name;
    void (*break_it)(kube::Service*);
  } rows[] = {
      {"port 0", [](kube::Service* s) { s->ports[0].port = 0; }},
      {"a port twice",
       [](kube::Service* s) {
         s->ports.push_back({"x", Protocol::kTcp, 80, 0});
       }},
      {"a name twice",
       [](kube::Service* s) {
         s->ports.push_back({"http", Protocol::kTcp, 81, 0});
       }},
      {"a node port twice",
       [](kube::Service* s) {
         s->ports.push_back({"x", Protocol::kTcp, 81, 30080});
       }},
      {"two addresses of a family",
       [](kube::Service* s) { s->cluster_ips.push_back(Ip("10.96.0.9")); }},
      {"an external IP that would catch everything",
       [](kube::Service* s) { s->external_ips = {Ip("0.0.0.0")}; }},
      {"a multicast VIP",
       [](kube::Service* s) { s->load_balancer_vips = {Ip("ff02::1")}; }},
      {"affinity for too long",
       [](kube::Service* s) { s->affinity = absl::Hours(25); }},
  };
  for (const auto& row : rows) {
    Cluster cluster(Node());
    kube::Service web = Web();
    row.break_it(&web);
    cluster.PutService(web);
    EXPECT_EQ(cluster.TakeNewProblems().size(), 1u) << row.name;
    EXPECT_THAT(Frontends(cluster, "default/web"), IsEmpty()) << row.name;
  }
  // The same number in two protocols is no duplicate.
  Cluster cluster(Node());
  kube::Service web = Web();
  web.ports.push_back({"dns", Protocol::kUdp, 80, 30080});
  cluster.PutService(web);
  EXPECT_THAT(cluster.TakeNewProblems(), IsEmpty());
}

TEST(ClusterTest, SlicesThatDisagree) {
  Cluster cluster(Node());
  cluster.PutService(Web());
  kube::Endpoint terminating = Ep("10.244.1.5", "node-1");
  terminating.ready = false;
  terminating.terminating = true;
  cluster.PutEndpointSlice(WebSlice({terminating}, "web-1"));
  cluster.PutEndpointSlice(WebSlice({Ep("10.244.1.5", "node-1")}, "web-2"));
  kube::EndpointSlice fqdn = WebSlice({}, "web-3");
  fqdn.family.reset();
  cluster.PutEndpointSlice(fqdn);
  const DesiredService desired = cluster.Desired("default/web");
  ASSERT_EQ(desired.ports[0].endpoints.size(), 1u);
  EXPECT_TRUE(desired.ports[0].endpoints[0].cluster);
  cluster.DeleteEndpointSlice("default/web-2");
  // Still in use: nothing else is left.
  EXPECT_EQ(Flow(cluster, kCip, kPod), "all");
}

TEST(ClusterTest, HealthCheckCountsReadyLocalAddresses) {
  Cluster cluster(Node());
  kube::Service web = Web();
  web.external_local = true;
  web.health_check_node_port = 32000;
  web.type = kube::ServiceType::kNodePort;
  cluster.PutService(web);
  // A port that no API server gives to such a Service.
  EXPECT_FALSE(cluster.HealthCheckOf("default/web").has_value());
  web.type = kube::ServiceType::kLoadBalancer;
  cluster.PutService(web);
  kube::Endpoint going = Ep("10.244.1.7", "node-1");
  going.ready = false;
  going.terminating = true;
  std::vector<kube::Endpoint> endpoints = OneHereOneThere();
  endpoints.push_back(going);
  cluster.PutEndpointSlice(WebSlice(endpoints, "web-1"));
  cluster.PutEndpointSlice(WebSlice(OneHereOneThere(), "web-2"));
  const auto check = cluster.HealthCheckOf("default/web");
  ASSERT_TRUE(check.has_value());
  EXPECT_EQ(check->port, 32000);
  EXPECT_EQ(check->local_ready(IpFamily::kIpv4), 1);
  EXPECT_EQ(check->local_ready(IpFamily::kIpv6), std::nullopt);
  web.external_local = false;
  cluster.PutService(web);
  EXPECT_FALSE(cluster.HealthCheckOf("default/web").has_value());
}

// An address that the node gets takes NodePorts at once, whatever Services do.
TEST(ClusterTest, OtherAddressesOfTheNodeAreNews) {
  Cluster cluster(Node());
  EXPECT_FALSE(cluster.has_dirty());
  NodeConfig node = cluster.node();
  node.addresses.push_back({*IpAddress::Parse("192.0.2.99"), true});
  cluster.SetNode(node);
  EXPECT_TRUE(cluster.has_dirty());
  EXPECT_THAT(cluster.TakeDirty(), IsEmpty());
  EXPECT_FALSE(cluster.has_dirty());
  cluster.SetNode(node);
  EXPECT_FALSE(cluster.has_dirty());
}

// Of one that could never be used something may be in the kernel, from before a
// restart: that it is gone is news.
TEST(ClusterTest, AServiceThatCouldNotBeUsedGoes) {
  Cluster cluster{NodeConfig{}};
  cluster.RejectService("ns/deleted", "bad");
  cluster.RejectService("ns/unlisted", "bad");
  EXPECT_TRUE(cluster.has_unusable_service());
  EXPECT_FALSE(cluster.has_dirty());
  cluster.DeleteService("ns/deleted");
  EXPECT_THAT(cluster.TakeDirty(), ElementsAre("ns/deleted"));
  cluster.BeginServiceList();
  cluster.RejectService("ns/listed", "bad");
  cluster.EndServiceList();
  EXPECT_THAT(cluster.TakeDirty(), ElementsAre("ns/unlisted"));
  EXPECT_TRUE(cluster.has_unusable_service());
}

}  // namespace
}  // namespace fairlead::model
