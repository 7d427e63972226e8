// SPDX-License-Identifier: Apache-2.0
// Section 10 of the service semantics, and what is beyond it: UDP clients of
// every kind, in every way of a Service and both families, after an endpoint,
// the last endpoint, the frontend or the Service has gone, and over a restart.
//
// Another Service keeps each endpoint alive in the tables, so that nothing but
// the clean-up ends an exchange.
#include <gmock/gmock.h>

#include <tuple>

#include "tests/netns/pod_process.h"
#include "tests/netns/service_test_base.h"
#include "tests/netns/udp_client.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

using ::testing::AnyOf;
using ::testing::Combine;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::ValuesIn;
using Socket = UdpClient::Socket;

constexpr int kKeeper = 250;

struct Talk {
  From from;
  Socket socket;
  IpFamily family;
  Way way;
  std::unique_ptr<UdpClient> client;
  std::string who;  // answered first

  // Not the packet path's: nobody but the clean-up can tell its owner.
  bool ends() const { return from.socket_path && client->connected(); }
  std::string ToString() const {
    return StrCat(from.ToString(), " -> ", WayName(way), " ",
                  IpFamilyName(family), ", ", UdpClient::Name(socket));
  }
};

class UdpCleanupBase : public ServiceTest {
 protected:
  static void SetUpTestSuite() {
    ServiceTest::SetUpTestSuite();
    if (bed_ == nullptr) return;
    pod_ = std::make_unique<PodProcess>(bed_->net().at("a"));
    ASSERT_OK(bed_->Apply(
        {{.number = kKeeper, .endpoints = {"l1", "l2", "l3", "r1"}}}));
  }
  static void TearDownTestSuite() {
    pod_.reset();
    ServiceTest::TearDownTestSuite();
  }

  void SetUp() override {
    ServiceTest::SetUp();
    spec_.number = ++last_number_;
    Forget();
  }
  void TearDown() override {
    const double runs = Runs();
    ASSERT_OK(bed_->Remove(spec_.number));
    EXPECT_TRUE(Eventually([&] { return Runs() > runs; }));
  }

  // Counts from here on.
  void Forget() {
    forgotten_ = bed_->Metric(kForgotten);
    destroyed_ = bed_->Metric(kDestroyed);
  }
  double Forgotten() const { return bed_->Metric(kForgotten) - forgotten_; }
  double Destroyed() const { return bed_->Metric(kDestroyed) - destroyed_; }
  static double Runs() {
    return bed_->Metric(
        "kubeproxy_conntrack_reconciler_sync_duration_seconds_count");
  }

  static Talk Open(const From& from, Socket socket, int number, Way way,
                   IpFamily family) {
    std::optional<ServiceBed::OnSocketPath> on_socket_path;
    if (from.socket_path) on_socket_path.emplace(*bed_);
    return {from, socket, family, way,
            std::make_unique<UdpClient>(
                At(from), FrontendOf(number, way, family, Protocol::kUdp),
                socket, NextSourcePort()), ""};
  }

  // Every kind of client and socket that there is for this family.
  static std::vector<Talk> OpenAll(int number, Way way, IpFamily family) {
    std::vector<Talk> talks;
    for (const From& from : kFroms) {
      for (Socket socket : {Socket::kConnected, Socket::kUnconnected}) {
        talks.push_back(Open(from, socket, number, way, family));
      }
      if (!from.socket_path || family != IpFamily::kIpv4) continue;
      for (Socket socket :
           {Socket::kConnectedMapped, Socket::kUnconnectedMapped}) {
        talks.push_back(Open(from, socket, number, way, family));
      }
    }
    return talks;
  }

