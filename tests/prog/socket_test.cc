// SPDX-License-Identifier: Apache-2.0
// The socket path with real sockets: what an application sees.
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/harness/sockets.h"
#include "bpf/abi/filter.h"
#include "tests/prog/service_world.h"
#include "tests/prog/socket_fixture.h"
#include "userspace/base/netns.h"
#include "userspace/reconcile/plan.h"

namespace fairlead {
namespace {

using harness::Accept;
using harness::Connect;
using harness::OpenServer;
using harness::OpenSocket;
using harness::PeerName;
using harness::Readable;
using harness::Receive;
using harness::SendTo;
using harness::Server;
using harness::ServiceWorld;
using harness::SocketFamily;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

INSTANTIATE_TEST_SUITE_P(
    Families, SocketPathTest,
    ::testing::Values(
        Addressing{"v4", "10.96.0.1", "127.0.0.1", SocketFamily::kNative},
        Addressing{"v6", "fd00:96::1", "::1", SocketFamily::kNative},
        Addressing{"mapped", "10.96.0.1", "127.0.0.1",
                   SocketFamily::kMapped}),
    [](const auto& test) { return test.param.name; });

TEST_P(SocketPathTest, TcpConnectReachesTheEndpointAndShowsTheService) {
  Server server = Publish(Protocol::kTcp);
  L4Address service = Service(Protocol::kTcp);
  UniqueFd client = OpenSocket(service, family());
  ASSERT_EQ(Connect(client.get(), service, family()), 0);
  UniqueFd accepted = Accept(server.fd.get());
  ASSERT_TRUE(accepted.valid());
  EXPECT_EQ(Counters(), (std::map<std::string, uint64_t>{
                            {"socket_translated", 1}}));
  EXPECT_EQ(PeerName(client.get()), service);
  EXPECT_EQ(Counters()["socket_reversed"], 1u);
  ASSERT_EQ(send(client.get(), "hello", 5, 0), 5);
  std::optional<harness::Datagram> got = Receive(accepted.get());
  ASSERT_TRUE(got);
  EXPECT_EQ(got->text, "hello");
}

TEST_P(SocketPathTest, ConnectedUdpShowsTheService) {
  Server server = Publish(Protocol::kUdp);
  L4Address service = Service(Protocol::kUdp);
  UniqueFd client = OpenSocket(service, family());
  ASSERT_EQ(Connect(client.get(), service, family()), 0);
  EXPECT_EQ(PeerName(client.get()), service);
  ASSERT_EQ(send(client.get(), "ask", 3, 0), 3);
  std::optional<harness::Datagram> asked = Receive(server.fd.get());
  ASSERT_TRUE(asked);
  EXPECT_EQ(asked->text, "ask");
  ASSERT_EQ(SendTo(server.fd.get(), asked->from, SocketFamily::kNative,
                   "answer"),
            0);
  std::optional<harness::Datagram> answer = Receive(client.get());
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->from, service);
}

TEST_P(SocketPathTest, UnconnectedUdpIsTranslatedBothWays) {
  Server server = Publish(Protocol::kUdp);
  L4Address service = Service(Protocol::kUdp);
  UniqueFd client = OpenSocket(service, family());
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(SendTo(client.get(), service, family(), "ask"), 0);
    std::optional<harness::Datagram> asked = Receive(server.fd.get());
    ASSERT_TRUE(asked);
    ASSERT_EQ(SendTo(server.fd.get(), asked->from, SocketFamily::kNative,
                     "answer"),
              0);
    std::optional<harness::Datagram> answer = Receive(client.get());
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->from, service);
  }
  EXPECT_EQ(Counters()["socket_translated"], 3u);
  EXPECT_EQ(Counters()["socket_reversed"], 3u);
  EXPECT_THAT(Dump("socket"), SizeIs(2));
  std::vector<uint64_t> cookies;
  ASSERT_OK(world_->datapath().inspector().ForEachSocket(
      [&](const datapath::Inspector::SocketUse& use) {
        cookies.push_back(use.cookie);
        EXPECT_EQ(use.backend_id, 1u);
        return true;
      }));
  EXPECT_THAT(cookies, ElementsAre(harness::SocketCookie(client.get())));
}

