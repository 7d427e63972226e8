// SPDX-License-Identifier: Apache-2.0
// Datagrams of one socket to one Service: who gets them, and for how long.
#include <netinet/in.h>
#include <sys/socket.h>

#include <bpf/bpf.h>

#include <optional>
#include <vector>

#include "tests/prog/socket_fixture.h"
#include "userspace/datapath/kernel_maps.h"

namespace fairlead {
namespace {

using harness::Connect;
using harness::OpenSocket;
using harness::Receive;
using harness::SendTo;
using harness::Server;
using harness::SocketFamily;

TEST_F(SocketWorldTest, ADatagramFlowStaysUntilItsEndpointIsOff) {
  L4Address service{Address("10.96.0.1"), 53, Protocol::kUdp};
  std::vector<uint32_t> ids;
  std::vector<Server> servers =
      AddServers(4, Address("127.0.0.1"), Protocol::kUdp, &ids);
  ASSERT_OK(world_->PutService(service, ids));
  UniqueFd client = OpenSocket(service, SocketFamily::kNative);
  auto send_and_find = [&] {
    EXPECT_EQ(SendTo(client.get(), service, SocketFamily::kNative, "x"), 0);
    for (size_t i = 0; i < servers.size(); ++i) {
      if (Receive(servers[i].fd.get(), absl::Milliseconds(20))) return i;
    }
    ADD_FAILURE() << "no server got the datagram";
    return size_t{0};
  };
  size_t first = send_and_find();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(send_and_find(), first);
  ASSERT_OK(world_->maps().SetBackendState(ids[first], FL_BACKEND_DRAIN));
  EXPECT_EQ(send_and_find(), first);
  ASSERT_OK(world_->maps().SetBackendState(ids[first], FL_BACKEND_OFF));
  size_t second = send_and_find();
  EXPECT_NE(second, first);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(send_and_find(), second);
  // Its id is given out anew: to somebody else.
  fl_backend other = {};
  absl::Status read = world_->maps().ForEachBackend(
      [&](uint32_t id, const fl_backend& b) {
        if (id == ids[second]) other = b;
      });
  ASSERT_OK(read);
  other.generation++;
  other.port = htons(9);
  ASSERT_OK(world_->maps().PutBackend(ids[second], other));
  std::vector<uint32_t> rest;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i != first && i != second) rest.push_back(ids[i]);
  }
  fl_service same = {};
  same.id = 1;
  ASSERT_OK(world_->PutService(service, rest, same));
  size_t third = send_and_find();
  EXPECT_NE(third, first);
  EXPECT_NE(third, second);
}

// As in conntrack: verdicts and source ranges are for what is new.
TEST_P(SocketPathTest, AnExchangeGoesOnWhateverIsSaidToNewOnes) {
  Server server = Publish(Protocol::kUdp);
  const L4Address service = Service(Protocol::kUdp);
  UniqueFd client = OpenSocket(service, family());
  UniqueFd connected = OpenSocket(service, family());
  ASSERT_EQ(Connect(connected.get(), service, family()), 0);
  auto exchange = [&](int fd) {
    EXPECT_EQ(SendTo(fd, service, family(), "ask"), 0);
    std::optional<harness::Datagram> asked = Receive(server.fd.get());
    if (!asked) return false;
    EXPECT_EQ(SendTo(server.fd.get(), asked->from, SocketFamily::kNative, "a"),
              0);
    std::optional<harness::Datagram> answer = Receive(fd);
    return answer && answer->from == service;
  };
  ASSERT_TRUE(exchange(client.get()));
  for (uint32_t flags :
       {uint32_t{FL_VERDICT_DROP} << FL_SERVICE_INTERNAL_VERDICT_SHIFT,
        uint32_t{FL_VERDICT_REJECT} << FL_SERVICE_INTERNAL_VERDICT_SHIFT,
        uint32_t{FL_SERVICE_SOURCE_RANGES}}) {
    SCOPED_TRACE(flags);
    fl_service changed = {};
    changed.id = 1;
    changed.flags = flags;
    ASSERT_OK(world_->PutService(service, {1}, changed));
    EXPECT_TRUE(exchange(client.get()));
    EXPECT_TRUE(exchange(connected.get()));
    UniqueFd fresh = OpenSocket(service, family());
    EXPECT_NE(SendTo(fresh.get(), service, family(), "x"), 0);
  }
  // Not to who is gone.
  ASSERT_OK(world_->maps().SetBackendState(1, FL_BACKEND_OFF));
  EXPECT_NE(SendTo(client.get(), service, family(), "x"), 0);
}

