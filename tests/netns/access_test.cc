// SPDX-License-Identifier: Apache-2.0
// Who may use a frontend: loadBalancerSourceRanges, and the addresses that
// NodePorts answer on.
#include <gmock/gmock.h>

#include "tests/netns/service_test_base.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

constexpr absl::Duration kSilence = absl::Milliseconds(300);

class SourceRanges : public ServiceTest {
 protected:
  // A service with these ranges, and who may use its VIPs.
  static void Check(int number, const std::vector<std::string>& ranges,
                    const std::vector<std::string>& allowed_v4,
                    const std::vector<std::string>& allowed_v6) {
    ASSERT_OK(bed_->Apply({{.number = number,
                            .endpoints = {"l1"},
                            .source_ranges = ranges}}));
    for (const From& from : kFroms) {
      for (IpFamily family : kFamilies) {
        const auto& list =
            family == IpFamily::kIpv4 ? allowed_v4 : allowed_v6;
        const bool allowed =
            std::find(list.begin(), list.end(), from.station) != list.end();
        for (Protocol protocol : kProtocols) {
          CheckOne(from, number, family, protocol, allowed);
        }
      }
    }
  }

  static void CheckOne(const From& from, int number, IpFamily family,
                       Protocol protocol, bool allowed) {
    for (Way way : kWays) {
      const bool restricted = way == Way::kLoadBalancer && !allowed;
      Attempt attempt{.to = FrontendOf(number, way, family, protocol)};
      if (restricted) attempt.patience = kSilence;
      const double before = bed_->Counter("drop_source_range");
      const auto wanted = std::map<std::string, int>{
          {restricted ? "silent" : "l1", 3}};
      EXPECT_EQ(AskFrom(from, attempt, 3), wanted)
          << from.ToString() << " -> " << WayName(way) << " "
          << ProtocolName(protocol) << " " << IpFamilyName(family);
      EXPECT_EQ(bed_->Counter("drop_source_range") - before,
                restricted ? 3 : 0)
          << from.ToString() << " -> " << WayName(way) << " "
          << ProtocolName(protocol) << " " << IpFamilyName(family);
    }
  }
};

TEST_F(SourceRanges, OnlyThoseInsideUseTheVip) {
  Check(1, {"192.0.2.0/28", "2001:db8::/120"}, {"outside"}, {"outside"});
}

TEST_F(SourceRanges, PodsAreSubjectToThem) {
  Check(2, {"10.244.1.10/32", "fd44:1::/64"}, {"a"}, {"a"});
}

TEST_F(SourceRanges, SoIsThisHost) {
  Check(3, {"172.31.1.0/24", "fd31:1::/64"}, {"node1"}, {"node1"});
}

TEST_F(SourceRanges, AFamilyWithoutOneIsOpen) {
  Check(4, {" 192.0.2.10/32 "}, {"outside"}, {"outside", "a", "node1"});
}

TEST_F(SourceRanges, ARangeOfAllIsNoRestriction) {
  Check(5, {"192.0.2.10/32", "0.0.0.0/0", "2001:db8::10/128"},
        {"outside", "a", "node1"}, {"outside"});
}

class NodePortAddresses : public ServiceTest {
 protected:
  static constexpr int kNumber = 10;

  static void Start(const std::string& addresses) {
    std::vector<std::string> flags = ServiceBed::ClusterCidrs();
    if (!addresses.empty()) {
      flags.insert(flags.end(), {"--nodeport-addresses", addresses});
    }
    bed_->Put({.number = kNumber, .endpoints = {"l1"}});
    ASSERT_OK(bed_->StartAgent(flags));
  }

  // Who answers on this address of node1 (of the pod itself, if it is a
  // loopback address): the endpoint, or the host itself refuses where the
  // NodePort doesn't answer.
  static void Check(const From& from, const std::string& address,
                    bool answers) {
    const auto wanted =
        std::map<std::string, int>{{answers ? "l1" : "refused", 3}};
    for (Protocol protocol : kProtocols) {
      for (bool connected : {true, false}) {
        if (protocol == Protocol::kTcp && !connected) continue;
        Attempt attempt{.to = FrontendOf(kNumber, Way::kNodePort,
                                         IpFamily::kIpv4, protocol),
                        .connected = connected};
        attempt.to.address = *IpAddress::Parse(address);
        EXPECT_EQ(AskFrom(from, attempt, 3), wanted)
            << from.ToString() << " -> " << attempt.to.ToString()
            << (connected ? "" : " without connect()");
      }
    }
  }
  static void CheckAll(const std::string& address, bool answers) {
    for (const From& from : kFroms) Check(from, address, answers);
  }
  // `host`: of node1. A pod's loopback is its own, and so is what is not in the
  // agent's cgroup.
  static void CheckLoopback(bool host) {
    for (const char* address : {"127.0.0.1", "::1"}) {
      Check({"node1", true}, address, host);
      Check({"node1", false}, address, false);
      Check({"a", true}, address, false);
      Check({"a", false}, address, false);
    }
    // To the kernel these are loopback, too.
    for (const char* address : {"0.0.0.0", "::"}) {
      Check({"a", true}, address, false);
      if (!host) Check({"node1", true}, address, false);
    }
  }
};

TEST_F(NodePortAddresses, OnlyThePrimaryOneByDefault) {
  ASSERT_NO_FATAL_FAILURE(Start(""));
  CheckAll("172.31.1.2", true);
  CheckAll("fd31:1::2", true);
  CheckAll(Topology::kSecondV4, false);
  CheckAll(Topology::kSecondV6, false);
  CheckLoopback(false);
}

TEST_F(NodePortAddresses, AListOfRanges) {
  ASSERT_NO_FATAL_FAILURE(Start("172.31.1.3/32,fd31:1::/64"));
  CheckAll("172.31.1.2", false);
  CheckAll(Topology::kSecondV4, true);
  CheckAll("fd31:1::2", true);
  CheckAll(Topology::kSecondV6, true);
  CheckLoopback(false);
}

// For the processes of the host itself, through their sockets; nobody else
// gains or loses anything.
TEST_F(NodePortAddresses, Localhost) {
  ASSERT_NO_FATAL_FAILURE(Start("localhost"));
  CheckLoopback(true);
  CheckAll("172.31.1.2", false);
  CheckAll("fd31:1::2", false);
  ASSERT_NO_FATAL_FAILURE(Start("primary,localhost"));
  CheckLoopback(true);
  CheckAll("172.31.1.2", true);
  CheckAll("fd31:1::2", true);
  CheckAll(Topology::kSecondV4, false);
  CheckAll(Topology::kSecondV6, false);
}

TEST_F(NodePortAddresses, All) {
  ASSERT_NO_FATAL_FAILURE(Start("all"));
  CheckLoopback(true);
  for (const char* address : {"172.31.1.2", "fd31:1::2", Topology::kSecondV4,
                              Topology::kSecondV6}) {
    CheckAll(address, true);
  }
}

}  // namespace
}  // namespace fairlead::harness
