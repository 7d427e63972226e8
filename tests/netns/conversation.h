// SPDX-License-Identifier: Apache-2.0
// One long-lived client of an EndpointServer: a TCP connection, or a connected
// UDP socket. Blocking, with limits of its own.
//
// Threads: one at a time.
#ifndef FAIRLEAD_TESTS_NETNS_CONVERSATION_H_
#define FAIRLEAD_TESTS_NETNS_CONVERSATION_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/netns/topology.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::harness {

class Conversation {
 public:
  // `prepare` may set options before connect(), and bind. If it doesn't, the
  // client's port is NextSourcePort().
  [[nodiscard]] static absl::StatusOr<Conversation> Open(
      const Station& client, const L4Address& to,
      const std::function<void(int)>& prepare = nullptr);

  // Sends the text and waits for all of it to come back. UDP: the answer's
  // greeting tells anew who answers.
  [[nodiscard]] absl::Status Say(const std::string& text);
  // TCP: sends so many bytes, each place with a value of its own, while it
  // reads them back, and compares.
  [[nodiscard]] absl::Status Exchange(size_t bytes);
  const std::string& who() const { return who_; }
  int fd() const { return fd_.get(); }

 private:
  [[nodiscard]] absl::Status ReadGreeting(std::string* rest);
  [[nodiscard]] absl::Status ReadMore(std::string* text);

  UniqueFd fd_;
  Protocol protocol_ = Protocol::kTcp;
  std::string who_;
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_CONVERSATION_H_