TEST_P(SocketPathTest, AServiceThatRejectsRefusesTheConnection) {
  fl_service reject = {};
  reject.flags = FL_VERDICT_REJECT << FL_SERVICE_INTERNAL_VERDICT_SHIFT;
  for (Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
    L4Address service = Service(protocol);
    ASSERT_OK(world_->PutService(service, {}, reject));
    UniqueFd client = OpenSocket(service, family());
    EXPECT_EQ(Connect(client.get(), service, family()), ECONNREFUSED);
    EXPECT_FALSE(PeerName(client.get()));
  }
  UniqueFd client = OpenSocket(Service(Protocol::kUdp), family());
  EXPECT_EQ(SendTo(client.get(), Service(Protocol::kUdp), family(), "x"),
            ECONNREFUSED);
  EXPECT_EQ(Counters(),
            (std::map<std::string, uint64_t>{{"socket_refused", 3}}));
}

TEST_P(SocketPathTest, NoUsableBackendRefusesTheConnection) {
  Server server = Publish(Protocol::kTcp);
  L4Address service = Service(Protocol::kTcp);
  for (uint8_t state : {FL_BACKEND_OFF, FL_BACKEND_DRAIN}) {
    ASSERT_OK(world_->maps().SetBackendState(1, state));
    UniqueFd client = OpenSocket(service, family());
    EXPECT_EQ(Connect(client.get(), service, family()), ECONNREFUSED);
  }
  ASSERT_OK(world_->maps().SetBackendState(1, FL_BACKEND_ON));
  UniqueFd client = OpenSocket(service, family());
  EXPECT_EQ(Connect(client.get(), service, family()), 0);
}

TEST_P(SocketPathTest, WhatIsNotOursIsUntouched) {
  Publish(Protocol::kTcp);
  absl::StatusOr<Server> other = OpenServer(BackendAddress(), Protocol::kTcp);
  ASSERT_TRUE(other.ok()) << other.status();
  UniqueFd client = OpenSocket(other->address, family());
  ASSERT_EQ(Connect(client.get(), other->address, family()), 0);
  EXPECT_EQ(PeerName(client.get()), other->address);
  EXPECT_EQ(Counters(), (std::map<std::string, uint64_t>{{"not_ours", 2}}));
  EXPECT_THAT(Dump("peer"), IsEmpty());
}

TEST_P(SocketPathTest, DropAndSourceRangesAreLeftToThePacketPath) {
  Server server = Publish(Protocol::kTcp);
  L4Address service = Service(Protocol::kTcp);
  for (uint32_t flags :
       {uint32_t{FL_VERDICT_DROP} << FL_SERVICE_INTERNAL_VERDICT_SHIFT,
        FL_SERVICE_SOURCE_RANGES}) {
    fl_service declined = {};
    declined.flags = flags;
    ASSERT_OK(world_->PutService(service, {1}, declined));
    UniqueFd client = OpenSocket(service, family());
    // The namespace has no route to a service address.
    EXPECT_EQ(Connect(client.get(), service, family()), ENETUNREACH);
  }
  EXPECT_EQ(Counters(),
            (std::map<std::string, uint64_t>{{"socket_declined", 2}}));
}

TEST_P(SocketPathTest, ARemovedServiceIsNotTranslated) {
  Server server = Publish(Protocol::kUdp);
  L4Address service = Service(Protocol::kUdp);
  UniqueFd old_client = OpenSocket(service, family());
  ASSERT_EQ(Connect(old_client.get(), service, family()), 0);
  fl_service_key key = {};
  memcpy(&key.addr, service.address.bytes().data(), sizeof(key.addr));
  key.port = htons(service.port);
  key.proto = IPPROTO_UDP;
  ASSERT_OK(world_->maps().DeleteService(key));
  UniqueFd client = OpenSocket(service, family());
  EXPECT_EQ(Connect(client.get(), service, family()), ENETUNREACH);
  // Who is connected stays connected.
  EXPECT_EQ(PeerName(old_client.get()), service);
}

