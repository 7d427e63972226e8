// SPDX-License-Identifier: Apache-2.0
#include "tests/netns/live_load.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <deque>
#include <utility>

#include "absl/time/clock.h"
#include "tests/netns/service_test_base.h"
#include "tests/netns/socket_address.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

constexpr int kRate = 250;  // new connections per second and thread
constexpr int kFirstPort = 20000;

// Closed by a reset, it is free at once for the next one.
void ReusePort(int fd, const L4Address& to, int port) {
  const linger reset = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  const int one = 1;  // the same port's of the other family is another one
  setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
  SocketAddress own({IpAddress::Unspecified(to.address.family()),
                     static_cast<uint16_t>(port), to.protocol});
  EXPECT_EQ(bind(fd, own.get(), own.size()), 0) << port;
}

}  // namespace

absl::Status Lasting::Add(absl::StatusOr<Conversation> opened) {
  if (!opened.ok()) return opened.status();
  std::string who = opened->who();
  all_.push_back({*std::move(opened), std::move(who)});
  return absl::OkStatus();
}

absl::Status Lasting::GoOn(const std::string& after) {
  int ended = 0;
  std::string first;
  for (One& one : all_) {
    absl::Status status = one.conversation.Say(after);
    if (status.ok() && one.conversation.who() != one.who) {
      status = absl::InternalError(
          StrCat(one.who, " became ", one.conversation.who()));
    }
    if (status.ok()) continue;
    if (ended++ == 0) first = StrCat(one.who, ": ", status.ToString());
  }
  if (ended == 0) return absl::OkStatus();
  return absl::DataLossError(StrCat(ended, " of ", all_.size(), " ended by ",
                                    after, "; the first, of ", first));
}

LiveLoad::LiveLoad(const Topology& net, absl::Duration patience)
    : patience_(patience) {
  for (IpFamily family : kFamilies) {
    const L4Address frontend =
        FrontendOf(1, Way::kNodePort, family, Protocol::kTcp);
    const L4Address cluster_ip =
        FrontendOf(1, Way::kClusterIp, family, Protocol::kTcp);
    threads_.emplace_back(
        [=, this, &net] { ComeAndGo(net.at("outside"), frontend); });
    threads_.emplace_back(
        [=, this, &net] { ComeAndGo(net.at("a"), cluster_ip); });
    L4Address datagrams = frontend;
    datagrams.protocol = Protocol::kUdp;
    threads_.emplace_back(
        [=, this, &net] { Stream(net.at("outside"), datagrams); });
  }
}

void LiveLoad::End() {
  stop_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

std::vector<std::string> LiveLoad::failures() {
  std::lock_guard lock(mutex_);
  return failures_;
}

// Each connection stays for about a second: it is there before and after
// whatever is to be survived. Its port has just had another one, whose flow
// must not come back.
void LiveLoad::ComeAndGo(const Station& client, const L4Address& to) {
  // A port has its next connection seconds after the end of its last one: not
  // within the one gap that there is (docs/design/upgrade.md).
  const int ports = static_cast<int>(kRate * absl::ToDoubleSeconds(patience_));
  std::deque<std::pair<Conversation, std::string>> open;
  for (int i = 0; !stop_; ++i) {
    const int port = kFirstPort + i % ports;
    const std::string name =
        absl::StrCat("connection of ", absl::FormatTime(absl::Now()),
                     " from port ", port);
    auto opened = Conversation::Open(
        client, to, [&](int fd) {
          ReusePort(fd, to, port);
          const timeval limit = absl::ToTimeval(patience_);
          setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
          setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        });
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

// One socket: its flow must go on, to the same endpoint.
void LiveLoad::Stream(const Station& client, const L4Address& to) {
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

void LiveLoad::Fail(const std::string& what, const L4Address& to,
                    const absl::Status& status) {
  std::lock_guard lock(mutex_);
  failures_.push_back(
      StrCat(what, " to ", to.ToString(), ": ", status.ToString(), ", at ",
             absl::FormatTime(absl::Now())));
}

}  // namespace fairlead::harness
