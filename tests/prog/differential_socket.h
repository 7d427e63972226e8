// SPDX-License-Identifier: Apache-2.0
// The socket path of a differential::World: the programs on a cgroup that this
// process is in, and two network namespaces, this host's and a pod's, in which
// every address that may be an endpoint's is local and answers. There is no
// route to anywhere else.
//
// Threads: the test's main thread, which visits the namespaces.
#ifndef FAIRLEAD_TESTS_PROG_DIFFERENTIAL_SOCKET_H_
#define FAIRLEAD_TESTS_PROG_DIFFERENTIAL_SOCKET_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/harness/scopes.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/unique_fd.h"
#include "userspace/datapath/loader.h"
#include "userspace/datapath/pin_layout.h"

namespace fairlead::differential {

struct SocketCall {
  L4Address to;           // TCP or UDP
  bool host = false;      // in this host's namespace, or in the pod's
  bool mapped = false;    // IPv4 through an IPv6 socket
  bool connected = true;  // or a datagram of a socket that isn't

  std::string ToString() const;
};

struct SocketOutcome {
  int error = 0;                  // errno of the call
  std::vector<uint32_t> counted;  // fl_counter_id, by the call alone
  L4Address reached;              // who got it; port 0: nobody
  L4Address again;                // ... and the socket's next datagram
  // Whom the client takes it for: by getpeername(), or as its answer's sender.
  L4Address shown;
};

class SocketBed {
 public:
  using Counted = std::function<absl::StatusOr<std::vector<uint32_t>>()>;

  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SocketBed>> Create();
  ~SocketBed();
  SocketBed(const SocketBed&) = delete;
  SocketBed& operator=(const SocketBed&) = delete;

  // bpf_get_netns_cookie() of this host's namespace.
  uint64_t host_netns() const { return host_netns_; }
  [[nodiscard]] absl::Status Attach(const datapath::PinLayout& layout,
                                    const datapath::Programs& programs);
  // Sockets are made in the cgroup of the bed that was entered last.
  [[nodiscard]] absl::Status Enter();

  // Is it at home in the namespaces, and does somebody listen there?
  static bool IsLocal(const IpAddress& address);
  static bool IsServed(const L4Address& address);
  // `counted` gives what has been counted since it was last called.
  // `keep` gets the socket.
  [[nodiscard]] absl::StatusOr<SocketOutcome> Try(const SocketCall& call,
                                                  const Counted& counted,
                                                  UniqueFd* keep);
  // A UDP socket's next datagram, which names `call.to` (connected or not).
  [[nodiscard]] absl::StatusOr<SocketOutcome> Again(const SocketCall& call,
                                                    int fd,
                                                    const Counted& counted);

 private:
  struct Server {
    UniqueFd fd;
    Protocol protocol = Protocol::kTcp;
  };
  struct Namespace {
    harness::NetnsScope scope;
    std::vector<Server> servers;
  };
  SocketBed(harness::CgroupScope cgroup, UniqueFd home)
      : cgroup_(std::move(cgroup)), home_(std::move(home)) {}
  absl::StatusOr<UniqueFd> OpenClient(const SocketCall& call);
  absl::Status AddNamespace(bool host);
  // Who gets `text` (or a connection) within a second; sends it back.
  L4Address Serve(const SocketCall& call, const std::string& text);
  L4Address ServeOnce(const SocketCall& call, const std::string& text);

  harness::CgroupScope cgroup_;
  UniqueFd home_;
  std::vector<Namespace> namespaces_;  // the pod's, this host's
  uint64_t host_netns_ = 0;
  uint64_t sent_ = 0;
};

}  // namespace fairlead::differential

#endif  // FAIRLEAD_TESTS_PROG_DIFFERENTIAL_SOCKET_H_
