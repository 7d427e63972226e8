// SPDX-License-Identifier: Apache-2.0
// One UDP socket that goes on asking a frontend, connected or not: for what
// becomes of an exchange when endpoints and Services go. (A Conversation is
// one that must not fail.)
//
// Threads: one at a time.
#ifndef FAIRLEAD_TESTS_NETNS_UDP_CLIENT_H_
#define FAIRLEAD_TESTS_NETNS_UDP_CLIENT_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "tests/harness/sockets.h"
#include "tests/netns/topology.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::harness {

class UdpClient {
 public:
  enum class Socket {
    kConnected,
    kUnconnected,
    // An IPv6 socket towards an IPv4 address, as many programs have one.
    kConnectedMapped,
    kUnconnectedMapped,
  };
  static const char* Name(Socket socket);

  // The socket belongs to the cgroup that this process is in. `source_port`:
  // 0 is the kernel's choice.
  UdpClient(const Station& station, const L4Address& to, Socket socket,
            Port source_port = 0);

  // Who answered; the error's name; "" for silence, or for an answer that
  // doesn't come from where it was asked.
  std::string Ask(absl::Duration patience = absl::Milliseconds(300));

  // The address that the endpoint saw, when it answered last.
  const std::string& source() const { return source_; }

  bool connected() const {
    return socket_ == Socket::kConnected ||
           socket_ == Socket::kConnectedMapped;
  }

 private:
  SocketFamily family() const;

  Socket socket_;
  L4Address to_;
  int error_ = 0;  // of connect()
  uint64_t asked_ = 0;
  std::string source_;
  UniqueFd fd_;
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_UDP_CLIENT_H_