TEST_P(SocketPathTest, APlaceThatAnotherSocketHoldsIsRespected) {
  Server server = Publish(Protocol::kTcp);
  L4Address service = Service(Protocol::kTcp);
  UniqueFd client = OpenSocket(service, family());
  // Some other socket, FL_PEER_ENTRIES older, lives at the client's place.
  absl::StatusOr<datapath::PinnedMap> map = datapath::OpenPinnedMap(
      world_->datapath().layout(), "fl_peer");
  ASSERT_TRUE(map.ok()) << map.status();
  uint32_t place =
      harness::SocketCookie(client.get()) & (FL_PEER_ENTRIES - 1);
  fl_peer holder = {};
  holder.cookie = harness::SocketCookie(client.get()) + FL_PEER_ENTRIES;
  holder.service_id = 77;
  ASSERT_EQ(bpf_map_update_elem(map->fd.get(), &place, &holder, 0), 0);

  ASSERT_EQ(Connect(client.get(), service, family()), 0);
  EXPECT_EQ(PeerName(client.get()), service);
  EXPECT_THAT(Dump("socket"), SizeIs(1));
  client.reset();
  fl_peer now = {};
  ASSERT_EQ(bpf_map_lookup_elem(map->fd.get(), &place, &now), 0);
  EXPECT_EQ(memcmp(&now, &holder, sizeof(now)), 0);
  fl_peer nobody = {};
  ASSERT_EQ(bpf_map_update_elem(map->fd.get(), &place, &nobody, 0), 0);
}

TEST_P(SocketPathTest, AClosedSocketLeavesNothing) {
  Server server = Publish(Protocol::kTcp);
  L4Address service = Service(Protocol::kTcp);
  for (int i = 0; i < 50; ++i) {
    UniqueFd client = OpenSocket(service, family());
    ASSERT_EQ(Connect(client.get(), service, family()), 0);
    ASSERT_THAT(Dump("peer"), SizeIs(1));
  }
  EXPECT_THAT(Dump("peer"), IsEmpty());
}

TEST_P(SocketPathTest, AFailedConnectLeavesNothing) {
  Server server = Publish(Protocol::kTcp);
  L4Address service = Service(Protocol::kTcp);
  server.fd.reset();  // the endpoint answers with a reset
  UniqueFd client = OpenSocket(service, family());
  ASSERT_EQ(Connect(client.get(), service, family()), ECONNREFUSED);
  EXPECT_FALSE(PeerName(client.get()));
  client.reset();
  EXPECT_THAT(Dump("peer"), IsEmpty());
}

TEST_P(SocketPathTest, AReusedSocketShowsWhatItMeansNow) {
  Server server = Publish(Protocol::kUdp);
  L4Address service = Service(Protocol::kUdp);
  L4Address second = service;
  second.port = 81;
  ASSERT_OK(world_->PutService(second, {1}));
  UniqueFd client = OpenSocket(service, family());
  ASSERT_EQ(Connect(client.get(), service, family()), 0);
  ASSERT_EQ(Connect(client.get(), second, family()), 0);
  EXPECT_EQ(PeerName(client.get()), second);
  ASSERT_EQ(harness::Disconnect(client.get()), 0);
  EXPECT_FALSE(PeerName(client.get()));
  ASSERT_EQ(Connect(client.get(), service, family()), 0);
  EXPECT_EQ(PeerName(client.get()), service);
  // Now the endpoint itself is meant.
  ASSERT_EQ(Connect(client.get(), server.address, family()), 0);
  EXPECT_EQ(PeerName(client.get()), server.address);
  EXPECT_THAT(Dump("peer"), IsEmpty());
}

TEST_F(SocketWorldTest, ABackendThatIsOffIsSkipped) {
  L4Address service{Address("10.96.0.1"), 80, Protocol::kTcp};
  std::vector<uint32_t> ids;
  std::vector<Server> servers =
      AddServers(3, Address("127.0.0.1"), Protocol::kTcp, &ids);
  ASSERT_OK(world_->PutService(service, ids));
  ASSERT_OK(world_->maps().SetBackendState(ids[1], FL_BACKEND_OFF));
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 60; ++i) {
    clients.push_back(OpenSocket(service, SocketFamily::kNative));
    ASSERT_EQ(Connect(clients.back().get(), service, SocketFamily::kNative),
              0);
  }
  EXPECT_TRUE(Readable(servers[0].fd.get(), absl::Seconds(5)));
  EXPECT_TRUE(Readable(servers[2].fd.get(), absl::Seconds(5)));
  EXPECT_FALSE(Readable(servers[1].fd.get(), absl::ZeroDuration()));
}

