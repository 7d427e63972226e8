// SPDX-License-Identifier: Apache-2.0
// Explanations against the traffic: each tuple is explained first, by a real
// agent, and then sent for real. Who answered, from where it saw the client,
// how it was refused and what was counted must be what was said.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <set>

#include <nlohmann/json.hpp>

#include "absl/strings/str_join.h"
#include "tests/netns/explain_world.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/cli/explain_command.h"

namespace fairlead::harness {
namespace {

namespace v1 = admin::v1;
using ::testing::HasSubstr;

constexpr int kServices = 10;
// The first world has all services on all addresses; each further seed draws
// those anew that are drawn.
constexpr uint32_t kSeeds[] = {36, 37, 38};
constexpr int kFirstDrawn = 3, kLastDrawn = 8;
constexpr Protocol kProtocols[] = {Protocol::kTcp, Protocol::kUdp,
                                   Protocol::kSctp};
// What the run must have seen, or it proves little.
constexpr const char* kWanted[] = {
    "passed", "forwarded", "refused", "dropped", "live flow",
    "session affinity", "only candidate", "masqueraded", "kept", "hairpin",
    "drop_policy", "drop_source_range", "reject_no_service",
    "drop_no_service", "(10.96.0.0/16)", "(fd00:96::/64)", "not ready",
    "on another node",
    "terminating", "hints"};

#define ASSERT_OK(expr)                                       \
  do {                                                        \
    absl::Status status_under_test = (expr);                  \
    ASSERT_TRUE(status_under_test.ok()) << status_under_test; \
  } while (false)

std::string HostPortOf(const L4Address& address) {
  const std::string text = address.ToString();
  return text.substr(0, text.rfind('/'));
}

// "[fd00::1]:80" and "10.0.0.1:80" without the port.
std::string HostOf(const std::string& host_port) {
  std::string host = host_port.substr(0, host_port.rfind(':'));
  if (host.front() == '[') host = host.substr(1, host.size() - 2);
  return host;
}

// An answer is waited for; that there is none shows soon: all is on one
// machine, and the counters say the rest.
absl::Duration Patience(const std::string& verdict) {
  return verdict == "forwarded" || verdict == "refused"
             ? absl::Seconds(3)
             : absl::Milliseconds(60);
}

bool IsDecisive(const std::string& counter) {
  return counter == "forward_new" || counter == "forward_hit" ||
         counter.rfind("reject_", 0) == 0 || counter.rfind("drop_", 0) == 0 ||
         counter.rfind("socket_", 0) == 0;
}

class ExplainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto world = ExplainWorld::Create();
    ASSERT_OK(world.status());
    world_ = *std::move(world);
  }

  static std::string Suffix(int service) { return StrCat(10 + service); }
  static std::string Both(const std::string& v4, const std::string& v6) {
    return StrCat("[\"", v4, "\",\"", v6, "\"]");
  }
  bool Coin(int of = 2) { return random_() % static_cast<uint32_t>(of) == 0; }

  std::string SourceRanges(int service) {
    if (service == 3) return Both("198.51.100.0/24", "2001:db8:1::/48");
    if (service == 4) return Both("10.244.0.0/16", "fd00:244::/32");
    return "[]";
  }

