// SPDX-License-Identifier: Apache-2.0
// A Service with 10,000 endpoints, from objects to the kernel's maps to real
// sockets: all of a range of addresses is local, and one listener takes what
// any of them gets.
#include <sys/socket.h>

#include <cstdlib>
#include <map>
#include <set>

#include "gtest/gtest.h"
#include "tests/harness/sockets.h"
#include "tests/prog/service_world.h"
#include "userspace/base/strings.h"
#include "userspace/model/cluster.h"
#include "userspace/reconcile/reconciler.h"

namespace fairlead {
namespace {

using harness::Connect;
using harness::LocalName;
using harness::OpenServer;
using harness::OpenSocket;
using harness::Server;
using harness::ServiceWorld;
using harness::SocketFamily;

constexpr int kEndpoints = 10000;
constexpr int kConnections = 2000;

class BigServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto world = ServiceWorld::Create();
    ASSERT_TRUE(world.ok()) << world.status();
    world_ = *std::move(world);
    datapath::Options options = world_->options();
    options.sizes.slots = 4 * kEndpoints;
    options.sizes.backends = 2 * kEndpoints;
    ASSERT_TRUE(world_->OpenDatapath(options).ok());
    ASSERT_EQ(system("ip route add local 10.128.0.0/16 dev lo"), 0);
    auto server = OpenServer(*IpAddress::Parse("0.0.0.0"), Protocol::kTcp);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ASSERT_EQ(listen(server_.fd.get(), 4096), 0);
    reconciler_ = std::make_unique<reconcile::Reconciler>(
        &world_->maps(), reconcile::ReconcilerOptions());
    ASSERT_TRUE(reconciler_->Restore().ok());
  }

  void PutService(absl::Duration affinity) {
    kube::Service service;
    service.meta = {"default", "big", "", ""};
    service.cluster_ips = {frontend_.address};
    service.ports = {{"http", Protocol::kTcp, frontend_.port}};
    service.affinity = affinity;
    cluster_.PutService(service);
  }

  // Endpoints [from, to), 1,000 a slice as Kubernetes has at most.
  void PutEndpoints(int from, int to) {
    for (int slice = 0; slice < kEndpoints / 1000; ++slice) {
      kube::EndpointSlice s;
      s.meta = {"default", StrCat("big-", slice), "", ""};
      s.service_name = "big";
      s.family = IpFamily::kIpv4;
      s.ports = {{"http", Protocol::kTcp, server_.address.port}};
      for (int i = slice * 1000; i < (slice + 1) * 1000; ++i) {
        if (i < from || i >= to) continue;
        kube::Endpoint endpoint;
        endpoint.address = AddressOf(i);
        s.endpoints.push_back(endpoint);
      }
      cluster_.PutEndpointSlice(s);
    }
    reconcile::ApplyResult result =
        reconciler_->Apply(&cluster_, absl::ZeroDuration());
    ASSERT_TRUE(result.ok()) << result.failures[0].status;
  }

  static IpAddress AddressOf(int i) {
    return IpAddress::V4(0x0a800000u + 256 + static_cast<uint32_t>(i));
  }
  static int IndexOf(const IpAddress& address) {
    return static_cast<int>(address.v4_host_order() - 0x0a800000u - 256);
  }

  // The endpoint that a new connection reaches.
  int Reach() {
    UniqueFd client = OpenSocket(frontend_, SocketFamily::kNative);
    EXPECT_EQ(Connect(client.get(), frontend_, SocketFamily::kNative), 0);
    UniqueFd accepted = harness::Accept(server_.fd.get());
    auto name = LocalName(accepted.get());
    return name ? IndexOf(name->address) : -1;
  }

  const L4Address frontend_ = {*IpAddress::Parse("10.96.0.1"), 80,
                               Protocol::kTcp};
  std::unique_ptr<ServiceWorld> world_;
  Server server_;
  model::Cluster cluster_{model::NodeConfig{.name = "node-1"}};
  std::unique_ptr<reconcile::Reconciler> reconciler_;
};

TEST_F(BigServiceTest, IsSpreadOverAllAndFollowsItsEndpoints) {
  PutService(absl::ZeroDuration());
  PutEndpoints(0, kEndpoints);
  std::map<int, int> seen;
  int halves[2] = {0, 0};
  for (int i = 0; i < kConnections; ++i) {
    const int endpoint = Reach();
    ASSERT_TRUE(endpoint >= 0 && endpoint < kEndpoints) << endpoint;
    ++seen[endpoint];
    ++halves[endpoint >= kEndpoints / 2];
  }
  // 2,000 draws of 10,000: 1,813 different ones expected, 12 either way.
  EXPECT_GT(seen.size(), 1700u);
  EXPECT_GT(halves[0], kConnections / 2 - 200);
  EXPECT_GT(halves[1], kConnections / 2 - 200);

  PutEndpoints(kEndpoints / 2, kEndpoints);
  for (int i = 0; i < 500; ++i) ASSERT_GE(Reach(), kEndpoints / 2);
}

TEST_F(BigServiceTest, AffinityOutlivesAChangeOfTheOthers) {
  PutService(absl::Hours(1));
  PutEndpoints(0, kEndpoints);
  const int first = Reach();
  for (int i = 0; i < 15; ++i) ASSERT_EQ(Reach(), first);
  // Its slot is another one now, wherever it was.
  PutEndpoints(first > 0 ? 1 : 0, first > 0 ? kEndpoints : kEndpoints - 1);
  for (int i = 0; i < 15; ++i) ASSERT_EQ(Reach(), first);
  if (first + 1 == kEndpoints) return;  // none would be left
  PutEndpoints(first + 1, kEndpoints);
  EXPECT_GT(Reach(), first);
}

}  // namespace
}  // namespace fairlead
