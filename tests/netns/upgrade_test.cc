// SPDX-License-Identifier: Apache-2.0
// Nothing fails while the agent is killed, restarted, reconfigured, upgraded to
// a version with other map layouts, and rolled back: connections that live,
// those that are opened meanwhile, and a stream of datagrams.
//
// FAIRLEAD_UPGRADE_CONNECTIONS (default 400) connections live through it;
// scripts/upgrade-load runs it with 10,000.
#include <gmock/gmock.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <thread>

#include "absl/time/clock.h"
#include "bpf/abi/types.h"
#include "tests/netns/service_test_base.h"
#include "tests/netns/socket_address.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

using ::testing::HasSubstr;

// Clients that come and go, and streams, until it is destroyed; what failed.
class Load {
 public:
  explicit Load(const Topology& net) {
    for (IpFamily family : kFamilies) {
      const L4Address frontend =
          FrontendOf(1, Way::kNodePort, family, Protocol::kTcp);
      const L4Address cluster_ip =
          FrontendOf(1, Way::kClusterIp, family, Protocol::kTcp);
      threads_.emplace_back([=, this, &net] {
        ComeAndGo(net.at("outside"), frontend);
      });
      threads_.emplace_back([=, this, &net] {
        ComeAndGo(net.at("a"), cluster_ip);
      });
      L4Address datagrams = frontend;
      datagrams.protocol = Protocol::kUdp;
      threads_.emplace_back([=, this, &net] {
        Stream(net.at("outside"), datagrams);
      });
    }
  }
  ~Load() { End(); }

  void End() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  int opened() const { return opened_; }
  int datagrams() const { return datagrams_; }
  std::vector<std::string> failures() {
    std::lock_guard lock(mutex_);
    return failures_;
  }

 private:
  // Each connection stays for about a second: it is there before and after
  // whatever is to be survived. Its port has just had another one, whose flow
  // must not come back.
  void ComeAndGo(const Station& client, const L4Address& to) {
    std::deque<std::pair<Conversation, std::string>> open;
    for (int i = 0; !stop_; ++i) {
      const int port = kFirstPort + i % kPorts;
      const std::string name =
          absl::StrCat("connection of ", absl::FormatTime(absl::Now()),
                       " from port ", port);
      auto opened = Conversation::Open(
          client, to, [&](int fd) { ReusePort(fd, to, port); });
      if (!opened.ok()) Fail(name, to, opened.status());
      if (opened.ok()) open.emplace_back(*std::move(opened), name);
      ++opened_;
      if (open.size() > kRate) {
        auto& [oldest, opened_as] = open.front();
        absl::Status status = oldest.Say("still there");
        if (!status.ok()) Fail(opened_as, to, status);
        open.pop_front();
      }
      // A client has only so many ports.
      absl::SleepFor(absl::Seconds(1.0 / kRate));
    }
  }

  // Closed by a reset, it is free at once for the next one.
  static void ReusePort(int fd, const L4Address& to, int port) {
    const linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    const int one = 1;  // the same port's of the other family is another one
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    SocketAddress own({IpAddress::Unspecified(to.address.family()),
                       static_cast<uint16_t>(port), to.protocol});
    EXPECT_EQ(bind(fd, own.get(), own.size()), 0) << port;
  }