TEST_F(SocketWorldTest, SelectionIsUniform) {
  L4Address service{Address("10.96.0.1"), 53, Protocol::kUdp};
  std::vector<uint32_t> ids;
  std::vector<Server> servers =
      AddServers(4, Address("127.0.0.1"), Protocol::kUdp, &ids);
  ASSERT_OK(world_->PutService(service, ids));
  constexpr int kSockets = 400;
  std::map<std::string, int> spread = Spread(service, kSockets);
  double chi_square = 0;
  for (uint32_t id : ids) {
    double off = spread[std::to_string(id)] - kSockets / 4.0;
    chi_square += off * off / (kSockets / 4.0);
  }
  // 3 degrees of freedom: exceeded once in 100,000 runs.
  EXPECT_LT(chi_square, 25.9) << ::testing::PrintToString(spread);
}

TEST_F(SocketWorldTest, AConnectionNeverSeesHalfOfAChange) {
  L4Address service{Address("10.96.0.1"), 53, Protocol::kUdp};
  std::vector<uint32_t> ids;
  std::vector<Server> servers =
      AddServers(2, Address("127.0.0.1"), Protocol::kUdp, &ids);
  // Two states of one frontend: service 10 with backend 1, 20 with 2.
  fl_service states[2] = {};
  for (int i = 0; i < 2; ++i) {
    states[i].id = 10 * (i + 1);
    ASSERT_OK(world_->PutService(service, {ids[i]}, states[i]));
    states[i].internal = {static_cast<uint32_t>(i + 1), 1};
  }
  fl_service_key key = {};
  memcpy(&key.addr, service.address.bytes().data(), sizeof(key.addr));
  key.port = htons(service.port);
  key.proto = IPPROTO_UDP;
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      EXPECT_TRUE(world_->maps().PutService(key, states[i % 2]).ok());
    }
  });
  std::set<std::string> seen;
  for (int i = 0; i < 80; ++i) {
    std::vector<UniqueFd> clients;
    for (int j = 0; j < 100; ++j) {
      clients.push_back(OpenSocket(service, SocketFamily::kNative));
      EXPECT_EQ(Connect(clients.back().get(), service, SocketFamily::kNative),
                0);
    }
    for (const std::string& line : Dump("peer")) {
      size_t from = line.find("service=");
      seen.insert(line.substr(from, line.find(" generation") - from));
    }
  }
  stop = true;
  writer.join();
  EXPECT_THAT(seen, UnorderedElementsAre("service=10 backend=1",
                                         "service=20 backend=2"));
}

TEST_F(SocketWorldTest, AffinityHoldsAcrossRebuildAndEnds) {
  L4Address service{Address("10.96.0.1"), 53, Protocol::kUdp};
  std::vector<uint32_t> ids;
  std::vector<Server> servers =
      AddServers(4, Address("127.0.0.1"), Protocol::kUdp, &ids);
  fl_service sticky = {};
  sticky.id = 5;
  sticky.affinity_seconds = 10800;
  ASSERT_OK(world_->PutService(service, ids, sticky));
  std::map<std::string, int> spread = Spread(service, 20);
  ASSERT_THAT(spread, SizeIs(1));
  std::string chosen = spread.begin()->first;
  EXPECT_THAT(Dump("affinity"), SizeIs(1));

  // The same endpoints in other slots.
  ASSERT_OK(world_->PutService(service, {ids[3], ids[2], ids[1], ids[0]},
                               sticky));
  EXPECT_THAT(Spread(service, 20), ElementsAre(Pair(chosen, 20)));

  // Gone from the set, though still ON for another service.
  std::vector<uint32_t> rest;
  for (uint32_t id : ids) {
    if (std::to_string(id) != chosen) rest.push_back(id);
  }
  ASSERT_OK(world_->PutService(service, rest, sticky));
  spread = Spread(service, 20);
  ASSERT_THAT(spread, SizeIs(1));
  EXPECT_NE(spread.begin()->first, chosen);
  chosen = spread.begin()->first;

  // Off.
  ASSERT_OK(world_->maps().SetBackendState(std::stoul(chosen),
                                           FL_BACKEND_OFF));
  spread = Spread(service, 20);
  ASSERT_THAT(spread, SizeIs(1));
  EXPECT_NE(spread.begin()->first, chosen);

  // Switched off: it spreads.
  sticky.affinity_seconds = 0;
  ASSERT_OK(world_->PutService(service, ids, sticky));
  EXPECT_THAT(Spread(service, 100), SizeIs(3));
}

