// SPDX-License-Identifier: Apache-2.0
// Section 14 of the service semantics with a real agent: which addresses are
// ClusterIPs' is what the ServiceCIDR objects say. A neighbour that has such
// addresses itself, and is reached by a route, answers wherever nothing stops a
// packet.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/netns/agent_fixture.h"
#include "tests/netns/socket_address.h"
#include "userspace/base/ip_address.h"

namespace fairlead::harness {
namespace {

// Of no Service.
constexpr char kFirst[] = "10.97.0.5";
constexpr char kSecond[] = "10.98.0.5";
constexpr char kSixth[] = "fd00:10:97::5";

// Accepts on ports 80 and 81 of all addresses.
class Neighbour {
 public:
  explicit Neighbour(const NetnsScope& netns) {
    absl::Status status = netns.Run([&]() -> absl::Status {
      for (size_t i = 0; i < listeners_.size(); ++i) {
        UniqueFd& fd = listeners_[i];
        fd.reset(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const Port port = static_cast<Port>(80 + i);
        SocketAddress any({IpAddress(), port, Protocol::kTcp});
        if (bind(fd.get(), any.get(), any.size()) < 0 ||
            listen(fd.get(), 64) < 0) {
          return ErrnoStatus(errno, "listen", "neighbour");
        }
      }
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    thread_ = std::thread([this] { Serve(); });
  }
  ~Neighbour() {
    stop_ = true;
    thread_.join();
  }

 private:
  void Serve() {
    while (!stop_) {
      pollfd wait[] = {{listeners_[0].get(), POLLIN, 0},
                       {listeners_[1].get(), POLLIN, 0}};
      if (poll(wait, 2, 20) <= 0) continue;
      for (const pollfd& one : wait) {
        if ((one.revents & POLLIN) == 0) continue;
        UniqueFd peer(accept4(one.fd, nullptr, nullptr, SOCK_CLOEXEC));
      }
    }
  }

  std::array<UniqueFd, 2> listeners_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

class ServiceRangesTest : public AgentTest {
 protected:
  void SetUp() override {
    AgentTest::SetUp();
    ASSERT_FALSE(HasFatalFailure());
    auto far = NetnsScope::Create();
    ASSERT_OK(far.status());
    far_.emplace(*std::move(far));
    ASSERT_OK(netns_->Command(StrCat(
                  "ip link add near type veth peer name far netns ",
                  far_->path(), " && ip addr add 198.18.0.1/24 dev near && "
                  "ip addr add fd18::1/64 dev near nodad && "
                  "ip link set near up && "
                  "ip route add 10.96.0.0/12 via 198.18.0.2"))
                  .status());
    ASSERT_OK(far_->Command("ip addr add 198.18.0.2/24 dev far && "
                            "ip addr add fd18::2/64 dev far nodad && "
                            "ip link set far up && ip link set lo up && "
                            "ip addr add 10.96.0.10/32 dev lo && "
                            "ip addr add 10.97.0.5/32 dev lo && "
                            "ip addr add 10.98.0.5/32 dev lo && "
                            "ip addr add fd00:10:97::5/128 dev lo nodad")
                  .status());
    ASSERT_OK(netns_->Command("ip route add fd00:10::/32 via fd18::2")
                  .status());
    neighbour_.emplace(*far_);
    PutService("web", kVip);
    PutEndpoints("web", {1});
  }
  void TearDown() override {
    AgentTest::TearDown();
    neighbour_.reset();
  }

  void PutRanges(const std::string& name,
                 const std::vector<std::string>& ranges,
                 const std::string& metadata = "") {
    // The stub's labels end the metadata.
    const std::string more =
        metadata.empty() ? "" : StrCat("},", metadata, R"(,"annotations":{)");
    api_->Put("servicecidrs", name, more,
              StrCat(R"("spec":{"cidrs":[")", absl::StrJoin(ranges, "\",\""),
                     "\"]}"));
  }

  // "answered" by the neighbour, "refused", or "silent".
  std::string Outcome(const std::string& ip, Port port = 80) {
    std::string outcome = "silent";
    (void)netns_->Run([&]() -> absl::Status {
      const IpAddress address = *IpAddress::Parse(ip);
      UniqueFd fd(socket(address.is_v4() ? AF_INET : AF_INET6,
                         SOCK_STREAM | SOCK_CLOEXEC, 0));
      timeval limit = {0, 400000};
      setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
      SocketAddress to({address, port, Protocol::kTcp});
      if (connect(fd.get(), to.get(), to.size()) == 0) {
        outcome = "answered";
      } else if (errno == ECONNREFUSED) {
        outcome = "refused";
      }
      return absl::OkStatus();
    });
    return outcome;
  }
  // At the first, the second and the IPv6 address; and at a ClusterIP's port
  // that no Service has.
  std::string Outcomes() {
    return absl::StrJoin({Outcome(kFirst), Outcome(kSecond), Outcome(kSixth),
                          Outcome(kVip, 81)},
                         " ");
  }
  void ExpectSoon(const std::string& outcomes) {
    std::string last;
    EXPECT_TRUE(Eventually([&] { return (last = Outcomes()) == outcomes; }))
        << "is: " << last << "\nwant: " << outcomes << "\n" << Log();
    EXPECT_EQ(Connect(), "10.244.0.1");
  }
  size_t Logged(const std::string& text) const {
    const std::vector<std::string> parts = absl::StrSplit(Log(), text);
    return parts.size() - 1;
  }

  std::optional<NetnsScope> far_;
  std::optional<Neighbour> neighbour_;
};

TEST_F(ServiceRangesTest, TheObjectsSayWhoseAddressesAreClusterIps) {
  StartAgent();
  WaitHealthy();
  ExpectSoon("answered answered answered answered");
  PutRanges("kubernetes", {"10.96.0.0/16"});
  ExpectSoon("answered answered answered refused");
  PutRanges("more", {"10.98.0.0/16", "fd00:10:97::/112"});
  ExpectSoon("answered silent silent refused");
  PutRanges("third", {"10.97.0.0/24"});
  ExpectSoon("silent silent silent refused");
  PutRanges("more", {"fd00:10:97::/112"});
  ExpectSoon("silent answered silent refused");
  // One that is being deleted counts until it is gone.
  PutRanges("third", {"10.97.0.0/24"},
            R"("deletionTimestamp":"2026-12-01T00:00:00Z")");
  PutRanges("more", {"10.98.0.0/16", "fd00:10:97::/112"});
  ExpectSoon("silent silent silent refused");
  api_->Delete("servicecidrs", "third");
  ExpectSoon("answered silent silent refused");
  api_->Delete("servicecidrs", "more");
  api_->Delete("servicecidrs", "kubernetes");
  ExpectSoon("answered answered answered answered");
}

class UnreadableTest : public ServiceRangesTest,
                       public testing::WithParamInterface<int> {};

TEST_P(UnreadableTest, TheFlagCountsUntilTheObjectsAreRead) {
  api_->Refuse("servicecidrs", GetParam());
  StartAgent({"--service-cidr", "10.97.0.0/16"});
  WaitHealthy();
  ExpectSoon("silent answered answered answered");
  // Asked for again and again, said once.
  ASSERT_TRUE(Eventually([&] {
    return Metric("fl_api_errors_total{resource=\"servicecidrs\"}") > 2;
  }));
  EXPECT_EQ(Logged("cannot read ServiceCIDRs"), 1u) << Log();
  EXPECT_EQ(Metric("fl_api_connected"), 1);
  PutRanges("kubernetes", {"10.98.0.0/16"});
  api_->Refuse("servicecidrs", 0);
  ExpectSoon("answered silent answered answered");
  // What was read stays known.
  api_->Refuse("servicecidrs", GetParam());
  api_->Stop();
  ASSERT_OK(api_->Start());
  ASSERT_TRUE(Eventually([&] {
    return Metric("fl_api_errors_total{resource=\"servicecidrs\"}") > 6;
  }));
  ExpectSoon("answered silent answered answered");
}

INSTANTIATE_TEST_SUITE_P(Statuses, UnreadableTest, testing::Values(403, 404));

TEST_F(ServiceRangesTest, ARestartGoesOnWithWhatTheLastRunKnew) {
  PutRanges("kubernetes", {"10.97.0.0/16"});
  StartAgent();
  WaitHealthy();
  ExpectSoon("silent answered answered answered");
  ASSERT_EQ(StopAgent(SIGKILL), -SIGKILL);
  api_->Stop();
  StartAgent({"--service-cidr", "10.98.0.0/16"});
  ExpectSoon("silent answered answered answered");
  // The objects may have changed meanwhile.
  PutRanges("kubernetes", {"fd00:10:97::/112"});
  ASSERT_OK(api_->Start());
  ExpectSoon("answered answered silent answered");
}

TEST_F(ServiceRangesTest, ThoseThatProgramsHaveNoRoomForAreCounted) {
  StartAgent();
  WaitHealthy();
  for (int i = 89; i <= 96; ++i) {
    PutRanges(StrCat("r", i), {StrCat("10.", i, ".0.0/16")});
  }
  ExpectSoon("answered answered answered refused");
  EXPECT_EQ(Metric("fl_service_ranges"), 8);
  EXPECT_EQ(Metric("fl_service_ranges_left_out"), 0);
  PutRanges("r97", {"10.97.0.0/16"});
  ASSERT_TRUE(
      Eventually([&] { return Metric("fl_service_ranges_left_out") == 1; }));
  EXPECT_EQ(Logged("left_out=10.97.0.0/16"), 1u) << Log();
  ExpectSoon("answered answered answered refused");
  api_->Delete("servicecidrs", "r89");
  ExpectSoon("silent answered answered refused");
  EXPECT_EQ(Metric("fl_service_ranges_left_out"), 0);
}

}  // namespace
}  // namespace fairlead::harness
