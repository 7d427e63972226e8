// SPDX-License-Identifier: Apache-2.0
// The socket path beside kube-proxy's rules, with real sockets. A server at the
// Service's own address stands for whatever netfilter makes of what is not
// translated.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/harness/sockets.h"
#include "tests/prog/service_world.h"
#include "userspace/base/netns.h"
#include "userspace/reconcile/plan.h"

namespace fairlead {
namespace {

using harness::Connect;
using harness::LocalName;
using harness::OpenServer;
using harness::OpenSocket;
using harness::PeerName;
using harness::Receive;
using harness::SendTo;
using harness::Server;
using harness::ServiceWorld;
using harness::SocketFamily;

#define ASSERT_OK(expr)                              \
  do {                                               \
    absl::Status ok_status_ = (expr);                \
    ASSERT_TRUE(ok_status_.ok()) << ok_status_;      \
  } while (false)

struct Row {
  const char* name;
  const char* address;
  const char* backend;
  SocketFamily family;
  bool host;  // are this namespace's sockets the host's own?
};

class SocketTakeover : public ::testing::TestWithParam<Row> {
 protected:
  void SetUp() override {
    auto world = ServiceWorld::Create();
    ASSERT_OK(world.status());
    world_ = *std::move(world);
    ASSERT_OK(world_->netns()
                  .Command("ip link set lo up; ip addr add 10.96.0.1/32 dev "
                           "lo; ip addr add fd00:96::1/128 dev lo nodad")
                  .status());
    ASSERT_OK(Open([](fl_config*) {}));
    auto netfilter = OpenServer(*IpAddress::Parse(GetParam().address),
                                Protocol::kUdp);
    ASSERT_OK(netfilter.status());
    netfilter_ = *std::move(netfilter);
    auto server = OpenServer(*IpAddress::Parse(GetParam().backend),
                             Protocol::kUdp);
    ASSERT_OK(server.status());
    server_ = *std::move(server);
    auto id = world_->AddBackend(server_.address);
    ASSERT_OK(id.status());
    ASSERT_OK(world_->PutService(service(), {*id}));
  }
  L4Address service() const { return netfilter_.address; }

  absl::Status Open(void (*change)(fl_config*)) {
    datapath::Options options = world_->options();
    options.config.host_netns = GetParam().host ? *NetnsCookie() : 1;
    change(&options.config);
    return world_->OpenDatapath(options);
  }

  UniqueFd Client() { return OpenSocket(service(), GetParam().family); }
  // Who gets a datagram of this socket's to the Service: "fairlead",
  // "netfilter" or "nobody".
  std::string Asks(const UniqueFd& client) {
    EXPECT_EQ(SendTo(client.get(), service(), GetParam().family, "x"), 0);
    if (Receive(server_.fd.get(), absl::Milliseconds(100))) return "fairlead";
    if (Receive(netfilter_.fd.get(), absl::Milliseconds(100))) {
      return "netfilter";
    }
    return "nobody";
  }
  fl_flow_key ForeignKey(const UniqueFd& client, uint32_t whose) {
    fl_flow_key key = {};
    key.src.w[3] = whose;
    key.dst = reconcile::ToAbi(service().address);
    key.sport = htobe16(LocalName(client.get())->port);
    key.dport = htobe16(service().port);
    key.proto = IPPROTO_UDP;
    key.hook = FL_HOOK_SOCKET;
    return key;
  }

  std::unique_ptr<ServiceWorld> world_;
  Server netfilter_;
  Server server_;
};

INSTANTIATE_TEST_SUITE_P(
    Families, SocketTakeover,
    ::testing::Values(
        Row{"v4", "10.96.0.1", "127.0.0.1", SocketFamily::kNative, false},
        Row{"v6", "fd00:96::1", "::1", SocketFamily::kNative, false},
        Row{"mapped", "10.96.0.1", "127.0.0.1", SocketFamily::kMapped, false},
        Row{"host", "10.96.0.1", "127.0.0.1", SocketFamily::kNative, true}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_P(SocketTakeover, WhatIsListedStaysNetfilters) {
  ASSERT_OK(Open([](fl_config* config) { config->takeover = 1; }));
  UniqueFd old_one = Client(), new_one = Client(), new_two = Client();
  for (const UniqueFd* socket : {&old_one, &new_two}) {
    // Gives it its port.
    ASSERT_EQ(SendTo(socket->get(), {service().address, 9, Protocol::kUdp},
                     GetParam().family, "x"),
              0);
  }
  const fl_flow_key listed = ForeignKey(
      old_one, GetParam().host ? FL_FOREIGN_HOST : FL_FOREIGN_POD);
  ASSERT_OK(world_->datapath().SetForeignFlows({listed}));
  EXPECT_EQ(Asks(old_one), "netfilter");
  EXPECT_EQ(Asks(new_one), "fairlead");
  // A pod's with the same port isn't the host's.
  fl_flow_key other = ForeignKey(new_two, GetParam().host ? FL_FOREIGN_POD
                                                          : FL_FOREIGN_HOST);
  ASSERT_OK(world_->datapath().SetForeignFlows({listed, other}));
  EXPECT_EQ(Asks(new_two), "fairlead");
  // Its flow has ended.
  ASSERT_OK(world_->datapath().SetForeignFlows({}));
  EXPECT_EQ(Asks(old_one), "fairlead");
  // Ours by now, whatever the list says.
  ASSERT_OK(world_->datapath().SetForeignFlows({listed}));
  EXPECT_EQ(Asks(old_one), "fairlead");
}

TEST_P(SocketTakeover, AHandoverKeepsWhatItHasAndNoMore) {
  UniqueFd old_one = Client(), connected = Client();
  EXPECT_EQ(Asks(old_one), "fairlead");
  ASSERT_EQ(Connect(connected.get(), service(), GetParam().family), 0);
  ASSERT_OK(Open([](fl_config* config) { config->handover = 1; }));
  EXPECT_EQ(Asks(old_one), "fairlead");
  EXPECT_EQ(PeerName(connected.get())->port, service().port);
  UniqueFd new_one = Client(), new_connected = Client();
  EXPECT_EQ(Asks(new_one), "netfilter");
  ASSERT_EQ(Connect(new_connected.get(), service(), GetParam().family), 0);
  ASSERT_EQ(send(new_connected.get(), "x", 1, 0), 1);
  EXPECT_TRUE(Receive(netfilter_.fd.get()));
  // Nor is anything refused.
  fl_service closed = {};
  closed.id = 1;  // the same
  closed.flags = FL_VERDICT_REJECT << FL_SERVICE_INTERNAL_VERDICT_SHIFT |
                 FL_VERDICT_REJECT << FL_SERVICE_EXTERNAL_VERDICT_SHIFT;
  ASSERT_OK(world_->PutService(service(), {}, closed));
  EXPECT_EQ(Asks(new_one), "netfilter");
  EXPECT_EQ(Asks(old_one), "fairlead");
}

}  // namespace
}  // namespace fairlead