  // One socket: its flow must go on, to the same endpoint.
  void Stream(const Station& client, const L4Address& to) {
    auto opened = Conversation::Open(client, to);
    if (!opened.ok()) return Fail("datagrams", to, opened.status());
    const std::string who = opened->who();
    while (!stop_) {
      absl::Status status = opened->Say("datagram");
      if (status.ok() && opened->who() != who) {
        status = absl::InternalError(StrCat(who, " became ", opened->who()));
      }
      if (!status.ok()) return Fail("datagrams", to, status);
      ++datagrams_;
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

  void Fail(const std::string& what, const L4Address& to,
            const absl::Status& status) {
    std::lock_guard lock(mutex_);
    failures_.push_back(
        StrCat(what, " to ", to.ToString(), ": ", status.ToString(), ", at ",
               absl::FormatTime(absl::Now())));
  }

  static constexpr int kRate = 250;  // new connections per second and thread
  static constexpr int kFirstPort = 20000;
  // Three seconds after a port's connection ended, it has another one: not
  // within the one gap that there is (docs/design/upgrade.md).
  static constexpr int kPorts = 4 * kRate;
  std::atomic<bool> stop_ = false;
  std::atomic<int> opened_ = 0;
  std::atomic<int> datagrams_ = 0;
  std::mutex mutex_;
  std::vector<std::string> failures_;
  std::vector<std::thread> threads_;
};

class Upgrade : public ServiceTest {
 protected:
  static constexpr From kClients[] = {{"outside", false}, {"a", false}};

  static int Connections() {
    const char* text = getenv("FAIRLEAD_UPGRADE_CONNECTIONS");
    return text == nullptr ? 400 : atoi(text);
  }

  // Connections in all ways, of both families: masqueraded and not.
  void OpenLasting(int count) {
    for (int i = 0; i < count; ++i) {
      auto opened = OpenFrom(kClients[i % 2],
                             FrontendOf(1, kWays[i / 4 % 4], kFamilies[i / 2 % 2],
                                        Protocol::kTcp));
      ASSERT_OK(opened.status());
      lasting_.push_back(*std::move(opened));
    }
  }

  void ExpectAllGoOn(const std::string& after) {
    int ended = 0;
    absl::Status first;
    for (Conversation& connection : lasting_) {
      absl::Status status = connection.Say(after);
      if (!status.ok()) ++ended;
      first.Update(status);
    }
    EXPECT_EQ(ended, 0) << "after " << after << ", first: " << first;
  }

  // Who serves each client of a service with affinity.
  std::map<std::string, int> Sticky() {
    std::map<std::string, int> who;
    for (const From& from : kClients) {
      for (IpFamily family : kFamilies) {
        auto opened = OpenFrom(
            from, FrontendOf(2, Way::kNodePort, family, Protocol::kTcp));
        ++who[StrCat(from.station, " ", opened.ok() ? opened->who() : "nobody",
                     family == IpFamily::kIpv4 ? " v4" : " v6")];
      }
    }
    return who;
  }

  std::vector<Conversation> lasting_;
};

TEST_F(Upgrade, NothingFailsWhateverHappensToTheAgent) {
  // The second has endpoints of its own: a client's port that was just used
  // towards an endpoint goes to another one, affinity or not.
  ASSERT_OK(bed_->Apply({{.number = 1, .endpoints = {"l1", "l2", "r1", "r2"}},
                         {.number = 2,
                          .endpoints = {"l3", "a", "node1"},
                          .affinity_seconds = 3600}}));
  OpenLasting(Connections());
  const std::map<std::string, int> sticky = Sticky();
  // Its connections go on without being an endpoint any more.
  ASSERT_OK(bed_->Apply({{.number = 1, .endpoints = {"l1", "l2", "r1"}}}));
  Load load(bed_->net());
  auto check = [&](const std::string& after) {
    ExpectAllGoOn(after);
    EXPECT_EQ(Sticky(), sticky) << after;
    EXPECT_THAT(load.failures(), ::testing::IsEmpty()) << after;
  };

  ASSERT_OK(bed_->RestartAgent(SIGKILL));
  check("a kill");
  ASSERT_OK(bed_->RestartAgent(SIGTERM));
  check("a restart");
  std::vector<std::string> flags = ServiceBed::ClusterCidrs();
  flags.insert(flags.end(), {"--service-cidr", "10.96.0.0/16,fd96::/112"});
  ASSERT_OK(bed_->RestartAgent(SIGTERM, flags));
  check("another configuration");
  for (const char* round : {"once", "twice"}) {
    auto said = bed_->TakeOverWithOtherLayout();
    ASSERT_OK(said.status());
    EXPECT_THAT(*said, HasSubstr(StrCat("/v", FL_ABI_VERSION, " services=")));
    printf("%s", said->c_str());
    check(StrCat("an upgrade ", round));
    ASSERT_OK(bed_->RestartAgent(SIGTERM));
    check(StrCat("a rollback ", round));
  }
  load.End();
  EXPECT_THAT(load.failures(), ::testing::IsEmpty());
  printf("%d connections lasted, %d were opened, %d datagrams answered\n",
         Connections(), load.opened(), load.datagrams());
  const std::string log = bed_->Log();
  EXPECT_THAT(log, HasSubstr("took over from another version"));
  EXPECT_EQ(log.find("could not take over"), log.npos) << log;
  // Nothing was lost on the way there and back: there is nothing to write.
  EXPECT_THAT(log.substr(log.rfind("first sync")),
              HasSubstr("operations=0 failures=0"));
}

}  // namespace
}  // namespace fairlead::harness