TEST_F(SocketWorldTest, AffinityExpires) {
  L4Address service{Address("10.96.0.1"), 53, Protocol::kUdp};
  std::vector<uint32_t> ids;
  std::vector<Server> servers =
      AddServers(4, Address("127.0.0.1"), Protocol::kUdp, &ids);
  fl_service sticky = {};
  sticky.id = 5;
  sticky.affinity_seconds = 60;
  ASSERT_OK(world_->PutService(service, ids, sticky));
  absl::StatusOr<datapath::PinnedMap> map = datapath::OpenPinnedMap(
      world_->datapath().layout(), "fl_affinity");
  ASSERT_TRUE(map.ok()) << map.status();
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    seen.insert(Spread(service, 1).begin()->first);
    // As if it had been used 61 s ago.
    fl_affinity_key key;
    fl_affinity entry;
    ASSERT_EQ(bpf_map_get_next_key(map->fd.get(), nullptr, &key), 0);
    ASSERT_EQ(bpf_map_lookup_elem(map->fd.get(), &key, &entry), 0);
    entry.last_used -= 61;
    ASSERT_EQ(bpf_map_update_elem(map->fd.get(), &key, &entry, 0), 0);
  }
  EXPECT_THAT(seen, SizeIs(4));
}

// "localhost" among the NodePort addresses: the host's, nobody else's.
TEST_F(SocketWorldTest, NodePortOnLoopbackIsTheHostsAlone) {
  datapath::Options options = world_->options();
  options.config.host_netns = *NetnsCookie();
  ASSERT_OK(world_->OpenDatapath(options));
  for (const char* loopback : {"127.0.0.1", "::1"}) {
    SCOPED_TRACE(loopback);
    std::vector<uint32_t> ids;
    std::vector<Server> servers =
        AddServers(1, Address(loopback), Protocol::kTcp, &ids);
    fl_service node_port = {};
    node_port.flags = FL_SERVICE_NODE_PORT;
    L4Address at{Address(loopback), 30080, Protocol::kTcp};
    ASSERT_OK(world_->PutService(
        {IpAddress::Unspecified(at.address.family()), at.port, at.protocol},
        ids, node_port));
    fl_addr node;
    memcpy(&node, at.address.bytes().data(), sizeof(node));
    ASSERT_OK(world_->maps().PutNodeAddress(
        node, {FL_NODE_ADDR_NODE_PORT | FL_NODE_ADDR_LOCAL}));

    UniqueFd client = OpenSocket(at, SocketFamily::kNative);
    EXPECT_EQ(Connect(client.get(), at, SocketFamily::kNative), 0);
    EXPECT_EQ(PeerName(client.get()), at);
    auto pod = harness::NetnsScope::Create();
    ASSERT_TRUE(pod.ok()) << pod.status();
    ASSERT_OK(pod->Command("ip link set lo up").status());
    ASSERT_OK(pod->Run([&] {
      UniqueFd own = OpenSocket(at, SocketFamily::kNative);
      EXPECT_EQ(Connect(own.get(), at, SocketFamily::kNative), ECONNREFUSED);
      return absl::OkStatus();
    }));
  }
  EXPECT_EQ(Counters()["socket_translated"], 2u);
  EXPECT_EQ(Counters()["not_ours"], 2u);
  ASSERT_OK(world_->OpenDatapath());
}