  static void ExpectAnswers(std::vector<Talk>* talks, const std::string& who) {
    for (Talk& talk : *talks) {
      EXPECT_TRUE(Eventually([&] {
        talk.who = talk.client->Ask();
        return talk.who == who;
      })) << talk.ToString() << ": '" << talk.who << "', not " << who;
    }
  }
  // At once: nothing of it may have been taken away for a moment.
  static void ExpectGoOn(std::vector<Talk>* talks, const std::string& when) {
    for (Talk& talk : *talks) {
      EXPECT_EQ(talk.client->Ask(absl::Seconds(5)), talk.who)
          << talk.ToString() << ", " << when;
    }
  }
  // Of connected sockets of the socket path; the others are left.
  static void ExpectErrorsOfConnected(std::vector<Talk>* talks) {
    for (Talk& talk : *talks) {
      if (talk.ends()) ExpectDestroyed(&talk);
    }
    std::erase_if(*talks, [](const Talk& talk) { return talk.ends(); });
  }
  static void ExpectDestroyed(Talk* talk) {
    std::string got;
    EXPECT_TRUE(Eventually([&] {
      got = talk->client->Ask();
      return got == "ECONNABORTED" || got == "EDESTADDRREQ";
    })) << talk->ToString() << ": '" << got << "'";
  }
  // What a run has to do: as many sockets and entries.
  void ExpectCleanedUp(int sockets, size_t entries) {
    const auto wanted = static_cast<double>(entries);
    EXPECT_TRUE(Eventually([&] {
      return Destroyed() == sockets && Forgotten() == wanted;
    })) << Destroyed() << " sockets, not " << sockets << "; " << Forgotten()
        << " entries, not " << wanted << "\n" << bed_->Log();
  }
  // By l1, past what its sockets had been told before.
  void ExpectTakenUp(std::vector<Talk>* talks) {
    int destroyed = 0;
    for (Talk& talk : *talks) {
      // A pod's datagrams come by the packet path.
      if (!talk.ends() || talk.from.station != std::string("node1")) continue;
      ExpectDestroyed(&talk);
      ++destroyed;
    }
    EXPECT_TRUE(Eventually([&] { return Destroyed() == destroyed; }))
        << Destroyed() << " sockets, not " << destroyed;
    std::erase_if(*talks, [](const Talk& talk) {
      return talk.ends() && talk.from.station == std::string("node1");
    });
    ExpectAnswers(talks, "l1");
  }
  static void ExpectUnanswered(std::vector<Talk>* talks) {
    for (Talk& talk : *talks) {
      EXPECT_THAT(talk.client->Ask(), Not(AnyOf("l1", "r1", "node1")))
          << talk.ToString();
    }
  }
  static int Ending(const std::vector<Talk>& talks) {
    return static_cast<int>(
        std::count_if(talks.begin(), talks.end(),
                      [](const Talk& talk) { return talk.ends(); }));
  }

  static constexpr char kForgotten[] =
      "kubeproxy_conntrack_reconciler_deleted_entries_total";
  static constexpr char kDestroyed[] = "fl_udp_sockets_destroyed_total";
  ServiceSpec spec_;
  double forgotten_ = 0;
  double destroyed_ = 0;
  inline static int last_number_ = 0;
  inline static std::unique_ptr<PodProcess> pod_;
};

class UdpCleanup
    : public UdpCleanupBase,
      public ::testing::WithParamInterface<std::tuple<Way, IpFamily>> {
 protected:
  static Way way() { return std::get<0>(GetParam()); }
  static IpFamily family() { return std::get<1>(GetParam()); }
  std::vector<Talk> OpenAll(int number) const {
    return UdpCleanupBase::OpenAll(number, way(), family());
  }
};

std::string CellName(
    const ::testing::TestParamInfo<std::tuple<Way, IpFamily>>& info) {
  std::string name = StrCat(WayName(std::get<0>(info.param)),
                            IpFamilyName(std::get<1>(info.param)));
  std::erase(name, ' ');
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, UdpCleanup,
                         Combine(ValuesIn(kWays), ValuesIn(kFamilies)),
                         CellName);

