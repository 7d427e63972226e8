// SPDX-License-Identifier: Apache-2.0
// What is to live through a change of the data path: connections that last,
// others that come and go meanwhile, and streams of datagrams.
#ifndef FAIRLEAD_TESTS_NETNS_LIVE_LOAD_H_
#define FAIRLEAD_TESTS_NETNS_LIVE_LOAD_H_

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/netns/conversation.h"
#include "tests/netns/topology.h"

namespace fairlead::harness {

// Connections that were opened once. One thread at a time.
class Lasting {
 public:
  // The opening's status.
  absl::Status Add(absl::StatusOr<Conversation> opened);
  // Each is answered, by the endpoint that it has had from the beginning; else
  // how many aren't, and why the first.
  [[nodiscard]] absl::Status GoOn(const std::string& after);
  size_t size() const { return all_.size(); }
  void Close() { all_.clear(); }

 private:
  struct One {
    Conversation conversation;
    std::string who;
  };
  std::vector<One> all_;
};

// Clients of service 1 that come and go, and streams, until it is destroyed;
// what failed.
class LiveLoad {
 public:
  // Connections wait for an answer as long as `patience`: packets that are
  // dropped meanwhile are sent again, with ever longer pauses. A client's port
  // is used again as long after its last connection began. At most 40 s.
  explicit LiveLoad(const Topology& net,
                    absl::Duration patience = absl::Seconds(5));
  ~LiveLoad() { End(); }
  LiveLoad(const LiveLoad&) = delete;
  LiveLoad& operator=(const LiveLoad&) = delete;

  void End();
  int opened() const { return opened_; }
  int datagrams() const { return datagrams_; }
  std::vector<std::string> failures();

 private:
  void ComeAndGo(const Station& client, const L4Address& to);
  void Stream(const Station& client, const L4Address& to);
  void Fail(const std::string& what, const L4Address& to,
            const absl::Status& status);

  const absl::Duration patience_;
  std::atomic<bool> stop_ = false;
  std::atomic<int> opened_ = 0;
  std::atomic<int> datagrams_ = 0;
  std::mutex mutex_;
  std::vector<std::string> failures_;
  std::vector<std::thread> threads_;
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_LIVE_LOAD_H_