// To the kernel the unspecified address means loopback. It isn't where the
// NodePorts are, though their frontend is written with it.
TEST_F(SocketWorldTest, TheUnspecifiedAddressIsLoopback) {
  datapath::Options options = world_->options();
  options.config.host_netns = *NetnsCookie();
  ASSERT_OK(world_->OpenDatapath(options));
  for (const char* loopback : {"127.0.0.1", "::1"}) {
    SCOPED_TRACE(loopback);
    std::vector<uint32_t> ids;
    std::vector<Server> servers =
        AddServers(1, Address(loopback), Protocol::kTcp, &ids);
    const L4Address any{IpAddress::Unspecified(Address(loopback).family()),
                        30080, Protocol::kTcp};
    fl_service node_port = {};
    node_port.flags = FL_SERVICE_NODE_PORT;
    ASSERT_OK(world_->PutService(any, ids, node_port));
    UniqueFd refused = OpenSocket(any, SocketFamily::kNative);
    EXPECT_EQ(Connect(refused.get(), any, SocketFamily::kNative),
              ECONNREFUSED);
    fl_addr node;
    memcpy(&node, Address(loopback).bytes().data(), sizeof(node));
    ASSERT_OK(world_->maps().PutNodeAddress(
        node, {FL_NODE_ADDR_NODE_PORT | FL_NODE_ADDR_LOCAL}));
    UniqueFd client = OpenSocket(any, SocketFamily::kNative);
    EXPECT_EQ(Connect(client.get(), any, SocketFamily::kNative), 0);
    EXPECT_EQ(PeerName(client.get())->ToString(),
              (L4Address{Address(loopback), 30080, Protocol::kTcp})
                  .ToString());
  }
  EXPECT_EQ(Counters()["socket_translated"], 2u);
  EXPECT_EQ(Counters()["not_ours"], 2u);
  ASSERT_OK(world_->OpenDatapath());
}

// Source ranges are the packet path's business, but for this host's own
// address, which is known when they are compiled.
TEST_F(SocketWorldTest, SourceRangesThatHoldThisHost) {
  datapath::Options options = world_->options();
  options.config.host_netns = *NetnsCookie();
  ASSERT_OK(world_->OpenDatapath(options));
  std::vector<uint32_t> ids;
  std::vector<Server> servers =
      AddServers(1, Address("127.0.0.1"), Protocol::kTcp, &ids);
  L4Address vip{Address("203.0.113.7"), 80, Protocol::kTcp};
  auto outcome = [&](const harness::NetnsScope* in) {
    auto before = Counters();
    auto connect = [&] {
      UniqueFd client = OpenSocket(vip, SocketFamily::kNative);
      (void)Connect(client.get(), vip, SocketFamily::kNative);
      return absl::OkStatus();
    };
    EXPECT_TRUE((in ? in->Run(connect) : connect()).ok());
    auto after = Counters();
    return after["socket_translated"] > before["socket_translated"]
               ? "translated"
           : after["socket_declined"] > before["socket_declined"] ? "declined"
                                                                  : "?";
  };
  auto pod = harness::NetnsScope::Create();
  ASSERT_TRUE(pod.ok()) << pod.status();
  fl_service service = {};
  service.flags = FL_SERVICE_SOURCE_RANGES;
  ASSERT_OK(world_->PutService(vip, ids, service));
  EXPECT_STREQ(outcome(nullptr), "declined");
  service.flags |= FL_SERVICE_HOST_IN_RANGES;
  ASSERT_OK(world_->PutService(vip, ids, service));
  EXPECT_STREQ(outcome(nullptr), "translated");
  EXPECT_STREQ(outcome(&*pod), "declined");
  ASSERT_OK(world_->OpenDatapath());
}

// In the services' range: a port that nobody has is refused where there are
// frontends; the rest is the packet path's to drop.
TEST_F(SocketWorldTest, Strays) {
  ASSERT_OK(world_->datapath().SetServiceRanges(
      {*IpPrefix::Parse("10.80.0.0/16"), *IpPrefix::Parse("10.96.0.0/16"),
       *IpPrefix::Parse("fd00:10:80::/112"),
       *IpPrefix::Parse("fd00:10:96::/112")}));
  for (const char* text : {"10.96.0.1", "fd00:10:96::1"}) {
    SCOPED_TRACE(text);
    for (Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      L4Address stray{Address(text), 81, protocol};
      UniqueFd client = OpenSocket(stray, SocketFamily::kNative);
      uint64_t declined = Counters()["socket_declined"];
      (void)Connect(client.get(), stray, SocketFamily::kNative);
      EXPECT_EQ(Counters()["socket_declined"], declined + 1);
      fl_service_key mark = reconcile::MarkKey(stray.address);
      ASSERT_OK(world_->maps().SetFilterBit(
          reconcile::Filter::kFrontends,
          fl_filter_bit(&mark.addr, mark.port, mark.proto)));
      ASSERT_OK(world_->maps().PutService(mark, {}));
      client = OpenSocket(stray, SocketFamily::kNative);
      EXPECT_EQ(Connect(client.get(), stray, SocketFamily::kNative),
                ECONNREFUSED);
      ASSERT_OK(world_->maps().DeleteService(mark));
    }
  }
  EXPECT_EQ(Counters()["socket_refused"], 4u);
  ASSERT_OK(world_->datapath().SetServiceRanges({}));
}

