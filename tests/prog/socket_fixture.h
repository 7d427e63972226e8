// SPDX-License-Identifier: Apache-2.0
// The tests of the socket path: a ServiceWorld for a suite, servers that are
// backends, and the ways to address a Service.
#ifndef FAIRLEAD_TESTS_PROG_SOCKET_FIXTURE_H_
#define FAIRLEAD_TESTS_PROG_SOCKET_FIXTURE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "tests/harness/sockets.h"
#include "tests/prog/service_world.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/unique_fd.h"

namespace fairlead {

#define ASSERT_OK(expr)                              \
  do {                                               \
    absl::Status ok_status_ = (expr);                \
    ASSERT_TRUE(ok_status_.ok()) << ok_status_;      \
  } while (false)

inline IpAddress Address(const char* text) { return *IpAddress::Parse(text); }

class SocketWorldTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    absl::StatusOr<std::unique_ptr<harness::ServiceWorld>> world =
        harness::ServiceWorld::Create();
    ASSERT_TRUE(world.ok()) << world.status();
    world_ = world->release();
    ASSERT_OK(world_->OpenDatapath());
  }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  void SetUp() override { ASSERT_OK(world_->Reset()); }

  // `count` servers on `address`, each a backend; ids in `ids`.
  std::vector<harness::Server> AddServers(int count, const IpAddress& address,
                                          Protocol protocol,
                                          std::vector<uint32_t>* ids) {
    std::vector<harness::Server> servers;
    for (int i = 0; i < count; ++i) {
      absl::StatusOr<harness::Server> server =
          harness::OpenServer(address, protocol);
      EXPECT_TRUE(server.ok()) << server.status();
      absl::StatusOr<uint32_t> id = world_->AddBackend(server->address);
      EXPECT_TRUE(id.ok()) << id.status();
      ids->push_back(*id);
      servers.push_back(*std::move(server));
    }
    return servers;
  }

  std::map<std::string, uint64_t> Counters() { return *world_->Counters(); }
  std::vector<std::string> Dump(const std::string& map) {
    return *world_->Dump(map);
  }

  // Which backend ids `count` fresh UDP sockets are connected to.
  std::map<std::string, int> Spread(const L4Address& service, int count) {
    std::map<std::string, int> spread;
    for (int i = 0; i < count; ++i) {
      constexpr auto kNative = harness::SocketFamily::kNative;
      UniqueFd client = harness::OpenSocket(service, kNative);
      EXPECT_EQ(harness::Connect(client.get(), service, kNative), 0);
      for (const std::string& line : Dump("peer")) {
        size_t at = line.find(" backend=");
        ++spread[line.substr(at + 9, line.find(' ', at + 1) - at - 9)];
      }
    }
    return spread;
  }

  // One for all tests of a suite: GoogleTest leaves no other place for it.
  inline static harness::ServiceWorld* world_ = nullptr;
};

// How an application addresses a service: the family of the service and of
// the socket.
struct Addressing {
  const char* name;
  const char* service;
  const char* backend;
  harness::SocketFamily family;
  friend void PrintTo(const Addressing& a, std::ostream* out) {
    *out << a.name;
  }
};

class SocketPathTest : public SocketWorldTest,
                       public ::testing::WithParamInterface<Addressing> {
 protected:
  L4Address Service(Protocol protocol) {
    return {Address(GetParam().service), 80, protocol};
  }
  IpAddress BackendAddress() { return Address(GetParam().backend); }
  harness::SocketFamily family() { return GetParam().family; }
  // One server behind Service(protocol).
  harness::Server Publish(Protocol protocol) {
    std::vector<uint32_t> ids;
    std::vector<harness::Server> servers =
        AddServers(1, BackendAddress(), protocol, &ids);
    absl::Status status = world_->PutService(Service(protocol), ids);
    EXPECT_TRUE(status.ok()) << status;
    return std::move(servers[0]);
  }
};

}  // namespace fairlead

#endif  // FAIRLEAD_TESTS_PROG_SOCKET_FIXTURE_H_
