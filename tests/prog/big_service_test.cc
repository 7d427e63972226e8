// SPDX-License-Identifier: Apache-2.0
// A Service with 10,000 endpoints, from objects to the kernel's maps to real
// sockets, on both paths: all of a range of addresses is local, and one
// listener takes what any of them gets. The packet path's client is in a
// namespace of its own, outside of the cgroup.
#include <sys/socket.h>

#include <cstdlib>
#include <map>
#include <optional>
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

struct Path {
  bool packets;
  IpFamily family;
};

class BigServiceTest : public ::testing::TestWithParam<Path> {
 protected:
  static bool v4() { return GetParam().family == IpFamily::kIpv4; }

  void SetUp() override {
    auto world = ServiceWorld::Create();
    ASSERT_TRUE(world.ok()) << world.status();
    world_ = *std::move(world);
    datapath::Options options = world_->options();
    options.sizes.slots = 4 * kEndpoints;
    options.sizes.backends = 2 * kEndpoints;
    options.sizes.flows = 16384;
    options.config.masquerade4 =
        reconcile::ToAbi(*IpAddress::Parse("192.0.2.1"));
    options.config.masquerade6 =
        reconcile::ToAbi(*IpAddress::Parse("2001:db8::1"));
    ASSERT_TRUE(world_->OpenDatapath(options).ok());
    ASSERT_EQ(system(v4() ? "ip route add local 10.128.0.0/16 dev lo"
                          : "ip route add local fd80::/64 dev lo"),
              0);
    auto server = OpenServer(IpAddress::Unspecified(GetParam().family),
                             Protocol::kTcp);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ASSERT_EQ(listen(server_.fd.get(), 4096), 0);
    reconciler_ = std::make_unique<reconcile::Reconciler>(
        &world_->maps(), reconcile::ReconcilerOptions());
    ASSERT_TRUE(reconciler_->Restore().ok());
    if (!GetParam().packets) return;
    ASSERT_NO_FATAL_FAILURE(MakeClient());
  }

  // A host behind the device w0, which the programs are attached to.
  void MakeClient() {
    auto client = harness::NetnsScope::Create();
    ASSERT_TRUE(client.ok()) << client.status();
    client_.emplace(*std::move(client));
    auto plain = harness::CgroupScope::Create();
    ASSERT_TRUE(plain.ok()) << plain.status();
    plain_.emplace(*std::move(plain));
    ASSERT_TRUE(
        AddVethPair(world_->netns(), "w0", *client_, "c0").ok());
    auto add = [](const char* device, const char* v4, const char* v6) {
      return StrCat("set -e; ip addr add ", v4, "/24 dev ", device,
                    "; ip addr add ", v6, "/64 dev ", device, " nodad");
    };
    auto near = world_->netns().Command(add("w0", "192.0.2.1", "2001:db8::1"));
    ASSERT_TRUE(near.ok()) << near.status();
    auto far = client_->Command(
        StrCat(add("c0", "192.0.2.10", "2001:db8::10"),
               "; ip route add default via 192.0.2.1",
               "; ip route add default via 2001:db8::1"));
    ASSERT_TRUE(far.ok()) << far.status();
    auto index = DeviceIndex(world_->netns(), "w0");
    ASSERT_TRUE(index.ok()) << index.status();
    absl::Status attached = world_->datapath().AttachDevice(*index);
    ASSERT_TRUE(attached.ok()) << attached;
    ASSERT_TRUE(plain_->Join().ok());
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
      s.family = GetParam().family;
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

  // From 10.128.1.0 and fd80::100 on.
  static IpAddress AddressOf(int i) {
    if (v4()) {
      return IpAddress::V4(0x0a800000u + 256 + static_cast<uint32_t>(i));
    }
    IpAddress::Bytes bytes = {0xfd, 0x80};
    bytes[14] = static_cast<uint8_t>((i + 256) >> 8);
    bytes[15] = static_cast<uint8_t>(i);
    return IpAddress(bytes);
  }
  static int IndexOf(const IpAddress& address) {
    return (address.bytes()[14] << 8 | address.bytes()[15]) - 256;
  }

  // The endpoint that a new connection reaches.
  int Reach() {
    UniqueFd client;
    if (client_.has_value()) {
      EXPECT_TRUE(client_
                      ->Run([&] {
                        client = OpenSocket(frontend_, SocketFamily::kNative);
                        return absl::OkStatus();
                      })
                      .ok());
    } else {
      client = OpenSocket(frontend_, SocketFamily::kNative);
    }
    EXPECT_EQ(Connect(client.get(), frontend_, SocketFamily::kNative), 0);
    UniqueFd accepted = harness::Accept(server_.fd.get());
    auto name = LocalName(accepted.get());
    return name ? IndexOf(name->address) : -1;
  }

  // What the path in question has counted; of the other one, nothing.
  void ExpectOnlyThisPath() {
    auto counters = world_->Counters();
    ASSERT_TRUE(counters.ok()) << counters.status();
    EXPECT_EQ((*counters)["forward_new"] > 0, GetParam().packets);
    EXPECT_EQ((*counters)["socket_translated"] > 0, !GetParam().packets);
  }

  const L4Address frontend_ = {
      *IpAddress::Parse(v4() ? "10.96.0.1" : "fd96::1"), 80, Protocol::kTcp};
  std::unique_ptr<ServiceWorld> world_;
  std::optional<harness::NetnsScope> client_;
  std::optional<harness::CgroupScope> plain_;
  Server server_;
  model::Cluster cluster_{model::NodeConfig{.name = "node-1"}};
  std::unique_ptr<reconcile::Reconciler> reconciler_;
};

TEST_P(BigServiceTest, IsSpreadOverAllAndFollowsItsEndpoints) {
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
  ExpectOnlyThisPath();
}

TEST_P(BigServiceTest, AffinityOutlivesAChangeOfTheOthers) {
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
  ExpectOnlyThisPath();
}

INSTANTIATE_TEST_SUITE_P(
    Paths, BigServiceTest,
    testing::Values(Path{false, IpFamily::kIpv4}, Path{false, IpFamily::kIpv6},
                    Path{true, IpFamily::kIpv4}, Path{true, IpFamily::kIpv6}),
    [](const auto& info) {
      return std::string(info.param.packets ? "Packets" : "Sockets") +
             (info.param.family == IpFamily::kIpv4 ? "V4" : "V6");
    });

}  // namespace
}  // namespace fairlead