  void PutService(int i) {
    const bool internal_local = i == 1 || (i > 2 && Coin());
    const bool external_local = i == 1 || (i > 2 && Coin());
    const bool affinity = i == 2;
    world_->api().Put(
        "services", StrCat("s", i), "",
        StrCat(R"("spec":{"type":"LoadBalancer","clusterIPs":)",
               Both("10.96.0." + Suffix(i), "fd00:96::" + Suffix(i)),
               R"(,"externalIPs":)",
               Both("203.0.113." + Suffix(i), "2001:db8:ee::" + Suffix(i)),
               R"(,"ports":[{"name":"t","port":80,"protocol":"TCP",)",
               R"("nodePort":)", 30000 + i, R"(},{"name":"u","port":80,)",
               R"("protocol":"UDP","nodePort":)", 30000 + i,
               R"(},{"name":"s","port":80,"protocol":"SCTP","nodePort":)",
               30000 + i, "}]",
               internal_local ? R"(,"internalTrafficPolicy":"Local")" : "",
               external_local ? R"(,"externalTrafficPolicy":"Local")" : "",
               affinity ? R"(,"sessionAffinity":"ClientIP")" : "",
               R"(,"loadBalancerSourceRanges":)", SourceRanges(i),
               R"(},"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.)",
               Suffix(i), R"("},{"ip":"2001:db8:bb::)", Suffix(i),
               R"("}]}})"));
    for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
      PutEndpoints(i, family);
    }
  }

  // 0: none usable; 1: none here; 2: all ready; 9: one, hinted; else drawn.
  std::string Conditions(int service, int endpoint) {
    if (service == 0) return R"({"ready":false,"serving":false})";
    if (service == 2 || service == 9) return R"({"ready":true})";
    if (service == 1) {
      return endpoint < 2 ? R"({"ready":false,"serving":false})"
                          : R"({"ready":true})";
    }
    switch (random_() % 4) {
      case 0:
        return R"({"ready":false,"serving":false})";
      case 1:
        return R"({"ready":false,"serving":true,"terminating":true})";
      default:
        return R"({"ready":true})";
    }
  }

  void PutEndpoints(int service, IpFamily family) {
    std::vector<std::string> items;
    for (int e = 0; e < kEndpoints; ++e) {
      const char* node = e < 2 ? "n1" : "n2";
      std::string hint = e == 1 ? "n1" : "n2";
      if (service > 2 && service < 9 && Coin(4)) continue;
      items.push_back(StrCat(
          R"({"addresses":[")", ExplainWorld::Endpoint(e, family).ToString(),
          R"("],"nodeName":")", node, R"(","conditions":)",
          Conditions(service, e),
          service == 9
              ? StrCat(R"(,"hints":{"forNodes":[{"name":")", hint, "\"}]}")
              : "",
          "}"));
    }
    world_->api().Put(
        "endpointslices", StrCat("s", service, "-", IpFamilyName(family)),
        StrCat(R"("kubernetes.io/service-name":"s)", service, "\""),
        StrCat(R"("addressType":")", IpFamilyName(family),
               R"(","ports":[{"name":"t","port":8080,"protocol":"TCP"},)"
               R"({"name":"u","port":8080,"protocol":"UDP"},)"
               R"({"name":"s","port":8080,"protocol":"SCTP"}],"endpoints":[)",
               absl::StrJoin(items, ","), "]"));
  }

  // All that a service answers on, and what it doesn't.
  std::vector<L4Address> Destinations(int i, IpFamily family,
                                      Protocol protocol) {
    const bool v4 = family == IpFamily::kIpv4;
    const Port node_port = static_cast<Port>(30000 + i);
    return {
        {Ip((v4 ? "10.96.0." : "fd00:96::") + Suffix(i)), 80, protocol},
        {Ip((v4 ? "203.0.113." : "2001:db8:ee::") + Suffix(i)), 80, protocol},
        {Ip((v4 ? "192.0.2." : "2001:db8:bb::") + Suffix(i)), 80, protocol},
        {ExplainWorld::NodeAddress(family), node_port, protocol},
        // Without this port; nobody's.
        {Ip((v4 ? "10.96.0." : "fd00:96::") + Suffix(i)), 81, protocol},
        {Ip((v4 ? "10.96.9." : "fd00:96::9:") + Suffix(i)), 80, protocol},
        // Not one of the node's NodePort addresses.
        {Ip(v4 ? "192.0.2.200" : "2001:db8:bb::200"), node_port, protocol}};
  }

  absl::StatusOr<v1::ExplainReply> Ask(const L4Address& source,
                                       const L4Address& destination) {
    v1::ExplainRequest request;
    request.set_protocol(std::string(ProtocolName(destination.protocol)));
    request.set_client(HostPortOf(source));
    request.set_destination(HostPortOf(destination));
    auto reply = world_->agent().Explain(request);
    if (reply.ok()) Note(*reply);
    return reply;
  }

  void Note(const v1::ExplainReply& reply) {
    ++seen_[reply.packet_path().verdict()];
    ++seen_[reply.chosen_by()];
    // Why a stray is stopped.
    for (const char* range : {"(10.96.0.0/16)", "(fd00:96::/64)"}) {
      if (reply.packet_path().reason().find(range) != std::string::npos) ++seen_[range];
    }
    for (const auto& t : reply.translations()) {
      ++seen_[t.masqueraded() ? "masqueraded" : "kept"];
      if (t.reason().rfind("hairpin", 0) == 0) ++seen_["hairpin"];
    }
    for (const auto& c : reply.packet_path().counters()) ++seen_[c.name()];
    for (const auto& e : reply.endpoints()) {
      for (const char* word : {"not ready", "on another node", "terminating",
                               "hints"}) {
        if (e.reason().find(word) != e.reason().npos) ++seen_[word];
      }
    }
  }

  // The counters that moved must be those that were said.
  template <typename Said>
  void ExpectCounted(const Said& said,
                     const std::map<std::string, uint64_t>& before) {
    auto after = world_->Counters();
    ASSERT_OK(after.status());
    std::map<std::string, uint64_t> expected;
    for (const auto& counter : said.counters()) {
      if (IsDecisive(counter.name())) expected[counter.name()] = 1;
    }
    for (const auto& [name, count] : *after) {
      if (!IsDecisive(name) || name == "forward_hit") continue;
      auto it = before.find(name);
      const uint64_t grown = count - (it == before.end() ? 0 : it->second);
      EXPECT_EQ(grown, expected[name]) << name;
    }
  }

  void ExpectAnswerAsSaid(const v1::ExplainReply& said, const Attempt& got) {
    ASSERT_EQ(got.kind, Attempt::Kind::kAnswered);
    const v1::ExplainedTranslation* match = nullptr;
    for (const auto& t : said.translations()) {
      if (HostOf(t.destination()) == got.endpoint) match = &t;
    }
    ASSERT_NE(match, nullptr) << got.endpoint << " was not a candidate";
    if (match->masqueraded()) {
      EXPECT_EQ(HostOf(got.source), match->source());
    } else {
      EXPECT_EQ(got.source, match->source());
    }
    if (!said.chosen().empty()) {
      EXPECT_EQ(HostOf(said.chosen()), got.endpoint);
    }
    for (const auto& e : said.endpoints()) {
      if (HostOf(e.address()) != got.endpoint) continue;
      EXPECT_TRUE(e.in() && e.candidate()) << e.DebugString();
    }
  }

  void ExpectAsSaid(const v1::ExplainReply& said, const Attempt& got) {
    const std::string& verdict = said.packet_path().verdict();
    if (verdict == "forwarded") return ExpectAnswerAsSaid(said, got);
    if (verdict == "refused") {
      EXPECT_EQ(got.kind, Attempt::Kind::kRefused);
    } else {
      EXPECT_EQ(got.kind, Attempt::Kind::kSilent);
    }
  }

  void CheckTuple(const ClientPlace& client, const L4Address& destination) {
    const L4Address source{
        destination.address.is_v4() ? client.v4 : client.v6, next_port_++,
        destination.protocol};
    auto said = Ask(source, destination);
    ASSERT_OK(said.status());
    SCOPED_TRACE(cli::ExplainText(*said));
    auto before = world_->Counters();
    ASSERT_OK(before.status());
    const Attempt got = world_->Try(*client.netns, source, destination,
                                    Patience(said->packet_path().verdict()));
    ExpectAsSaid(*said, got);
    EXPECT_EQ(said->packet_path_else_size(), 0);
    ExpectCounted(said->packet_path(), *before);
    ++tuples_;
    if (got.kind == Attempt::Kind::kAnswered) {
      CheckLiveFlow(source, destination, got);
    }
  }

  // The next packet of what was just opened follows it.
  void CheckLiveFlow(const L4Address& source, const L4Address& destination,
                     const Attempt& got) {
    auto said = Ask(source, destination);
    ASSERT_OK(said.status());
    EXPECT_EQ(said->chosen_by(), "live flow");
    EXPECT_EQ(HostOf(said->chosen()), got.endpoint);
    ASSERT_EQ(said->translations_size(), 1);
    EXPECT_EQ(said->translations(0).source(), got.source);
    EXPECT_EQ(AskAgain(got), got.endpoint);
  }

  // A service of its own, put last: when it answers, all before it has come.
  void AwaitApplied() {
    const std::string name = StrCat("last-", ++lasts_);
    const std::string ip = StrCat("10.96.0.", 200 + lasts_);
    world_->api().Put("services", name, "",
                      StrCat(R"("spec":{"clusterIPs":[")", ip,
                             R"("],"ports":[{"name":"t","port":80}]})"));
    PutOneEndpoint(name, 0);
    EXPECT_TRUE(Eventually([&] {
      auto said = Ask({world_->clients()[0].v4, 1, Protocol::kTcp},
                      {Ip(ip), 80, Protocol::kTcp});
      return said.ok() && said->packet_path().verdict() == "forwarded";
    })) << world_->Log();
  }

  // As PutService() names and numbers it, with the cluster's policies only.
  void PutPlainService(int i) {
    world_->api().Put(
        "services", StrCat("s", i), "",
        StrCat(R"("spec":{"clusterIPs":["10.96.0.)", Suffix(i),
               R"("],"externalIPs":["203.0.113.)", Suffix(i),
               R"("],"ports":[{"name":"t","port":80}]})"));
  }

  // The only one of its service, for TCP over IPv4; or these two.
  void PutOneEndpoint(const std::string& service, int endpoint,
                      std::optional<int> another = std::nullopt) {
    std::vector<std::string> items;
    for (int e : {endpoint, another.value_or(-1)}) {
      if (e < 0) continue;
      items.push_back(
          StrCat(R"({"addresses":[")",
                 ExplainWorld::Endpoint(e, IpFamily::kIpv4).ToString(),
                 R"("],"conditions":{"ready":true}})"));
    }
    world_->api().Put(
        "endpointslices", StrCat(service, "-IPv4"),
        StrCat(R"("kubernetes.io/service-name":")", service, "\""),
        StrCat(R"("addressType":"IPv4","ports":[{"name":"t","port":8080,)"
               R"("protocol":"TCP"}],"endpoints":[)",
               absl::StrJoin(items, ","), "]"));
  }

  void CheckService(int i, size_t destinations) {
    for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
      for (Protocol protocol : kProtocols) {
        std::vector<L4Address> all = Destinations(i, family, protocol);
        if (all.size() > destinations) all.resize(destinations);
        for (const L4Address& to : all) {
          for (const ClientPlace& client : world_->clients()) {
            CheckTuple(client, to);
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }

  // REQUIRES: this process is in the agent's cgroup.
  void CheckSocketPath(const std::string& kind, const NetnsScope& netns,
                       const L4Address& source, const L4Address& to,
                       std::map<std::string, int>* decisions) {
    auto said = Ask(source, to);
    ASSERT_OK(said.status());
    SCOPED_TRACE(cli::ExplainText(*said));
    EXPECT_EQ(said->client_kind(), kind);
    const v1::ExplainedSocketPath& path = said->socket_path();
    const std::string decision = path.decision();
    ++(*decisions)[StrCat(kind, " ", decision)];
    auto before = world_->Counters();
    ASSERT_OK(before.status());
    const Attempt got =
        world_->Try(netns, source, to, Patience(path.verdict()));
    auto after = world_->Counters();
    ASSERT_OK(after.status());
    for (const char* counter :
         {"socket_translated", "socket_refused", "socket_declined"}) {
      EXPECT_EQ((*after)[counter] - (*before)[counter],
                path.counters(0).name() == counter)
          << counter;
    }
    if (decision == "translated") {
      EXPECT_EQ(path.verdict(), "forwarded");
      EXPECT_EQ(got.kind, Attempt::Kind::kAnswered);
      bool candidate = false;
      for (const auto& e : said->endpoints()) {
        candidate |= e.candidate() && HostOf(e.address()) == got.endpoint;
      }
      EXPECT_TRUE(candidate) << got.endpoint;
      EXPECT_EQ(got.source, HostPortOf(source));
    } else if (decision == "refused") {
      EXPECT_EQ(path.verdict(), "refused");
      EXPECT_EQ(got.kind, Attempt::Kind::kRefused);
    } else {
      EXPECT_EQ(path.verdict(), said->packet_path().verdict());
      ExpectAsSaid(*said, got);
    }
  }

  std::unique_ptr<ExplainWorld> world_;
  std::mt19937 random_{kSeeds[0]};
  std::map<std::string, int> seen_;
  Port next_port_ = 20000;
  int tuples_ = 0;
  int lasts_ = 0;
};

TEST_F(ExplainTest, NeverDisagreesWithPackets) {
  for (int i = 0; i < kServices; ++i) PutService(i);
  ASSERT_OK(world_->StartAgent());
  for (uint32_t seed : kSeeds) {
    SCOPED_TRACE(StrCat("seed ", seed));
    const bool first = seed == kSeeds[0];
    if (!first) {
      random_.seed(seed);
      for (int i = kFirstDrawn; i <= kLastDrawn; ++i) PutService(i);
      AwaitApplied();
    }
    for (int i = first ? 0 : kFirstDrawn;
         i <= (first ? kServices - 1 : kLastDrawn); ++i) {
      // What isn't a service's doesn't depend on the seed.
      CheckService(i, first ? 7 : 4);
      if (HasFatalFailure()) return;
    }
  }
  for (const char* wanted : kWanted) EXPECT_GT(seen_[wanted], 0) << wanted;
  std::string coverage;
  for (const auto& [what, count] : seen_) {
    if (!what.empty()) StrAppend(&coverage, " ", what, "=", count);
  }
  std::printf("%d tuples:%s\n", tuples_, coverage.c_str());
}

// Every source port towards the only endpoint is another flow's: said, and so
// it is. With another endpoint, one that is drawn decides.
TEST_F(ExplainTest, SourcePortsRunOut) {
  PutPlainService(2);
  PutOneEndpoint("s2", 3);
  // 20, of which one is kept for changeovers.
  ASSERT_OK(world_->StartAgent({"--masquerade-source-ports", "61000-61019"}));
  const ClientPlace& client = world_->clients()[1];
  const L4Address vip = Destinations(2, IpFamily::kIpv4, Protocol::kTcp)[1];
  auto source = [&] {
    return L4Address{client.v4, next_port_++, Protocol::kTcp};
  };
  auto attempt = [&](const L4Address& from) {
    return world_->Try(*client.netns, from, vip, absl::Seconds(3));
  };
  std::vector<Attempt> open;
  for (int i = 0; i < 19; ++i) {
    const L4Address from = source();
    auto said = Ask(from, vip);
    ASSERT_OK(said.status());
    ASSERT_EQ(said->packet_path().verdict(), "forwarded")
        << i << cli::ExplainText(*said);
    EXPECT_EQ(said->packet_path_else_size(), 0);
    open.push_back(attempt(from));
    ASSERT_EQ(open.back().kind, Attempt::Kind::kAnswered);
  }
  const L4Address late = source();
  auto said = Ask(late, vip);
  ASSERT_OK(said.status());
  SCOPED_TRACE(cli::ExplainText(*said));
  EXPECT_EQ(said->packet_path().verdict(), "refused");
  EXPECT_EQ(said->packet_path().counters(0).name(), "reject_no_port");
  EXPECT_EQ(said->endpoints(0).obstacle(), "19 of 19 source ports are in use");
  auto before = world_->Counters();
  ASSERT_OK(before.status());
  EXPECT_EQ(attempt(late).kind, Attempt::Kind::kRefused);
  ExpectCounted(said->packet_path(), *before);
  // Whose flow is live goes on.
  auto live = Ask({client.v4, open[0].from.port, Protocol::kTcp}, vip);
  ASSERT_OK(live.status());
  EXPECT_EQ(live->packet_path().verdict(), "forwarded");

  PutOneEndpoint("s2", 3, 2);
  AwaitApplied();
  std::map<Attempt::Kind, int> seen;
  for (int i = 0; i < 30 && seen.size() < 2; ++i) {
    const L4Address from = source();
    auto either = Ask(from, vip);
    ASSERT_OK(either.status());
    ASSERT_EQ(either->packet_path_else_size(), 1)
        << cli::ExplainText(*either);
    EXPECT_THAT((std::set<std::string>{
                    either->packet_path().verdict(),
                    either->packet_path_else(0).verdict()}),
                ::testing::ElementsAre("forwarded", "refused"));
    ASSERT_EQ(either->translations_size(), 1);
    Attempt got = attempt(from);
    ++seen[got.kind];
    if (got.kind == Attempt::Kind::kAnswered) {
      EXPECT_EQ(got.endpoint, HostOf(either->translations(0).destination()));
    } else {
      EXPECT_EQ(got.kind, Attempt::Kind::kRefused);
    }
    open.push_back(std::move(got));
  }
  EXPECT_EQ(seen.size(), 2u);
}

// A client's port has a flow to the endpoint already, by another service: the
// packet path can't have two, connect() doesn't mind.
TEST_F(ExplainTest, TupleOfAnotherFlow) {
  for (int i : {2, 9}) {
    PutPlainService(i);
    PutOneEndpoint(StrCat("s", i), 3);
  }
  ASSERT_OK(world_->StartAgent());
  const ClientPlace& client = world_->clients()[0];
  const L4Address one = Destinations(2, IpFamily::kIpv4, Protocol::kTcp)[0];
  const L4Address other = Destinations(9, IpFamily::kIpv4, Protocol::kTcp)[0];
  const L4Address from{client.v4, 23000, Protocol::kTcp};
  const Attempt first = world_->Try(*client.netns, from, one,
                                    absl::Seconds(3));
  ASSERT_EQ(first.kind, Attempt::Kind::kAnswered);
  auto said = Ask(from, other);
  ASSERT_OK(said.status());
  SCOPED_TRACE(cli::ExplainText(*said));
  EXPECT_EQ(said->packet_path().verdict(), "dropped");
  EXPECT_EQ(said->packet_path_else_size(), 0);
  EXPECT_EQ(said->endpoints(0).obstacle(),
            StrCat("another flow has this tuple: ", HostPortOf(from), " -> ",
                   HostPortOf(one)));
  EXPECT_EQ(said->socket_path().verdict(), "forwarded");
  auto before = world_->Counters();
  ASSERT_OK(before.status());
  EXPECT_EQ(world_->Try(*client.netns, from, other, absl::Milliseconds(300))
                .kind,
            Attempt::Kind::kSilent);
  ExpectCounted(said->packet_path(), *before);

  PutOneEndpoint("s9", 3, 2);
  AwaitApplied();
  said = Ask(from, other);
  ASSERT_OK(said.status());
  SCOPED_TRACE(cli::ExplainText(*said));
  // Four times the taken one may be drawn.
  EXPECT_EQ(said->packet_path().verdict(), "forwarded");
  ASSERT_EQ(said->packet_path_else_size(), 1);
  EXPECT_EQ(said->packet_path_else(0).counters(0).name(), "drop_tuple_clash");
  ASSERT_EQ(said->translations_size(), 1);
  EXPECT_EQ(HostOf(said->translations(0).destination()),
            ExplainWorld::Endpoint(2, IpFamily::kIpv4).ToString());
  EXPECT_EQ(world_->Try(*client.netns, from, other, absl::Seconds(8)).endpoint,
            HostOf(said->translations(0).destination()));
  EXPECT_EQ(AskAgain(first), first.endpoint);
}

// An endpoint ends: its connection goes on, everybody else goes elsewhere.
TEST_F(ExplainTest, FollowsChanges) {
  const IpFamily v4 = IpFamily::kIpv4;
  PutService(2);  // with session affinity
  PutOneEndpoint("s2", 0);
  ASSERT_OK(world_->StartAgent());
  const ClientPlace& client = world_->clients()[1];
  const L4Address vip = Destinations(2, v4, Protocol::kTcp)[1];
  const L4Address old_source{client.v4, 22000, Protocol::kTcp};
  const L4Address new_source{client.v4, 22001, Protocol::kTcp};
  const std::string first = ExplainWorld::Endpoint(0, v4).ToString();
  const std::string second = ExplainWorld::Endpoint(3, v4).ToString();
  const Attempt old = world_->Try(*client.netns, old_source, vip,
                                  absl::Seconds(3));
  ASSERT_EQ(old.endpoint, first);

  PutOneEndpoint("s2", 3);
  v1::ExplainReply said;
  ASSERT_TRUE(Eventually([&] {
    auto reply = Ask(new_source, vip);
    if (reply.ok()) said = *reply;
    return said.chosen() == second + ":8080";
  })) << said.DebugString();
  EXPECT_EQ(said.chosen_by(), "only candidate");
  EXPECT_EQ(HostOf(said.affinity().endpoint()), first);
  auto follows = Ask(old_source, vip);
  ASSERT_OK(follows.status());
  EXPECT_EQ(follows->chosen_by(), "live flow");
  EXPECT_EQ(HostOf(follows->chosen()), first);
  EXPECT_EQ(AskAgain(old), first);
  v1::ExplainRequest anew;
  anew.set_protocol("tcp");
  anew.set_client(HostPortOf(old_source));
  anew.set_destination(HostPortOf(vip));
  anew.set_new_connection(true);
  auto reopened = world_->agent().Explain(anew);
  ASSERT_OK(reopened.status());
  EXPECT_EQ(HostOf(reopened->chosen()), second);
  EXPECT_EQ(world_->Try(*client.netns, new_source, vip, absl::Seconds(3))
                .endpoint,
            second);
}

TEST_F(ExplainTest, LeavesNoTrace) {
  PutService(2);
  ASSERT_OK(world_->StartAgent());
  const L4Address source{world_->clients()[0].v4, 21000, Protocol::kTcp};
  const L4Address vip = Destinations(2, IpFamily::kIpv4, Protocol::kTcp)[0];
  auto dump = [&](const std::string& map) {
    std::vector<std::string> lines;
    v1::DumpMapRequest request;
    request.set_map(map);
    EXPECT_TRUE(world_->agent()
                    .DumpMap(request,
                             [&](const v1::MapEntry& entry) {
                               lines.push_back(entry.line());
                             })
                    .ok());
    std::sort(lines.begin(), lines.end());
    return lines;
  };
  for (int i = 0; i < 20; ++i) {
    auto said = Ask(source, vip);
    ASSERT_OK(said.status());
    ASSERT_EQ(said->packet_path().verdict(), "forwarded")
        << said->DebugString();
  }
  EXPECT_THAT(dump("flow"), ::testing::IsEmpty());
  EXPECT_THAT(dump("affinity"), ::testing::IsEmpty());
  auto counters = world_->Counters();
  ASSERT_OK(counters.status());
  EXPECT_EQ((*counters)["forward_new"], 0u);
}

// The host and a pod, in the agent's cgroup: what connect() gives is what was
// said of the socket path, and of the packet path where it is left to that.
TEST_F(ExplainTest, TheSocketPath) {
  for (int i = 0; i < 5; ++i) PutService(i);
  ASSERT_OK(world_->StartAgent());
  ASSERT_OK(world_->cgroup().Join());
  std::map<std::string, int> decisions;
  for (int i = 0; i < 5; ++i) {
    for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
      for (Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
        for (const L4Address& to : Destinations(i, family, protocol)) {
          const ClientPlace& pod = world_->clients()[0];
          const L4Address host{ExplainWorld::NodeAddress(family),
                               next_port_++, protocol};
          CheckSocketPath("host", world_->node(), host, to, &decisions);
          const L4Address source{family == IpFamily::kIpv4 ? pod.v4 : pod.v6,
                                 next_port_++, protocol};
          CheckSocketPath("pod", *pod.netns, source, to, &decisions);
        }
      }
    }
  }
  for (const char* kind : {"host ", "pod "}) {
    for (const char* wanted : {"translated", "refused", "declined", "passed"}) {
      EXPECT_GT(decisions[std::string(kind) + wanted], 0) << kind << wanted;
    }
  }
}

TEST_F(ExplainTest, TheCommand) {
  PutService(0);
  PutService(2);
  ASSERT_OK(world_->StartAgent());
  auto run = [&](const std::string& arguments) {
    auto output = RunCommand(StrCat(FAIRLEAD_BINARY_DIR,
                                    "/bin/fairleadctl explain --socket ",
                                    world_->socket(), " ", arguments,
                                    " 2>&1; echo exit=$?"));
    return output.ok() ? *output : output.status().ToString();
  };
  std::string out = run("tcp 198.51.100.2 '->' 172.30.0.1:30002");
  EXPECT_THAT(out, HasSubstr("default/s2:t, NodePort *:30002/TCP"));
  EXPECT_THAT(out, HasSubstr("externalTrafficPolicy: Cluster"));
  EXPECT_THAT(out, HasSubstr("Packet path   forwarded: "));
  EXPECT_THAT(out, ::testing::Not(HasSubstr("Socket path")));
  EXPECT_THAT(out, HasSubstr("exit=0"));
  // A client of this node has two paths, and is told of both.
  out = run("tcp 10.244.0.2:4000 to 10.96.0.12:80");
  EXPECT_THAT(out, HasSubstr("Socket path   forwarded: translated"));
  EXPECT_THAT(out, HasSubstr("Packet path   forwarded: "));
  EXPECT_THAT(out, HasSubstr("exit=0"));
  out = run("tcp 10.244.0.2:4000 to 10.96.0.10:80");
  EXPECT_THAT(out, HasSubstr("Socket path   refused: "));
  EXPECT_THAT(out, HasSubstr("Packet path   refused: "));
  EXPECT_THAT(out, HasSubstr("not ready"));
  EXPECT_THAT(out, HasSubstr("exit=1"));
  // The host's packets aren't translated; its sockets are.
  out = run("tcp 172.30.0.1 10.96.0.12:80 -o json");
  auto reply = nlohmann::json::parse(out.substr(0, out.find("exit=")));
  EXPECT_EQ(reply["socketPath"]["verdict"], "forwarded");
  EXPECT_EQ(reply["socketPath"]["decision"], "translated");
  EXPECT_EQ(reply["packetPath"]["verdict"], "passed");
  EXPECT_THAT(out, HasSubstr("exit=0"));
  out = run("udp 10.244.0.2 203.0.113.99:53 -o json");
  EXPECT_THAT(out, HasSubstr("\"verdict\": \"passed\""));
  EXPECT_THAT(out, HasSubstr("exit=0"));
  EXPECT_THAT(run("tcp 10.244.0.2 to nowhere:80"), HasSubstr("exit=2"));
  EXPECT_THAT(run("tcp 10.244.0.2"), HasSubstr("exit=2"));
  out = run("sctp 10.244.0.2:4000 to 10.96.0.12:80");
  EXPECT_THAT(out, HasSubstr("Socket path   forwarded: left to the packet "
                             "path, the socket path translates TCP and UDP"));
}

}  // namespace
}  // namespace fairlead::harness
