// SPDX-License-Identifier: Apache-2.0
// The fixture of tests on a ServiceBed: one bed for all tests of a binary.
#ifndef FAIRLEAD_TESTS_NETNS_SERVICE_TEST_BASE_H_
#define FAIRLEAD_TESTS_NETNS_SERVICE_TEST_BASE_H_

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/netns/conversation.h"
#include "tests/netns/probes.h"
#include "tests/netns/service_bed.h"

#define ASSERT_OK(expr) ASSERT_EQ((expr), absl::OkStatus())
#define EXPECT_OK(expr) EXPECT_EQ((expr), absl::OkStatus())

namespace fairlead::harness {

inline constexpr IpFamily kFamilies[] = {IpFamily::kIpv4, IpFamily::kIpv6};
inline constexpr Protocol kProtocols[] = {Protocol::kTcp, Protocol::kUdp};

// A client as a test names it.
struct From {
  const char* station;
  bool socket_path;
  std::string ToString() const {
    return std::string(station) + (socket_path ? " (socket path)" : "");
  }
};
inline constexpr From kFroms[] = {
    {"outside", false}, {"a", false}, {"a", true}, {"node1", true}};

class ServiceTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto bed = ServiceBed::Create();
    ASSERT_TRUE(bed.ok()) << bed.status();
    bed_ = *std::move(bed);
    ASSERT_OK(bed_->StartAgent());
  }
  static void TearDownTestSuite() { bed_.reset(); }
  void SetUp() override { ASSERT_NE(bed_, nullptr); }

  static const Station& At(const From& from) {
    return bed_->net().at(from.station);
  }
  static std::map<std::string, int> AskFrom(const From& from,
                                            const L4Address& to, int times) {
    return AskFrom(from, Attempt{.to = to}, times);
  }
  static std::map<std::string, int> AskFrom(const From& from,
                                            const Attempt& attempt,
                                            int times) {
    std::optional<ServiceBed::OnSocketPath> on_socket_path;
    if (from.socket_path) on_socket_path.emplace(*bed_);
    return AskMany(At(from), attempt, times);
  }

  static absl::StatusOr<Conversation> OpenFrom(
      const From& from, const L4Address& to,
      const std::function<void(int)>& prepare = nullptr) {
    std::optional<ServiceBed::OnSocketPath> on_socket_path;
    if (from.socket_path) on_socket_path.emplace(*bed_);
    return Conversation::Open(At(from), to, prepare);
  }

  inline static std::unique_ptr<ServiceBed> bed_;
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_SERVICE_TEST_BASE_H_
