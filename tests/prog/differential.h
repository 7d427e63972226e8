// SPDX-License-Identifier: Apache-2.0
// The differential fuzzer: random cluster states and random packets, through
// the product and through the reference (tests/reference), which must agree.
//
// An episode begins with empty tables and is a list of steps; what a step does
// follows from the episode's seed and the step's number (and the flows that
// are there: which endpoint a node chooses is its own).
// Threads: the test's main thread.
#ifndef FAIRLEAD_TESTS_PROG_DIFFERENTIAL_H_
#define FAIRLEAD_TESTS_PROG_DIFFERENTIAL_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/prog/differential_draw.h"
#include "tests/prog/differential_world.h"
#include "tests/reference/flows.h"

namespace fairlead::differential {

inline constexpr int kSteps = 200;

struct Tally {
  uint64_t packets = 0;  // runs of a program
  uint64_t states = 0;   // cluster states that packets met
  uint64_t flows = 0;
  uint64_t calls = 0;    // of sockets
  // Of packets: what they or their flows have that is rare.
  std::map<std::string, uint64_t> drawn;
  std::map<std::string, uint64_t> counted;
  // The same by protocol and family: "FORWARD_NEW TCP IPv4".
  std::map<std::string, uint64_t> met;
};

class Episode {
 public:
  // `world` outlives this, and is reset by Begin().
  Episode(World* world, reference::Flaw flaw, Tally* tally);

  // With random objects, but for those in `skipped`: -1, -2 ...
  [[nodiscard]] absl::Status Begin(uint64_t seed,
                                   const std::set<int>& skipped);
  // Without random objects: for tests that bring their own.
  [[nodiscard]] absl::Status BeginEmpty(const reference::Node& node);

  // Each of these: empty, or how product and reference differ.
  absl::StatusOr<std::string> Step(uint64_t seed, int number);
  // A packet comes in and, if it may, goes out again.
  absl::StatusOr<std::string> Travel(const Wire& wire);
  // A process of this node uses a socket.
  absl::StatusOr<std::string> Call(const SocketCall& call);
  // The next datagram of a UDP socket that Call() opened; the latest are kept.
  absl::StatusOr<std::string> Datagram(size_t number);
  size_t talks() const { return talks_.size(); }
  // An endpoint's packet of a flow back to the client.
  absl::StatusOr<std::string> Answer(const reference::Flow& flow, Wire wire);

  // ---- the state, on both sides; ends with Publish() ----
  void PutService(kube::Service service);
  void DeleteService(const std::string& key);
  void PutSlice(const kube::EndpointSlice& slice);
  void DeleteSlice(const std::string& key);
  [[nodiscard]] absl::Status SetNode(const reference::Node& node);
  [[nodiscard]] absl::Status Publish();
  [[nodiscard]] absl::Status Age(uint32_t seconds);
  [[nodiscard]] absl::Status Restart();
  // Until the next Recover() or Restart(). False: it has no backend that was
  // better.
  [[nodiscard]] absl::StatusOr<bool> Worsen(const L4Address& endpoint,
                                            reference::Health health);
  [[nodiscard]] absl::Status Recover();

  const reference::Flows& flows() const { return flows_; }
  const std::vector<std::string>& trace() const { return trace_; }

 private:
  absl::Status Change(Draw* draw);
  absl::StatusOr<std::string> Fragments(Draw* draw, Wire wire);
  absl::StatusOr<std::string> OfKnownFlow(Draw* draw, bool answer);
  absl::StatusOr<std::string> Strangers(Draw* draw);
  absl::StatusOr<std::string> Sockets(Draw* draw);
  absl::StatusOr<std::string> Unhealthy(Draw* draw);
  void CountRare(const Wire& wire);
  absl::StatusOr<std::string> Errors(Draw* draw);
  // Runs it and finds the alternative that it took.
  absl::StatusOr<std::string> Compare(
      Direction direction, const Wire& wire, uint32_t mark, bool own,
      const reference::Alternatives& alternatives, Outcome* outcome,
      const reference::Alternative** taken);
  // Empty if that is what has come of it.
  std::string Mismatch(Direction direction, const Wire& wire, uint32_t mark,
                       const reference::Alternative& alternative,
                       const Outcome& outcome) const;
  std::string SourceMismatch(const Wire& wire,
                             const reference::Alternative& alternative,
                             const Outcome& outcome) const;
  absl::StatusOr<std::string> GoOut(const Wire& wire, uint32_t mark,
                                    const std::shared_ptr<reference::Flow>&
                                        flow,
                                    bool own);

  struct Talk {
    SocketCall call;
    UniqueFd fd;
    reference::Exchange exchange;
  };
  absl::StatusOr<std::string> AnyCall(Draw* draw);
  void StateChanged();

  World* world_;
  std::vector<Talk> talks_;
  reference::Flaw flaw_;
  Tally* tally_;
  reference::State state_;
  reference::Flows flows_{&state_};
  bool changed_ = false;  // since Publish()
  uint32_t fragment_id_ = 0;
  int64_t created_ = 0;
  std::vector<std::string> trace_;
};

struct Difference {
  uint64_t seed = 0;
  int step = 0;
  std::set<int> skipped;  // steps and first objects that it doesn't need
  std::string text;       // what went before, and how they differ
};

// One episode; without the steps in `skipped`.
absl::StatusOr<std::optional<Difference>> RunEpisode(
    World* world, uint64_t seed, reference::Flaw flaw, Tally* tally,
    const std::set<int>& skipped = {});
// The same difference, or another one, with fewer steps.
absl::StatusOr<Difference> Minimise(World* world, Difference difference,
                                    reference::Flaw flaw);
// Episodes with rising seeds until a difference or `limit`.
absl::StatusOr<std::optional<Difference>> RunFor(World* world, uint64_t seed,
                                                 absl::Duration limit,
                                                 reference::Flaw flaw,
                                                 Tally* tally);

}  // namespace fairlead::differential

#endif  // FAIRLEAD_TESTS_PROG_DIFFERENTIAL_H_
