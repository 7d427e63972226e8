// SPDX-License-Identifier: Apache-2.0
// TCP SYNs with random sources, as fast as wanted, onto node1 of a Topology:
// put on the wire between it and the router, by a thread of its own.
//
// Sources are of 100.64.0.0/10; what is answered to them ends at the router.
#ifndef FAIRLEAD_TESTS_NETNS_SYN_FLOOD_H_
#define FAIRLEAD_TESTS_NETNS_SYN_FLOOD_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/netns/topology.h"
#include "userspace/base/unique_fd.h"

namespace fairlead::harness {

class SynFlood {
 public:
  // Begins. `to`: IPv4. Not faster than `per_second`; slower if the machine is.
  // The topology outlives this.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SynFlood>> Start(
      const Topology& net, const L4Address& to, int per_second);
  SynFlood(const SynFlood&) = delete;
  SynFlood& operator=(const SynFlood&) = delete;
  ~SynFlood() { (void)Stop(); }

  // Ends it: what became of it. Once.
  [[nodiscard]] absl::Status Stop();
  uint64_t sent() const { return sent_; }

 private:
  static constexpr size_t kFrameSize = 14 + 20 + 20;
  using Frame = std::array<uint8_t, kFrameSize>;

  // Each one's clients are others.
  explicit SynFlood(int per_second)
      : per_second_(per_second), random_(++floods_) {}
  [[nodiscard]] absl::Status Open(const Topology& net, const L4Address& to);
  void Run();
  // Gives it another source, port and sequence number.
  void Vary(Frame* frame);

  inline static std::atomic<uint64_t> floods_ = 0;
  const int per_second_;
  UniqueFd fd_;  // packets of the router's device towards node1
  Frame first_ = {};
  std::mt19937_64 random_;
  std::atomic<bool> stop_ = false;
  std::atomic<uint64_t> sent_ = 0;
  absl::Status status_;  // the thread's, until it is joined
  std::thread thread_;
};

}  // namespace fairlead::harness

#endif  // FAIRLEAD_TESTS_NETNS_SYN_FLOOD_H_
