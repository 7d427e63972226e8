// SPDX-License-Identifier: Apache-2.0
// What a clean-up removes from the programs' own maps: the rows of
// udp_cleanup_rows.h as flows of the packet path and as endpoints of sockets.
#include "userspace/datapath/udp_state.h"

#include <netinet/in.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/prog/service_world.h"
#include "tests/unit/udp_cleanup_rows.h"
#include "userspace/base/strings.h"
#include "userspace/datapath/kernel_maps.h"
#include "userspace/reconcile/plan.h"

namespace fairlead::datapath {
namespace {

using harness::ServiceWorld;
using reconcile::ToAbi;

#define ASSERT_OK(expr)                         \
  do {                                          \
    absl::Status ok_status_ = (expr);           \
    ASSERT_TRUE(ok_status_.ok()) << ok_status_; \
  } while (false)

constexpr Protocol kProtocols[] = {Protocol::kUdp, Protocol::kTcp,
                                   Protocol::kSctp};

class UdpStateTest : public ::testing::TestWithParam<IpFamily> {
 protected:
  static void SetUpTestSuite() {
    auto world = ServiceWorld::Create();
    ASSERT_TRUE(world.ok()) << world.status();
    world_ = world->release();
    ASSERT_OK(world_->OpenDatapath());
  }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  void SetUp() override {
    ASSERT_OK(world_->Reset());
    auto state = UdpState::Open(world_->datapath().layout());
    ASSERT_TRUE(state.ok()) << state.status();
    state_ = *std::move(state);
    auto flows = FlowTable::Open(world_->datapath().layout());
    ASSERT_TRUE(flows.ok()) << flows.status();
    flows_ = *std::move(flows);
    auto sockets = OpenPinnedMap(world_->datapath().layout(), "fl_socket");
    ASSERT_TRUE(sockets.ok()) << sockets.status();
    sockets_ = {"fl_socket", std::move(sockets->fd)};
  }

  IpAddress Client() const {
    return *IpAddress::Parse(v4() ? "192.0.2.10" : "2001:db8::10");
  }
  IpAddress Masquerade() const {
    return *IpAddress::Parse(v4() ? "172.31.1.2" : "fd31:1::2");
  }
  static bool v4() { return GetParam() == IpFamily::kIpv4; }

  // A flow as the programs leave one (bpf/lib/flow.h): A, D, and C.
  struct Flow {
    fl_flow_key a, d, c;
    bool stays;
    std::string name;
  };

  static fl_flow_key Key(const IpAddress& src, Port sport,
                         const L4Address& dst, fl_hook hook) {
    fl_flow_key key = {};
    key.src = ToAbi(src);
    key.sport = htons(sport);
    key.dst = ToAbi(dst.address);
    key.dport = htons(dst.port);
    key.proto = static_cast<uint8_t>(dst.protocol);
    key.hook = static_cast<uint8_t>(hook);
    return key;
  }
  static fl_flow To(const L4Address& address, uint8_t flags) {
    fl_flow flow = {};
    flow.addr = ToAbi(address.address);
    flow.port = htons(address.port);
    flow.flags = flags;
    flow.last_seen = 1;
    return flow;
  }

  Flow AddFlow(const L4Address& frontend, const L4Address& endpoint,
               bool stays, std::string name) {
    const Port port = static_cast<Port>(20000 + next_);
    const Port source_port = static_cast<Port>(40000 + next_++);
    const L4Address client{Client(), port, frontend.protocol};
    Flow flow{Key(Client(), port, frontend, FL_HOOK_INGRESS),
              Key(endpoint.address, endpoint.port, client, FL_HOOK_EGRESS),
              Key(endpoint.address, endpoint.port,
                  {Masquerade(), source_port, frontend.protocol},
                  FL_HOOK_INGRESS),
              stays, std::move(name)};
    EXPECT_EQ(flows_.Update(flow.a, To(endpoint, 0)), absl::OkStatus());
    fl_flow d = To(frontend, FL_FLOW_REPLY);
    d.source_port = htons(source_port);
    EXPECT_EQ(flows_.Update(flow.d, d), absl::OkStatus());
    EXPECT_EQ(flows_.Update(flow.c, To(client, FL_FLOW_REPLY)),
              absl::OkStatus());
    return flow;
  }
  bool Has(const fl_flow_key& key) const {
    auto found = flows_.Lookup(key);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() && found->has_value();
  }