TEST_P(UdpCleanup, AnEndpointGoesThenTheLast) {
  spec_.endpoints = {"l1"};
  ASSERT_OK(bed_->Apply({spec_}));
  std::vector<Talk> talks = OpenAll(spec_.number);
  std::vector<Talk> bystanders = OpenAll(kKeeper);
  ExpectAnswers(&talks, "l1");
  for (Talk& talk : bystanders) talk.who = talk.client->Ask();
  const int ending = Ending(talks);
  ASSERT_EQ(ending, family() == IpFamily::kIpv4 ? 4 : 2);

  spec_.endpoints = {"l2"};
  ASSERT_OK(bed_->Apply({spec_}));
  ExpectErrorsOfConnected(&talks);
  ExpectAnswers(&talks, "l2");
  ExpectCleanedUp(ending, talks.size());
  ExpectGoOn(&bystanders, "another Service's endpoint has gone");

  spec_.endpoints = {};
  ASSERT_OK(bed_->Apply({spec_}));
  ExpectAnswers(&talks, "ECONNREFUSED");
  ExpectCleanedUp(ending, 2 * talks.size());
  spec_.endpoints = {"r1"};
  ASSERT_OK(bed_->Apply({spec_}));
  ExpectAnswers(&talks, "r1");
}

TEST_P(UdpCleanup, TheServiceGoes) {
  spec_.endpoints = {"l1"};
  ASSERT_OK(bed_->Apply({spec_}));
  std::vector<Talk> talks = OpenAll(spec_.number);
  ExpectAnswers(&talks, "l1");
  const int ending = Ending(talks);
  ASSERT_OK(bed_->Remove(spec_.number));
  ExpectErrorsOfConnected(&talks);
  ExpectCleanedUp(ending, talks.size());
  for (Talk& talk : talks) {
    EXPECT_NE(talk.client->Ask(), "l1") << talk.ToString();
  }
  // For TearDown.
  ASSERT_OK(bed_->Apply({spec_}));
}

// The Service stays, what it is asked by goes.
TEST_P(UdpCleanup, TheFrontendGoes) {
  spec_.endpoints = {"l1"};
  ASSERT_OK(bed_->Apply({spec_}));
  std::vector<Talk> talks = OpenAll(spec_.number);
  std::vector<Talk> others;
  for (Way other : kWays) {
    if (other == way()) continue;
    for (Talk& talk :
         UdpCleanupBase::OpenAll(spec_.number, other, family())) {
      others.push_back(std::move(talk));
    }
  }
  ExpectAnswers(&talks, "l1");
  ExpectAnswers(&others, "l1");
  const int ending = Ending(talks);
  switch (way()) {
    case Way::kClusterIp:
      return;  // never without the Service
    case Way::kNodePort:
      spec_.node_port = 31000;
      break;
    case Way::kLoadBalancer:
      spec_.vip = 240;
      break;
    case Way::kExternalIp:
      spec_.external_ips = false;
  }
  ASSERT_OK(bed_->Apply({spec_}));
  ExpectErrorsOfConnected(&talks);
  ExpectCleanedUp(ending, talks.size());
  for (Talk& talk : talks) {
    EXPECT_NE(talk.client->Ask(), "l1") << talk.ToString();
  }
  ExpectGoOn(&others, "another frontend has gone");
}

