// SPDX-License-Identifier: Apache-2.0
// Explanations against the traffic: each tuple is explained first, by a real
// agent, and then sent for real. Who answered, from where it saw the client,
// how it was refused and what was counted must be what was said.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

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
constexpr uint32_t kSeed = 36;
// What each run of the fixed seed must have seen, or it proves little.
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
absl::Duration Patience(const v1::ExplainReply& said) {
  return said.verdict() == "forwarded" || said.verdict() == "refused"
             ? absl::Seconds(3)
             : absl::Milliseconds(100);
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
               R"("protocol":"UDP","nodePort":)", 30000 + i, "}]",
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
               R"({"name":"u","port":8080,"protocol":"UDP"}],"endpoints":[)",
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
    ++seen_[reply.verdict()];
    ++seen_[reply.chosen_by()];
    // Why a stray is stopped.
    for (const char* range : {"(10.96.0.0/16)", "(fd00:96::/64)"}) {
      if (reply.reason().find(range) != std::string::npos) ++seen_[range];
    }
    for (const auto& t : reply.translations()) {
      ++seen_[t.masqueraded() ? "masqueraded" : "kept"];
      if (t.reason().rfind("hairpin", 0) == 0) ++seen_["hairpin"];
    }
    for (const auto& c : reply.counters()) ++seen_[c.name()];
    for (const auto& e : reply.endpoints()) {
      for (const char* word : {"not ready", "on another node", "terminating",
                               "hints"}) {
        if (e.reason().find(word) != e.reason().npos) ++seen_[word];
      }
    }
  }

  // The counters that moved must be those that were said.
  void ExpectCounted(const v1::ExplainReply& said,
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
    if (said.verdict() == "forwarded") return ExpectAnswerAsSaid(said, got);
    if (said.verdict() == "refused") {
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
                                    Patience(*said));
    ExpectAsSaid(*said, got);
    ExpectCounted(*said, *before);
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

  std::unique_ptr<ExplainWorld> world_;
  std::mt19937 random_{kSeed};
  std::map<std::string, int> seen_;
  Port next_port_ = 20000;
  int tuples_ = 0;
};

TEST_F(ExplainTest, NeverDisagreesWithPackets) {
  for (int i = 0; i < kServices; ++i) PutService(i);
  ASSERT_OK(world_->StartAgent());
  for (int i = 0; i < kServices; ++i) {
    for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
      for (Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
        for (const L4Address& to : Destinations(i, family, protocol)) {
          for (const ClientPlace& client : world_->clients()) {
            CheckTuple(client, to);
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
  for (const char* wanted : kWanted) EXPECT_GT(seen_[wanted], 0) << wanted;
  std::string coverage;
  for (const auto& [what, count] : seen_) {
    if (!what.empty()) StrAppend(&coverage, " ", what, "=", count);
  }
  std::printf("%d tuples:%s\n", tuples_, coverage.c_str());
}

// An endpoint ends: its connection goes on, everybody else goes elsewhere.
TEST_F(ExplainTest, FollowsChanges) {
  const IpFamily v4 = IpFamily::kIpv4;
  auto put_only = [&](int endpoint, const char* conditions) {
    world_->api().Put(
        "endpointslices", "s2-IPv4", R"("kubernetes.io/service-name":"s2")",
        StrCat(R"("addressType":"IPv4","ports":[{"name":"t","port":8080,)"
               R"("protocol":"TCP"}],"endpoints":[{"addresses":[")",
               ExplainWorld::Endpoint(endpoint, v4).ToString(),
               R"("],"conditions":)", conditions, "}]"));
  };
  PutService(2);  // with session affinity
  put_only(0, R"({"ready":true})");
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

  put_only(3, R"({"ready":true})");
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
    ASSERT_EQ(said->verdict(), "forwarded") << said->DebugString();
  }
  EXPECT_THAT(dump("flow"), ::testing::IsEmpty());
  EXPECT_THAT(dump("affinity"), ::testing::IsEmpty());
  auto counters = world_->Counters();
  ASSERT_OK(counters.status());
  EXPECT_EQ((*counters)["forward_new"], 0u);
}

TEST_F(ExplainTest, TheSocketPath) {
  for (int i = 0; i < 5; ++i) PutService(i);
  ASSERT_OK(world_->StartAgent());
  ASSERT_OK(world_->cgroup().Join());
  std::map<std::string, int> decisions;
  for (int i = 0; i < 5; ++i) {
    for (IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
      for (Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
        for (const L4Address& to : Destinations(i, family, protocol)) {
          const L4Address source{ExplainWorld::NodeAddress(family),
                                 next_port_++, protocol};
          auto said = Ask(source, to);
          ASSERT_OK(said.status());
          SCOPED_TRACE(cli::ExplainText(*said));
          EXPECT_EQ(said->client_kind(), "host");
          const std::string decision = said->socket_path().decision();
          ++decisions[decision];
          auto before = world_->Counters();
          ASSERT_OK(before.status());
          const Attempt got = world_->Try(world_->node(), source, to,
                                          Patience(*said));
          auto after = world_->Counters();
          ASSERT_OK(after.status());
          auto grown = [&](const std::string& name) {
            return (*after)[name] - (*before)[name];
          };
          EXPECT_EQ(grown("socket_translated"), decision == "translated");
          EXPECT_EQ(grown("socket_refused"), decision == "refused");
          EXPECT_EQ(grown("socket_declined"), decision == "declined");
          if (decision == "translated") {
            EXPECT_EQ(got.kind, Attempt::Kind::kAnswered);
            bool candidate = false;
            for (const auto& e : said->endpoints()) {
              candidate |= e.candidate() && HostOf(e.address()) == got.endpoint;
            }
            EXPECT_TRUE(candidate) << got.endpoint;
          } else if (decision == "refused") {
            EXPECT_EQ(got.kind, Attempt::Kind::kRefused);
          }
        }
      }
    }
  }
  for (const char* wanted : {"translated", "refused", "declined", "passed"}) {
    EXPECT_GT(decisions[wanted], 0) << wanted;
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
  EXPECT_THAT(out, HasSubstr("exit=0"));
  out = run("tcp 10.244.0.2:4000 to 10.96.0.10:80");
  EXPECT_THAT(out, HasSubstr("refused"));
  EXPECT_THAT(out, HasSubstr("not ready"));
  EXPECT_THAT(out, HasSubstr("exit=1"));
  out = run("udp 10.244.0.2 203.0.113.99:53 -o json");
  EXPECT_THAT(out, HasSubstr("\"verdict\": \"passed\""));
  EXPECT_THAT(out, HasSubstr("exit=0"));
  EXPECT_THAT(run("tcp 10.244.0.2 to nowhere:80"), HasSubstr("exit=2"));
  EXPECT_THAT(run("tcp 10.244.0.2"), HasSubstr("exit=2"));
  out = run("sctp 10.244.0.2:4000 to 10.96.0.10:80");
  EXPECT_THAT(out, HasSubstr("passed"));
}

}  // namespace
}  // namespace fairlead::harness
