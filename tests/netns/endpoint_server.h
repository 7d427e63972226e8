// SPDX-License-Identifier: Apache-2.0
// What runs behind every endpoint of a service test: it says who answers and
// which address it sees.
//
//   TCP  "NAME ADDRESS\n" on accept, then everything that comes is echoed
//   UDP  "NAME ADDRESS\n" and the datagram
//
// One thread for all stations; Add before Start, from the same thread.
#ifndef FAIRLEAD_TESTS_NETNS_ENDPOINT_SERVER_H_
#define FAIRLEAD_TESTS_NETNS_ENDPOINT_SERVER_H_

#include <list>
#include <sys/types.h>

#include <map>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "tests/netns/topology.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::harness {

class EndpointServer {
 public:
  static constexpr Port kPort = 8080;

  EndpointServer();
  EndpointServer(const EndpointServer&) = delete;
  EndpointServer& operator=(const EndpointServer&) = delete;
  ~EndpointServer();

  // Serves both addresses of the station on kPort, or on `port`.
  [[nodiscard]] absl::Status Add(const Station& station, Port port = kPort);
  // The same at another address of the station.
  [[nodiscard]] absl::Status Add(const Station& station, const IpAddress& ip,
                                 Port port = kPort);
  // Serves in a thread, or in a process of its own: then each end of a connection
  // counts against the open files of another. REQUIRES (StartApart): no other
  // thread, and this one outlives it.
  void Start();
  void StartApart();

 private:
  enum class Kind { kListener, kConnection, kDatagrams };
  struct Socket {
    UniqueFd fd;
    Kind kind;
    std::string name;
  };

  [[nodiscard]] absl::Status AddSocket(const Station& station,
                                       const L4Address& address);
  void Watch(UniqueFd fd, Kind kind, const std::string& name);
  void Loop();
  void Serve(Socket* socket);
  void AcceptAll(const Socket& listener);
  void AnswerAll(const Socket& socket);
  // false: the connection is over.
  bool Echo(const Socket& connection);

  UniqueFd epoll_;
  UniqueFd stop_;
  std::map<int, Socket> sockets_;  // by descriptor
  std::thread thread_;
  pid_t process_ = 0;
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_ENDPOINT_SERVER_H_