  static ServiceWorld* world_;
  std::unique_ptr<UdpState> state_;
  FlowTable flows_;
  TypedMap<fl_socket_key, fl_socket> sockets_;
  const agent::UdpServing serving_ = CleanupServing();
  int next_ = 0;
};
ServiceWorld* UdpStateTest::world_ = nullptr;

INSTANTIATE_TEST_SUITE_P(Families, UdpStateTest,
                         ::testing::Values(IpFamily::kIpv4, IpFamily::kIpv6),
                         [](const auto& info) {
                           return std::string(IpFamilyName(info.param));
                         });

// All three entries of a flow, or none.
TEST_P(UdpStateTest, Flows) {
  std::vector<Flow> flows;
  uint64_t stale = 0;
  for (Protocol protocol : kProtocols) {
    for (const CleanupAddress& to : kCleanupDestinations) {
      for (const CleanupAddress& endpoint : kCleanupEndpoints) {
        const bool stays =
            protocol != Protocol::kUdp || CleanupKeeps(to, endpoint);
        stale += stays ? 0 : 1;
        flows.push_back(AddFlow(
            to.At(GetParam(), protocol), endpoint.At(GetParam(), protocol),
            stays,
            StrCat(to.name, " -> ", endpoint.name, " ",
                   ProtocolName(protocol))));
      }
    }
  }
  auto removed = state_->RemoveFlows(
      [&](const L4Address& frontend, const L4Address& endpoint) {
        return agent::UdpServing::Serves(serving_.table(), frontend, endpoint);
      },
      {Masquerade()});
  ASSERT_TRUE(removed.ok()) << removed.status();
  EXPECT_EQ(removed->removed, stale);
  for (const Flow& flow : flows) {
    EXPECT_EQ(Has(flow.a), flow.stays) << flow.name;
    EXPECT_EQ(Has(flow.d), flow.stays) << flow.name << ", its answers";
    EXPECT_EQ(Has(flow.c), flow.stays) << flow.name << ", its source port";
  }
}

// An unconnected socket forgets its endpoint, a connected one is named.
TEST_P(UdpStateTest, Sockets) {
  std::map<uint64_t, std::pair<std::string, bool>> rows;  // by cookie
  uint64_t cookie = 0;
  auto add = [&](fl_socket_direction direction, const L4Address& from,
                 const L4Address& to, Protocol protocol) {
    fl_socket_key key = {};
    key.cookie = cookie;
    key.addr = ToAbi(from.address);
    key.port = htons(from.port);
    key.proto = static_cast<uint8_t>(protocol);
    key.direction = static_cast<uint8_t>(direction);
    fl_socket value = {};
    value.addr = ToAbi(to.address);
    value.port = htons(to.port);
    EXPECT_EQ(sockets_.Update(key, value), absl::OkStatus());
  };
  for (Protocol protocol : {Protocol::kUdp, Protocol::kTcp}) {
    for (const CleanupAddress& to : kCleanupDestinations) {
      for (const CleanupAddress& endpoint : kCleanupEndpoints) {
        ++cookie;
        const L4Address frontend = to.At(GetParam(), protocol);
        const L4Address backend = endpoint.At(GetParam(), protocol);
        add(FL_SOCKET_FORWARD, frontend, backend, protocol);
        add(FL_SOCKET_REPLY, backend, frontend, protocol);
        rows[cookie] = {StrCat(to.name, " -> ", endpoint.name, " ",
                               ProtocolName(protocol)),
                        protocol != Protocol::kUdp ||
                            CleanupKeeps(to, endpoint)};
      }
    }
  }
  auto serves = [&](const L4Address& frontend, const L4Address& endpoint) {
    return agent::UdpServing::Serves(serving_.table(), frontend, endpoint);
  };
  auto named = state_->FindConnected(serves);
  ASSERT_TRUE(named.ok()) << named.status();
  std::set<uint64_t> stale;
  for (const auto& socket : *named) stale.insert(socket.cookie);
  ASSERT_TRUE(state_->RemoveEndpoints(serves).ok());
  std::set<uint64_t> forward, reply;
  ASSERT_OK(sockets_.ForEach(
      [&](const fl_socket_key& key, const fl_socket&) {
        (key.direction == FL_SOCKET_FORWARD ? forward : reply)
            .insert(key.cookie);
        return true;
      }));
  for (const auto& [socket, row] : rows) {
    const auto& [name, stays] = row;
    EXPECT_EQ(forward.contains(socket), stays) << name;
    EXPECT_EQ(stale.contains(socket), !stays) << name;
    EXPECT_TRUE(reply.contains(socket)) << name << ", late answers";
  }
}

}  // namespace
}  // namespace fairlead::datapath
