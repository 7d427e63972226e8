// SPDX-License-Identifier: Apache-2.0
// One Service through all types that Kubernetes lets it become: after each step
// every address that it ever had is asked, by every kind of client.
#include "absl/strings/match.h"
#include "tests/netns/service_test_base.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

constexpr int kNumber = 1;
constexpr int kOtherVip = 240;
constexpr Port kNodePorts[] = {31001, 31002};
constexpr absl::Duration kSilence = absl::Milliseconds(400);

// An address that the Service has or had.
struct Place {
  std::string name;
  Way way;
  int number = kNumber;  // whose, of FrontendOf()
  Port node_port = 0;

  L4Address At(IpFamily family, Protocol protocol) const {
    L4Address to = FrontendOf(number, way, family, protocol);
    if (node_port != 0) to.port = node_port;
    return to;
  }
};

const std::vector<Place>& Places() {
  static const std::vector<Place> places = {
      {"cluster", Way::kClusterIp},
      {"external", Way::kExternalIp},
      {"port1", Way::kNodePort, kNumber, kNodePorts[0]},
      {"port2", Way::kNodePort, kNumber, kNodePorts[1]},
      {"vip1", Way::kLoadBalancer},
      {"vip2", Way::kLoadBalancer, kOtherVip}};
  return places;
}

struct Step {
  const char* type;
  int node_port;
  int vip;
  const char* answers;  // names of places
};

constexpr Step kSteps[] = {
    {"ClusterIP", 0, 0, "cluster external"},
    {"NodePort", 31001, 0, "cluster external port1"},
    {"LoadBalancer", 31001, 0, "cluster external port1 vip1"},
    {"LoadBalancer", 31002, kOtherVip, "cluster external port2 vip2"},
    {"NodePort", 31001, 0, "cluster external port1"},
    {"LoadBalancer", 31001, 0, "cluster external port1 vip1"},
    {"ClusterIP", 0, 0, "cluster external"},
    {"ExternalName", 0, 0, ""},
    {"Headless", 0, 0, ""},
    {"ClusterIP", 0, 0, "cluster external"},
    {"LoadBalancer", 31002, 0, "cluster external port2 vip1"},
    {"ExternalName", 0, 0, ""},
    {"NodePort", 31002, 0, "cluster external port2"},
};

class ServiceTypes : public ServiceTest {
 protected:
  struct Asked {
    std::string what;
    const Place* place;
    size_t probe;
  };

  // "" if it is as it should be. An address that isn't the Service's (any
  // more) is one as any other: this host refuses a port where nobody listens,
  // and nobody has the others.
  static std::string Judge(const Outcome& outcome, const Place& place,
                           bool answers) {
    if (answers) {
      return outcome.who == "l1" ? "" : StrCat("no answer ", outcome.note);
    }
    if (outcome.kind == Outcome::Kind::kAnswered) {
      return "answered by " + outcome.who;
    }
    const bool refused = outcome.kind == Outcome::Kind::kRefused;
    if (refused != (place.way == Way::kNodePort)) {
      return refused ? "refused" : StrCat("not refused ", outcome.note);
    }
    return "";
  }

  static void CheckFrom(const From& from, const Step& step) {
    Probes probes;
    std::vector<Asked> asked;
    {
      std::optional<ServiceBed::OnSocketPath> on_socket_path;
      if (from.socket_path) on_socket_path.emplace(*bed_);
      for (const Place& place : Places()) {
        for (IpFamily family : kFamilies) {
          for (Protocol protocol : kProtocols) {
            Attempt attempt{.to = place.At(family, protocol),
                            .source_port = NextSourcePort()};
            if (!absl::StrContains(step.answers, place.name)) {
              attempt.patience = kSilence;
            }
            asked.push_back({StrCat(from.ToString(), " -> ", place.name, " ",
                                    attempt.to.ToString(), " ",
                                    ProtocolName(protocol)),
                             &place, probes.Start(At(from), attempt)});
          }
        }
      }
    }
    probes.Finish();
    for (const Asked& one : asked) {
      EXPECT_EQ(Judge(probes.outcome(one.probe), *one.place,
                      absl::StrContains(step.answers, one.place->name)),
                "")
          << one.what;
    }
  }
};

TEST_F(ServiceTypes, OnlyWhatTheTypeHasAnswers) {
  for (const Step& step : kSteps) {
    SCOPED_TRACE(StrCat(step.type, " ", step.node_port, " ", step.vip));
    ASSERT_OK(bed_->Apply({{.number = kNumber,
                            .endpoints = {"l1"},
                            .type = step.type,
                            .node_port = step.node_port,
                            .vip = step.vip}}));
    for (const From& from : kFroms) CheckFrom(from, step);
  }
}

}  // namespace
}  // namespace fairlead::harness
