// SPDX-License-Identifier: Apache-2.0
// TLS in front of a server that speaks plain HTTP: what it takes in it passes
// on, in both directions.
//
// Threads: all methods from any.
#ifndef FAIRLEAD_TESTS_NETNS_TLS_FRONT_H_
#define FAIRLEAD_TESTS_NETNS_TLS_FRONT_H_

#include <openssl/ssl.h>

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "tests/harness/scopes.h"
#include "tests/unit/test_certificates.h"
#include "userspace/base/ip_address.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::harness {

class TlsFront {
 public:
  // In the namespace, which outlives this.
  TlsFront(const NetnsScope* netns, L4Address listen, L4Address server);
  ~TlsFront() { Stop(); }

  [[nodiscard]] absl::Status Start(const kube::Pem& certificate);
  // Connections end, nobody listens.
  void Stop();
  // For connections from now on; those that there are end.
  void Present(const kube::Pem& certificate);
  // Handshakes that have succeeded, and what the newest connection's first
  // bytes were.
  int accepted() const { return accepted_; }
  std::string FirstBytes();

 private:
  struct Connection {
    UniqueFd client;
    UniqueFd server;
    std::thread thread;
  };
  void Accept();
  void Pass(Connection* connection, std::shared_ptr<SSL_CTX> context);
  absl::StatusOr<UniqueFd> Connect() const;
  void EndConnections();

  const NetnsScope* netns_;
  L4Address listen_;
  L4Address server_;
  UniqueFd listener_;
  std::thread thread_;
  std::atomic<int> accepted_ = 0;
  std::mutex mutex_;
  std::shared_ptr<SSL_CTX> context_;
  std::string first_bytes_;
  std::list<Connection> connections_;
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_TLS_FRONT_H_
