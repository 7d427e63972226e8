// SPDX-License-Identifier: Apache-2.0
// Exchanges that last while everything else changes: TCP connections, and UDP
// sockets that go on asking, each from a port of its own. What each has heard is
// kept, so that a flow that was lost for a moment only is seen as well.
//
// Threads: a flow belongs to one at a time: to a FlowsAtWork's, or to the test's.
#ifndef FAIRLEAD_TESTS_NETNS_LASTING_FLOWS_H_
#define FAIRLEAD_TESTS_NETNS_LASTING_FLOWS_H_

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "tests/netns/conversation.h"
#include "tests/netns/service_bed.h"
#include "tests/netns/service_test_base.h"
#include "tests/netns/udp_client.h"

namespace fairlead::harness {

class LastingFlow {
 public:
  enum class Kind { kTcp, kUdpConnected, kUdpUnconnected };
  struct Id {
    int service;
    From from;
    Way way;
    IpFamily family;
    Kind kind;

    std::string ToString() const;
  };

  // Opens it and asks once; the error of either. The socket belongs to the
  // cgroup that this process is in.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<LastingFlow>> Open(
      const Topology& net, const Id& id);

  const Id& id() const { return id_; }
  bool tcp() const { return id_.kind == Kind::kTcp; }
  // A connected UDP socket of the socket path: nobody but the clean-up ends it.
  bool destroyed_when_stale() const {
    return id_.from.socket_path && id_.kind == Kind::kUdpConnected;
  }
  // The endpoint that it began with.
  const std::string& who() const { return who_; }

  // One exchange; what came of it: the endpoint's name, an error's name, "" for
  // silence of `patience` (TCP has 5 s). Noted, too.
  std::string Exchange(absl::Duration patience);
  // "" if all that was heard since Open() or Forget() came from the endpoint of
  // the beginning, which saw the address of the beginning; else what it was.
  std::string Broken() const;
  void Forget() { heard_.clear(); }
  // What was heard, in order, without repetitions: "l1 at 10.244.1.10, , l2 ...".
  std::string Heard() const;

 private:
  explicit LastingFlow(const Id& id) : id_(id) {}
  std::string Ask(absl::Duration patience);
  std::string Described(const std::string& who) const;

  Id id_;
  std::optional<Conversation> conversation_;
  std::unique_ptr<UdpClient> udp_;
  std::string who_;
  std::string began_;  // Described()
  std::vector<std::string> heard_;
  int said_ = 0;
};

// Exchanges of all flows, one after the other, again and again on a thread of
// its own until it is destroyed.
class FlowsAtWork {
 public:
  struct Flow {
    LastingFlow* flow;
    absl::Duration patience;
  };
  explicit FlowsAtWork(std::vector<Flow> flows);
  ~FlowsAtWork();
  FlowsAtWork(const FlowsAtWork&) = delete;
  FlowsAtWork& operator=(const FlowsAtWork&) = delete;

  // Waits until each flow has had so many exchanges that begin after this.
  [[nodiscard]] bool WaitForRounds(int rounds) const;

 private:
  std::vector<Flow> flows_;
  std::atomic<bool> stop_ = false;
  std::atomic<int> rounds_ = 0;
  std::thread thread_;
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_LASTING_FLOWS_H_