// Traffic policy, topology and readiness say where new exchanges go.
TEST_P(UdpCleanup, AServingEndpointKeepsItsClients) {
  spec_.endpoints = {"r1"};
  ASSERT_OK(bed_->Apply({spec_}));
  std::vector<Talk> talks = OpenAll(spec_.number);
  ExpectAnswers(&talks, "r1");
  spec_.endpoints = {"r1", "l1"};
  spec_.internal_local = spec_.external_local = true;
  ASSERT_OK(bed_->Apply({spec_}));
  ExpectGoOn(&talks, "both policies Local, and it is elsewhere");
  spec_.endpoints = {"r1:terminating", "l1"};
  ASSERT_OK(bed_->Apply({spec_}));
  ExpectGoOn(&talks, "it terminates");
  spec_.internal_local = spec_.external_local = false;
  spec_.endpoints = {"r1:terminating", "r2"};
  ASSERT_OK(bed_->Apply({spec_}));
  ExpectGoOn(&talks, "others come and go");
  spec_.endpoints = {"r1"};
  spec_.internal_local = spec_.external_local = true;
  spec_.source_ranges = {"192.0.2.200/32", "2001:db8:ffff::/64"};
  ASSERT_OK(bed_->Apply({spec_}));
  ExpectGoOn(&talks, "new ones are dropped");
  spec_.internal_local = spec_.external_local = false;
  spec_.source_ranges = {};
  // l1's removal was a reason to look.
  EXPECT_EQ(Forgotten(), 0);
  EXPECT_EQ(Destroyed(), 0);
  spec_.endpoints = {"r1:dead", "r2"};
  ASSERT_OK(bed_->Apply({spec_}));
  const int ending = Ending(talks);
  ExpectErrorsOfConnected(&talks);
  ExpectAnswers(&talks, "r2");
  ExpectCleanedUp(ending, talks.size());
}

// Exchanges that began before there was a frontend, so untranslated.
TEST_P(UdpCleanup, AFrontendComes) {
  std::vector<Talk> talks = OpenAll(spec_.number);
  ExpectUnanswered(&talks);
  spec_.endpoints = {"l1"};
  ASSERT_OK(bed_->Apply({spec_}));
  ExpectTakenUp(&talks);
}

// ... and while it was declined: no local endpoint, or not in the ranges.
class UdpDeclined : public UdpCleanup {};

INSTANTIATE_TEST_SUITE_P(
    All, UdpDeclined,
    Combine(::testing::Values(Way::kClusterIp, Way::kLoadBalancer),
            ValuesIn(kFamilies)),
    CellName);

TEST_P(UdpDeclined, AFrontendIsOpened) {
  spec_.endpoints = {"r1"};
  if (way() == Way::kClusterIp) {
    spec_.internal_local = true;
  } else {
    spec_.source_ranges = {"192.0.2.200/32", "2001:db8:ffff::/64"};
  }
  ASSERT_OK(bed_->Apply({spec_}));
  Forget();
  std::vector<Talk> talks = OpenAll(spec_.number);
  ExpectUnanswered(&talks);
  spec_.endpoints = {"l1"};
  spec_.internal_local = false;
  spec_.source_ranges = {};
  ASSERT_OK(bed_->Apply({spec_}));
  ExpectTakenUp(&talks);
}

class UdpCleanupRestart : public UdpCleanupBase {};

TEST_F(UdpCleanupRestart, OnlyWhatLostItsEndpointMeanwhile) {
  spec_.endpoints = {"l1"};
  ASSERT_OK(bed_->Apply({spec_}));
  std::vector<Talk> talks;
  for (Way way : kWays) {
    for (IpFamily family : kFamilies) {
      for (Talk& talk : OpenAll(spec_.number, way, family)) {
        talks.push_back(std::move(talk));
      }
    }
  }
  ASSERT_THAT(talks, SizeIs(80));
  ExpectAnswers(&talks, "l1");
  const int ending = Ending(talks);
  ASSERT_OK(bed_->RestartAgent(SIGKILL));
  ASSERT_TRUE(Eventually([&] { return Runs() == 1; })) << bed_->Log();
  Forget();
  ExpectGoOn(&talks, "restarted");
  EXPECT_EQ(bed_->Metric(kForgotten), 0);
  EXPECT_EQ(bed_->Metric(kDestroyed), 0);
  // What goes meanwhile is made up for.
  spec_.endpoints = {"l2"};
  bed_->Put(spec_);
  ASSERT_OK(bed_->RestartAgent(SIGKILL));
  Forget();
  forgotten_ = destroyed_ = 0;
  ExpectErrorsOfConnected(&talks);
  ExpectAnswers(&talks, "l2");
  ExpectCleanedUp(ending, talks.size());
}

}  // namespace
}  // namespace fairlead::harness
