// SPDX-License-Identifier: Apache-2.0
// A node with an agent, two endpoints that are pods here and two of another
// node, a pod and a client outside, each a namespace; and drawn services.
//
// Threads: the test's main thread. Clients and endpoints are not in the agent's
// cgroup unless the test joins it.
#ifndef FAIRLEAD_TESTS_NETNS_EXPLAIN_WORLD_H_
#define FAIRLEAD_TESTS_NETNS_EXPLAIN_WORLD_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/harness/scopes.h"
#include "tests/harness/sockets.h"
#include "tests/harness/stub_api.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/unique_fd.h"
#include "userspace/cli/agent_session.h"

namespace fairlead::harness {

inline constexpr int kEndpoints = 4;  // the first two are on this node
inline constexpr Port kEndpointPort = 8080;

IpAddress Ip(const std::string& text);

// Endpoints answer "ADDRESS|CLIENT:PORT" to a connection, to each message on
// it, to each datagram, and to each SCTP packet (of raw sockets, as no kernel at
// hand has its stack).
class EchoServers {
 public:
  EchoServers() = default;
  ~EchoServers();
  [[nodiscard]] absl::Status Add(const NetnsScope& netns,
                                 const IpAddress& address);
  void Start();

 private:
  void Serve();
  struct Socket {
    UniqueFd fd;
    L4Address address;
    bool listener = false;
  };
  void AnswerSctp(const Socket& socket);
  std::vector<Socket> sockets_;
  UniqueFd stop_;
  std::thread thread_;
};

struct ClientPlace {
  std::string name;
  const NetnsScope* netns;
  IpAddress v4, v6;
};

// What a client got.
struct Attempt {
  enum class Kind { kAnswered, kRefused, kSilent };
  Kind kind = Kind::kSilent;
  std::string endpoint;  // that answered
  std::string source;    // as it saw the client: "10.0.0.1:4000"
  UniqueFd fd;           // the connection
  L4Address from, to;    // as the client names them
};

class ExplainWorld {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ExplainWorld>> Create();
  ~ExplainWorld();

  StubApi& api() { return *api_; }
  const NetnsScope& node() const { return nodes_[0]; }
  const CgroupScope& cgroup() const { return *cgroup_; }
  // A pod, a client outside, and the first endpoint.
  const std::vector<ClientPlace>& clients() const { return clients_; }
  static IpAddress Endpoint(int number, IpFamily family);
  static IpAddress NodeAddress(IpFamily family);

  // Waits until it has applied what the API has. `flags`: further ones.
  [[nodiscard]] absl::Status StartAgent(std::vector<std::string> flags = {});
  std::string Log() const;
  std::string socket() const { return dir_->path() + "/agent.sock"; }
  cli::AgentSession& agent() { return *agent_session_; }
  absl::StatusOr<std::map<std::string, uint64_t>> Counters();

  // Connects (or sends a datagram) and waits for the answer.
  Attempt Try(const NetnsScope& netns, const L4Address& source,
              const L4Address& destination, absl::Duration patience);

 private:
  ExplainWorld() = default;
  absl::Status Build();
  absl::Status AddNeighbour(size_t number, const IpAddress& v4,
                            const IpAddress& v6);

  std::optional<BpffsScope> bpffs_;
  std::optional<CgroupScope> cgroup_;
  std::optional<TempDirScope> dir_;
  std::vector<NetnsScope> nodes_;  // the node, then its neighbours
  std::vector<ClientPlace> clients_;
  EchoServers servers_;
  std::unique_ptr<StubApi> api_;
  std::optional<cli::AgentSession> agent_session_;
  pid_t agent_ = 0;
};

// Asks again what the attempt's connection has been asked; the answer.
std::string AskAgain(const Attempt& attempt);

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_EXPLAIN_WORLD_H_
