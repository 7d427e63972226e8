// SPDX-License-Identifier: Apache-2.0
// A flood of SYNs with random sources at a NodePort, answered by the endpoints
// as TCP does it: more flows than the table has room for, or than there are
// source ports. Connections that are established lose nothing, and clients that
// come are still served.
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cstdio>

#include "absl/time/clock.h"
#include "tests/netns/service_test_base.h"
#include "tests/netns/syn_flood.h"
#include "userspace/base/clock.h"
#include "userspace/base/strings.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/pin_layout.h"

namespace fairlead::harness {
namespace {

using datapath::FlowTable;

constexpr From kOutside = {"outside", false};
// Ours to choose: a machine that is slower sends fewer.
constexpr int kSynsPerSecond = 150'000;

class SynFloodTest : public ServiceTest {
 protected:
  // Of both services: 1 keeps clients' addresses, 2 is masqueraded.
  void SetUp() override {
    ServiceTest::SetUp();
    ASSERT_OK(bed_->StartAgent());  // without the last flood's flows
    ASSERT_OK(bed_->Apply(
        {{.number = 1, .external_local = true, .endpoints = {"l1", "l2"}},
         {.number = 2, .endpoints = {"r1"}}}));
    constexpr int kLasting = 64;
    for (int i = 0; i < kLasting; ++i) {
      auto opened = OpenFrom(
          kOutside, NodePortOf(1 + i % 2, kFamilies[i / 2 % 2]), BePatient);
      ASSERT_OK(opened.status());
      lasting_.push_back(*std::move(opened));
    }
  }

  static L4Address NodePortOf(int number, IpFamily family) {
    return FrontendOf(number, Way::kNodePort, family, Protocol::kTcp);
  }

  // TCP sends again what a full queue drops. A connection that is lost is
  // reset, at once.
  static void BePatient(int fd) {
    const timeval limit = {60, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  }

  // Each lasting connection has something said and answered; how many not.
  int Broken(const std::string& text) {
    int broken = 0;
    for (Conversation& connection : lasting_) {
      absl::Status status = connection.Say(text);
      if (!status.ok()) last_failure_ = status.ToString();
      broken += !status.ok();
    }
    return broken;
  }

  static int Answered(const L4Address& to, int times) {
    int answered = 0;
    for (const auto& [who, count] : AskFrom(
             kOutside, {.to = to, .patience = absl::Seconds(30)}, times)) {
      if (who == "l1" || who == "l2" || who == "r1") answered += count;
    }
    return answered;
  }

  std::vector<Conversation> lasting_;
  std::string last_failure_;
};

TEST_F(SynFloodTest, WhatIsEstablishedGoesOnAndClientsAreServed) {
  auto table =
      FlowTable::Open(datapath::PinLayout(bed_->bpf_root()));
  ASSERT_OK(table.status());
  const L4Address target = NodePortOf(1, IpFamily::kIpv4);
  const double before = bed_->Counter("forward_new");
  auto flood = SynFlood::Start(bed_->net(), target, kSynsPerSecond);
  ASSERT_OK(flood.status());

  // A flow takes two entries. The answers' half of them would fill the table,
  // and more.
  const absl::Duration begin = Clock::Real().Monotonic();
  double flows = 0;
  int rounds = 0, clients = 0, served = 0;
  while (flows < 1.5 * table->capacity()) {
    ASSERT_LT(Clock::Real().Monotonic() - begin, absl::Seconds(120))
        << flows << " flows of " << (*flood)->sent() << " SYNs";
    ++rounds;
    ASSERT_EQ(Broken(StrCat("round ", rounds)), 0)
        << "after " << flows << " flows: " << last_failure_;
    clients += 2;
    served += Answered(target, 1) +
              Answered(NodePortOf(2, IpFamily::kIpv6), 1);
    flows = bed_->Counter("forward_new") - before;
  }
  EXPECT_OK((*flood)->Stop());

  auto entries = table->Count();
  ASSERT_OK(entries.status());
  printf("%.0f flows of %lu SYNs in %s, %lu entries of %u; %d rounds of %zu "
         "connections, %d of %d new clients served meanwhile\n",
         flows, (*flood)->sent(),
         absl::FormatDuration(Clock::Real().Monotonic() - begin).c_str(),
         *entries, table->capacity(), rounds, lasting_.size(), served,
         clients);
  EXPECT_LE(*entries, table->capacity());
  EXPECT_GT(*entries, table->capacity() * 9 / 10) << "it was not full";
  EXPECT_GT(served, 0);
  for (Conversation& connection : lasting_) {
    EXPECT_OK(connection.Exchange(1 << 18));
  }
  for (int number : {1, 2}) {
    for (IpFamily family : kFamilies) {
      EXPECT_EQ(Answered(NodePortOf(number, family), 10), 10)
          << number << IpFamilyName(family);
    }
  }
}

TEST_F(SynFloodTest, SourcePortsOfOneEndpointAreAllThatRunsOut) {
  auto flood = SynFlood::Start(bed_->net(), NodePortOf(2, IpFamily::kIpv4),
                               kSynsPerSecond);
  ASSERT_OK(flood.status());
  const absl::Duration begin = Clock::Real().Monotonic();
  for (int round = 1; bed_->Counter("reject_no_port") < 1000; ++round) {
    ASSERT_LT(Clock::Real().Monotonic() - begin, absl::Seconds(120))
        << (*flood)->sent() << " SYNs";
    ASSERT_EQ(Broken(StrCat("round ", round)), 0) << last_failure_;
  }
  ASSERT_EQ(Broken("no port is left"), 0) << last_failure_;
  EXPECT_EQ(Answered(NodePortOf(1, IpFamily::kIpv4), 10), 10);
  EXPECT_EQ(Answered(NodePortOf(2, IpFamily::kIpv6), 10), 10);
  EXPECT_OK((*flood)->Stop());
}

}  // namespace
}  // namespace fairlead::harness