// Connected before its peer was a frontend, it hears no endpoint's answers, though
// it names the peer each time (and an IPv6 socket with an IPv4 peer always does).
TEST_P(SocketPathTest, WhatBecomesAFrontendLaterIsLeftToThePacketPath) {
  std::vector<uint32_t> ids;
  std::vector<Server> servers =
      AddServers(2, BackendAddress(), Protocol::kUdp, &ids);
  const L4Address peer = servers[0].address;
  UniqueFd client = OpenSocket(peer, family());
  ASSERT_EQ(Connect(client.get(), peer, family()), 0);
  ASSERT_OK(world_->PutService(peer, {ids[1]}));
  ASSERT_EQ(send(client.get(), "sent", 4, 0), 4);
  ASSERT_EQ(SendTo(client.get(), peer, family(), "named"), 0);
  for (const char* text : {"sent", "named"}) {
    std::optional<harness::Datagram> got = Receive(servers[0].fd.get());
    ASSERT_TRUE(got) << text;
    EXPECT_EQ(got->text, text);
  }
  UniqueFd other = OpenSocket(peer, family());
  ASSERT_EQ(SendTo(other.get(), peer, family(), "x"), 0);
  EXPECT_TRUE(Receive(servers[1].fd.get()));
}

// It hears no other endpoint's answers.
TEST_P(SocketPathTest, ADatagramThatNamesWhatItsSocketIsConnectedTo) {
  const L4Address service = Service(Protocol::kUdp);
  std::vector<uint32_t> ids;
  std::vector<Server> servers =
      AddServers(2, BackendAddress(), Protocol::kUdp, &ids);
  absl::StatusOr<datapath::PinnedMap> map =
      datapath::OpenPinnedMap(world_->datapath().layout(), "fl_peer");
  ASSERT_TRUE(map.ok()) << map.status();
  for (bool taken : {false, true}) {
    SCOPED_TRACE(taken ? "its place is another socket's" : "");
    fl_service same = {};
    same.id = 1;
    ASSERT_OK(world_->PutService(service, {ids[0]}, same));
    UniqueFd client = OpenSocket(service, family());
    const uint64_t cookie = harness::SocketCookie(client.get());
    uint32_t place = cookie & (FL_PEER_ENTRIES - 1);
    fl_peer holder = {};
    holder.cookie = taken ? cookie + FL_PEER_ENTRIES : 0;
    ASSERT_EQ(bpf_map_update_elem(map->fd.get(), &place, &holder, 0), 0);
    ASSERT_EQ(Connect(client.get(), service, family()), 0);
    ASSERT_OK(world_->PutService(service, {ids[1]}, same));
    ASSERT_EQ(SendTo(client.get(), service, family(), "ask"), 0);
    std::optional<harness::Datagram> asked = Receive(servers[0].fd.get());
    ASSERT_TRUE(asked);
    ASSERT_EQ(SendTo(servers[0].fd.get(), asked->from, SocketFamily::kNative,
                     "answer"),
              0);
    std::optional<harness::Datagram> answer = Receive(client.get());
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->from, service);
    client.reset();
    holder = {};
    ASSERT_EQ(bpf_map_update_elem(map->fd.get(), &place, &holder, 0), 0);
  }
}

}  // namespace
}  // namespace fairlead