TEST_F(SocketWorldTest, NodePortOnlyOnNodePortAddresses) {
  ASSERT_OK(world_->netns()
                .Command("ip addr add 10.1.1.1/32 dev lo; "
                         "ip addr add 10.1.1.2/32 dev lo")
                .status());
  std::vector<uint32_t> ids;
  std::vector<Server> servers =
      AddServers(1, Address("127.0.0.1"), Protocol::kTcp, &ids);
  fl_service node_port = {};
  node_port.flags = FL_SERVICE_NODE_PORT;
  ASSERT_OK(world_->PutService({Address("0.0.0.0"), 30080, Protocol::kTcp},
                               ids, node_port));
  fl_addr node;
  memcpy(&node, Address("10.1.1.1").bytes().data(), sizeof(node));
  ASSERT_OK(world_->maps().PutNodeAddress(
      node, {FL_NODE_ADDR_NODE_PORT | FL_NODE_ADDR_LOCAL}));
  memcpy(&node, Address("10.1.1.2").bytes().data(), sizeof(node));
  ASSERT_OK(world_->maps().PutNodeAddress(node, {FL_NODE_ADDR_LOCAL}));

  L4Address first{Address("10.1.1.1"), 30080, Protocol::kTcp};
  UniqueFd client = OpenSocket(first, SocketFamily::kNative);
  EXPECT_EQ(Connect(client.get(), first, SocketFamily::kNative), 0);
  EXPECT_EQ(PeerName(client.get()), first);
  L4Address second{Address("10.1.1.2"), 30080, Protocol::kTcp};
  client = OpenSocket(second, SocketFamily::kNative);
  EXPECT_EQ(Connect(client.get(), second, SocketFamily::kNative),
            ECONNREFUSED);
  L4Address low{Address("10.1.1.1"), 29999, Protocol::kTcp};
  client = OpenSocket(low, SocketFamily::kNative);
  EXPECT_EQ(Connect(client.get(), low, SocketFamily::kNative), ECONNREFUSED);
  EXPECT_EQ(Counters()["not_ours"], 2u);
}

TEST_F(SocketWorldTest, OtherProtocolsAreUntouched) {
  std::vector<uint32_t> ids;
  std::vector<Server> servers =
      AddServers(1, Address("127.0.0.1"), Protocol::kTcp, &ids);
  L4Address service{Address("10.96.0.1"), 80, Protocol::kTcp};
  ASSERT_OK(world_->PutService(service, ids));
  // UDP on the same address and port is another frontend.
  L4Address udp = service;
  udp.protocol = Protocol::kUdp;
  UniqueFd client = OpenSocket(udp, SocketFamily::kNative);
  EXPECT_EQ(Connect(client.get(), udp, SocketFamily::kNative), ENETUNREACH);
  // A raw socket has a port field that means nothing.
  client.reset(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));
  ASSERT_TRUE(client.valid());
  EXPECT_EQ(Connect(client.get(), service, SocketFamily::kNative),
            ENETUNREACH);
  EXPECT_THAT(Counters(), ElementsAre(Pair("not_ours", 1)));
}

TEST_F(SocketWorldTest, MultipathTcpIsTranslatedByItsSubflow) {
  std::vector<uint32_t> ids;
  std::vector<Server> servers =
      AddServers(1, Address("127.0.0.1"), Protocol::kTcp, &ids);
  L4Address service{Address("10.96.0.1"), 80, Protocol::kTcp};
  ASSERT_OK(world_->PutService(service, ids));
  UniqueFd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP));
  // A kernel without MPTCP has nothing to be right about.
  if (!client.valid()) return;
  EXPECT_EQ(Connect(client.get(), service, SocketFamily::kNative), 0);
  EXPECT_THAT(Counters(), Contains(Pair("socket_translated", 1)));
}

}  // namespace
}  // namespace fairlead
