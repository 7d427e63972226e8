// SPDX-License-Identifier: Apache-2.0
// The reference against the specification's vector tables: what the product is
// compared with must itself be right.
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "tests/reference/policy.h"
#include "tests/unit/category_rows.h"
#include "userspace/base/strings.h"

namespace fairlead::reference {
namespace {

IpAddress Ip(std::string_view text) { return *IpAddress::Parse(text); }

kube::Service Service() {
  kube::Service s;
  s.meta.ns = "default";
  s.meta.name = "web";
  s.type = kube::ServiceType::kLoadBalancer;
  s.cluster_ips = {Ip("198.51.100.1")};
  s.ports = {{"p", Protocol::kTcp, 80, 0}};
  return s;
}

kube::EndpointSlice Slice(std::vector<kube::Endpoint> endpoints) {
  kube::EndpointSlice slice;
  slice.meta.ns = "default";
  slice.meta.name = "web-1";
  slice.service_name = "web";
  slice.family = IpFamily::kIpv4;
  slice.ports = {{"p", Protocol::kTcp, 8080}};
  slice.endpoints = std::move(endpoints);
  return slice;
}

// Endpoint number `number` (from 1) has that as its last octet.
kube::Endpoint Endpoint(int number, bool ready, bool serving,
                        bool terminating, bool local) {
  kube::Endpoint e;
  e.address = Ip(StrCat("10.1.9.", number));
  e.ready = ready;
  e.serving = serving;
  e.terminating = terminating;
  e.node_name = local ? "x" : "elsewhere";
  return e;
}

std::string Numbers(const std::set<L4Address>& endpoints) {
  std::vector<int> numbers;
  for (const L4Address& e : endpoints) {
    numbers.push_back(static_cast<int>(e.address.v4_host_order() & 0xff));
  }
  return numbers.empty() ? "-" : absl::StrJoin(numbers, " ");
}

// ---- which endpoints ----

// "RL/z:a,b/n:1"
kube::Endpoint EndpointOfWord(int number, absl::string_view word,
                              const std::string& node) {
  std::vector<std::string> parts = absl::StrSplit(word, '/');
  const bool ready = parts[0][0] == 'R', last = parts[0][0] == 'T';
  kube::Endpoint e = Endpoint(number, ready, ready || last, last, false);
  if (parts[0].size() > 1) e.node_name = node;
  for (size_t i = 1; i < parts.size(); ++i) {
    std::vector<std::string> names = absl::StrSplit(parts[i].substr(2), ',');
    (parts[i][0] == 'z' ? e.zone_hints : e.node_hints) = names;
  }
  return e;
}

class Categories : public testing::TestWithParam<CategoryRow> {};

TEST_P(Categories, AsSpecified) {
  const CategoryRow& row = GetParam();
  const std::string policy = row.policy;
  const std::vector<std::string> place = absl::StrSplit(row.node, ' ');
  State state;
  if (place[0] != "-") state.node.name = place[0];
  if (place[1] != "-") state.node.zone = place[1];
  kube::Service service = Service();
  service.internal_local = policy.find('i') != policy.npos;
  service.external_local = policy.find('e') != policy.npos;
  if (policy.find('x') != policy.npos) service.ports[0].node_port = 30001;
  state.PutService(service);
  std::vector<kube::Endpoint> endpoints;
  for (absl::string_view word :
       absl::StrSplit(row.endpoints, ' ', absl::SkipEmpty())) {
    endpoints.push_back(EndpointOfWord(static_cast<int>(endpoints.size() + 1),
                                       word, state.node.name));
  }
  state.PutSlice(Slice(endpoints));
  const EndpointSets sets = SetsOf(
      state, {"default/web", "p", Protocol::kTcp, IpFamily::kIpv4});
  EXPECT_EQ(Numbers(sets.cluster), row.cluster) << row.name;
  EXPECT_EQ(Numbers(sets.local), row.local) << row.name;
  EXPECT_EQ(sets.any, row.any) << row.name;
}

INSTANTIATE_TEST_SUITE_P(Rows, Categories, testing::ValuesIn(kCategoryRows));

// ---- whose source is translated ----

// Endpoint 1 is local, 2 remote. "1 2 M": either, with masquerade.
std::string Flow(const State& state, const std::string& client,
                 const std::string& to) {
  const L4Address destination = {
      Ip(to == "cluster" ? "198.51.100.1"
         : to == "vip"   ? "192.0.2.200"
                         : "203.0.113.7"),
      static_cast<Port>(to == "node" ? 30001 : 80), Protocol::kTcp};
  const Ruling ruling = RuleOnNewFlow(state, Ip(client), destination);
  switch (ruling.kind) {
    case Ruling::Kind::kNotOurs:
      return "not ours";
    case Ruling::Kind::kDrop:
      return "drop";
    case Ruling::Kind::kReject:
      return "reject";
    case Ruling::Kind::kForward:
      return StrCat(Numbers(ruling.endpoints), ruling.masquerade ? " M" : "");
  }
  return "";
}

State Cluster() {
  State state;
  state.node.name = "x";
  state.node.addresses = {{Ip("203.0.113.7"), true}};
  state.node.pods = {*IpPrefix::Parse("10.1.0.0/16")};
  kube::Service service = Service();
  service.load_balancer_vips = {Ip("192.0.2.200")};
  service.ports[0].node_port = 30001;
  state.PutService(service);
  state.PutSlice(Slice({Endpoint(1, true, true, false, true),
                        Endpoint(2, true, true, false, false)}));
  return state;
}

constexpr char kPod[] = "10.1.1.9", kHost[] = "203.0.113.7",
               kOutside[] = "192.0.2.10";

struct MasqueradeRow {
  const char* client;
  const char* to;
  const char* plain;
  const char* external_local;
  const char* internal_local;
  const char* no_detector;           // with the policies Cluster
  const char* external_no_detector;  // external Local
  const char* all;                   // masqueradeAll
};

const MasqueradeRow kMasquerade[] = {
    {kPod, "cluster", "1 2", "1 2", "1", "1 2", "1 2", "1 2 M"},
    {kPod, "node", "1 2 M", "1 2", "1 2 M", "1 2 M", "1", "1 2 M"},
    {kPod, "vip", "1 2 M", "1 2", "1 2 M", "1 2 M", "1", "1 2 M"},
    {kHost, "cluster", "1 2 M", "1 2 M", "1 M", "1 2", "1 2", "1 2 M"},
    {kHost, "node", "1 2 M", "1 2 M", "1 2 M", "1 2 M", "1 2 M", "1 2 M"},
    {kHost, "vip", "1 2 M", "1 2 M", "1 2 M", "1 2 M", "1 2 M", "1 2 M"},
    {kOutside, "cluster", "1 2 M", "1 2 M", "1 M", "1 2", "1 2", "1 2 M"},
    {kOutside, "node", "1 2 M", "1", "1 2 M", "1 2 M", "1", "1 2 M"},
    {kOutside, "vip", "1 2 M", "1", "1 2 M", "1 2 M", "1", "1 2 M"},
};

TEST(Reference, Masquerades) {
  for (const MasqueradeRow& row : kMasquerade) {
    SCOPED_TRACE(StrCat(row.client, " -> ", row.to));
    const State plain = Cluster();
    EXPECT_EQ(Flow(plain, row.client, row.to), row.plain);
    State external = plain, internal = plain, blind = plain, all = plain;
    kube::Service service = plain.services().begin()->second;
    service.external_local = true;
    external.PutService(service);
    service.external_local = false;
    service.internal_local = true;
    internal.PutService(service);
    EXPECT_EQ(Flow(external, row.client, row.to), row.external_local);
    EXPECT_EQ(Flow(internal, row.client, row.to), row.internal_local);
    blind.node.pods.clear();
    EXPECT_EQ(Flow(blind, row.client, row.to), row.no_detector);
    external.node.pods.clear();
    EXPECT_EQ(Flow(external, row.client, row.to), row.external_no_detector);
    all.node.masquerade_all = true;
    EXPECT_EQ(Flow(all, row.client, row.to), row.all);
  }
}

// ---- endpoints on their way out ----

struct TerminatingRow {
  const char* name;
  const char* endpoints;  // as in category_rows.h
  const char* pod_to_cluster_ip;
  const char* outside_to_vip;
  const char* outside_to_vip_cluster;  // externalTrafficPolicy: Cluster
};

const TerminatingRow kTerminating[] = {
    {"all kinds", "RL RL TL u R", "1 2 5", "1 2", "1 2 5 M"},
    {"ready ones elsewhere only", "TL TL u R", "4", "1 2", "4 M"},
    {"the last ones elsewhere", "T", "1", "drop", "1 M"},
    {"none serves", "u", "reject", "reject", "reject"},
    {"none", "", "reject", "reject", "reject"},
};

TEST(Reference, TerminatingEndpoints) {
  for (const TerminatingRow& row : kTerminating) {
    SCOPED_TRACE(row.name);
    State state = Cluster();
    std::vector<kube::Endpoint> endpoints;
    for (absl::string_view word :
         absl::StrSplit(row.endpoints, ' ', absl::SkipEmpty())) {
      endpoints.push_back(EndpointOfWord(
          static_cast<int>(endpoints.size() + 1), word, state.node.name));
    }
    state.PutSlice(Slice(endpoints));
    EXPECT_EQ(Flow(state, kOutside, "vip"), row.outside_to_vip_cluster);
    kube::Service service = state.services().begin()->second;
    service.external_local = true;
    state.PutService(service);
    EXPECT_EQ(Flow(state, kPod, "cluster"), row.pod_to_cluster_ip);
    EXPECT_EQ(Flow(state, kOutside, "vip"), row.outside_to_vip);
  }
}

}  // namespace
}  // namespace fairlead::reference
