// SPDX-License-Identifier: Apache-2.0
#include "tests/netns/lasting_flows.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_join.h"
#include "tests/netns/probes.h"
#include "tests/netns/socket_address.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

constexpr absl::Duration kFirstPatience = absl::Seconds(2);

const char* KindName(LastingFlow::Kind kind) {
  switch (kind) {
    case LastingFlow::Kind::kTcp:
      return "TCP";
    case LastingFlow::Kind::kUdpConnected:
      return "UDP, connected";
    case LastingFlow::Kind::kUdpUnconnected:
      return "UDP, unconnected";
  }
  return "?";
}

// Of no other client: two flows from one port to one endpoint by two frontends
// are a case of their own (docs/semantics.md).
void BindPort(int fd, IpFamily family, Port port) {
  SocketAddress own({IpAddress::Unspecified(family), port, Protocol::kTcp});
  (void)bind(fd, own.get(), own.size());
}

}  // namespace

std::string LastingFlow::Id::ToString() const {
  return StrCat("s", service, ": ", from.ToString(), " -> ", WayName(way), " ",
                IpFamilyName(family), ", ", KindName(kind));
}

absl::StatusOr<std::unique_ptr<LastingFlow>> LastingFlow::Open(
    const Topology& net, const Id& id) {
  std::unique_ptr<LastingFlow> flow(new LastingFlow(id));
  const Station& client = net.at(id.from.station);
  const Port port = NextSourcePort();
  const L4Address to = FrontendOf(id.service, id.way, id.family,
                                  flow->tcp() ? Protocol::kTcp
                                              : Protocol::kUdp);
  if (flow->tcp()) {
    FL_ASSIGN_OR_RETURN(flow->conversation_,
                        Conversation::Open(client, to, [&](int fd) {
                          BindPort(fd, id.family, port);
                        }));
    flow->who_ = flow->conversation_->who();
  } else {
    flow->udp_ = std::make_unique<UdpClient>(
        client, to,
        id.kind == Kind::kUdpConnected ? UdpClient::Socket::kConnected
                                       : UdpClient::Socket::kUnconnected,
        port);
    flow->who_ = flow->udp_->Ask(kFirstPatience);
  }
  flow->began_ = flow->Described(flow->who_);
  if (flow->tcp()) (void)flow->Exchange(kFirstPatience);
  if (std::string broken = flow->Broken(); !broken.empty()) {
    return absl::UnavailableError(StrCat(id.ToString(), ": ", broken));
  }
  return flow;
}

std::string LastingFlow::Described(const std::string& who) const {
  return udp_ != nullptr ? StrCat(who, " at ", udp_->source()) : who;
}

std::string LastingFlow::Ask(absl::Duration patience) {
  if (udp_ != nullptr) return udp_->Ask(patience);
  // Once broken, it stays so.
  if (!heard_.empty() && heard_.back() != began_) return heard_.back();
  const absl::Status said = conversation_->Say(StrCat(++said_, " is here"));
  return said.ok() ? who_ : said.ToString();
}

std::string LastingFlow::Exchange(absl::Duration patience) {
  std::string got = Ask(patience);
  std::string described = Described(got);
  if (heard_.empty() || heard_.back() != described) {
    heard_.push_back(std::move(described));
  }
  return got;
}

std::string LastingFlow::Broken() const {
  // Never answered.
  if (who_.empty() || who_[0] == 'E') return StrCat("'", who_, "'");
  const bool whole =
      heard_.empty() || (heard_.size() == 1 && heard_.front() == began_);
  return whole ? "" : StrCat(began_, " became ", Heard());
}

std::string LastingFlow::Heard() const { return absl::StrJoin(heard_, ", "); }

FlowsAtWork::FlowsAtWork(std::vector<Flow> flows) : flows_(std::move(flows)) {
  thread_ = std::thread([this] {
    while (!stop_) {
      for (const Flow& one : flows_) {
        if (stop_) return;
        (void)one.flow->Exchange(one.patience);
      }
      ++rounds_;
    }
  });
}

FlowsAtWork::~FlowsAtWork() {
  stop_ = true;
  thread_.join();
}

bool FlowsAtWork::WaitForRounds(int rounds) const {
  const int wanted = rounds_ + rounds + 1;  // one is under way
  return Eventually([&] { return rounds_ >= wanted; }, absl::Seconds(60));
}

}  // namespace fairlead::harness
